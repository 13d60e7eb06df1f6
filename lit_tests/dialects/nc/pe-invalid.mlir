// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: nc.matmul of 128 x 64 and 64 x 32 into 64 x 32
nc.program @p on "inf2" {
  nc.core 0 {
    %s = nc.alloc : !nc.sbuf<128x128xbf16>
    %p = nc.alloc : !nc.psum<128x512xf32>
    nc.matmul dst = %p[0:64][0][1:32] stationary = %s[0:128][0][1:64] moving = %s[0:64][0][1:32]
  }
}

// -----

// CHECK: nc.matmul dst is in psum, got sbuf
nc.program @p on "inf2" {
  nc.core 0 {
    %s = nc.alloc : !nc.sbuf<128x128xf32>
    nc.matmul dst = %s[0:64][0][1:32] stationary = %s[0:128][0][1:64] moving = %s[0:128][0][1:32]
  }
}

// -----

// CHECK: nc.matmul multiplies two of one type of f32, bf16, f16, got bf16 and f32
nc.program @p on "inf2" {
  nc.core 0 {
    %s = nc.alloc : !nc.sbuf<128x128xbf16>
    %m = nc.alloc : !nc.sbuf<128x128xf32>
    %p = nc.alloc : !nc.psum<128x512xf32>
    nc.matmul dst = %p[0:64][0][1:32] stationary = %s[0:128][0][1:64] moving = %m[0:128][0][1:32]
  }
}

// -----

// CHECK: nc.transpose of 32 x 20 into 32 x 20
nc.program @p on "inf2" {
  nc.core 0 {
    %s = nc.alloc : !nc.sbuf<128x128xbf16>
    %p = nc.alloc : !nc.psum<128x512xf32>
    nc.transpose dst = %p[0:32][0][1:20] src = %s[0:32][0][1:20]
  }
}

// -----

// 64 partitions start at 0 or 64.
// CHECK: nc.transpose src: 64 partitions may not start at 32
nc.program @p on "inf2" {
  nc.core 0 {
    %s = nc.alloc : !nc.sbuf<128x128xbf16>
    %p = nc.alloc : !nc.psum<128x512xf32>
    nc.transpose dst = %p[0:20][0][1:64] src = %s[32:64][0][1:20]
  }
}
