// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: nc.dma: DMA does not reach PSUM
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    %p = nc.alloc : !nc.psum<128x64xf32>
    nc.dma dst = %t[0:128][0][1:64] src = %p[0:128][0][1:64]
  }
}

// -----

// CHECK: nc.dma moves 64 elements into 8192
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.dma dst = %t[0:128][0][1:64] src = %t[0:1][0][1:64]
  }
}

// -----

// CHECK: nc.dma has no queue 16; there are 16
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.dma dst = %t[0:1][0][1:64] src = %t[1:1][0][1:64] {queue = 16 : i64}
  }
}
