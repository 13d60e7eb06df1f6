// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: nc.activation func is one of copy, relu, {{.*}}, got mish
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xbf16>
    nc.activation dst = %t[0:128][0][1:64] src = %t[0:128][0][1:64] {func = "mish", scale = 0.5 : f64}
  }
}

// -----

// CHECK: nc.activation operands differ in partitions x elements: dst 128 x 64, src 128 x 32
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xbf16>
    nc.activation dst = %t[0:128][0][1:64] src = %t[0:128][0][2:32] {func = "relu", scale = 0.5 : f64}
  }
}

// -----

// CHECK: nc.activation bias holds one element for each of 128 partitions, got 128 x 2
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.activation dst = %t[0:128][0][1:64] src = %t[0:128][0][1:64] bias = %t[0:128][0][1:2] {func = "relu", scale = 0.5 : f64}
  }
}

// -----

// CHECK: nc.activation reads PSUM through more than one operand
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    %p = nc.alloc : !nc.psum<128x64xf32>
    nc.activation dst = %t[0:128][0][1:64] src = %p[0:128][0][1:64] bias = %p[0:128][0][1:1] {func = "relu", scale = 0.5 : f64}
  }
}
