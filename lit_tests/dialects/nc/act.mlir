// RUN: RANVIER_ROUNDTRIP

nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xbf16>
    %c = nc.alloc : !nc.sbuf<128x4xf32>
    %p = nc.alloc : !nc.psum<128x64xf32>
    // CHECK: nc.activation dst = %t[0:128][0][1:64] src = %p[0:128][0][1:64] {func = "relu", scale = 5.000000e-01 : f64}
    nc.activation dst = %t[0:128][0][1:64] src = %p[0:128][0][1:64] {func = "relu", scale = 0.5 : f64}
    // Bias, scale and sum hold one element for each partition.
    // CHECK: nc.activation dst = %t[0:128][0][1:64] src = %p[0:128][0][1:64] bias = %c[0:128][0][1:1] scale_by = %c[0:128][1][1:1] sum = %c[0:128][2][1:1] {func = "exp", scale = 1.000000e+00 : f64} wait(pe >= 1)
    nc.activation dst = %t[0:128][0][1:64] src = %p[0:128][0][1:64] bias = %c[0:128][0][1:1] scale_by = %c[0:128][1][1:1] sum = %c[0:128][2][1:1] {func = "exp", scale = 1.0 : f64} wait(pe >= 1)
  }
}
