// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// The last turn of a loop counts.
// CHECK: nc.memset dst: elements 0 to 64 leave a buffer of 64 elements
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.loop 5 {
      nc.memset dst = %t[0:128][0 + i0*16][1:1] {value = 0.0 : f64}
    }
  }
}

// -----

// CHECK: nc.memset dst: elements -1 to 6 leave a buffer of 64 elements
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.memset dst = %t[0:128][6][-1:8] {value = 0.0 : f64}
  }
}

// -----

// CHECK: nc.memset dst: 0 loop steps in a nest of 1 loops
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.loop 5 {
      nc.memset dst = %t[0:128][0][1:1] {value = 0.0 : f64}
    }
  }
}

// -----

// CHECK: nc.memset dst: partitions 96 to 159 leave a buffer of 128
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.memset dst = %t[96:64][0][1:1] {value = 0.0 : f64}
  }
}

// -----

// CHECK: nc.memset dst: 5 strides; sbuf takes 1 to 4
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.memset dst = %t[0:128][0][1:1, 1:1, 1:1, 1:1, 1:1] {value = 0.0 : f64}
  }
}

// -----

// CHECK: nc.memset dst: strides up to 32767, counts up to 65535
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<1x90000xui8>
    nc.memset dst = %t[0:1][0][40000:2] {value = 0.0 : f64}
  }
}

// -----

// CHECK: nc.dma src: DRAM has no partitions
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<1x64xf32>
    %d = nc.alloc : !nc.dram<64xf32>
    nc.dma dst = %t[0:1][0][1:64] src = %d[0:1][0][1:64]
  }
}

// -----

// CHECK: no buffer %q before this use
nc.program @p on "inf2" {
  nc.core 0 {
    nc.memset dst = %q[0:128][0][1:1] {value = 0.0 : f64}
  }
}
