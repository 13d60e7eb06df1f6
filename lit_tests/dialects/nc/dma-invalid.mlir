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

// -----

// CHECK: nc.dma_scatter pairs rows of 64 elements with 32
nc.program @p on "inf2" {
  nc.core 0 {
    %y = nc.tensor output 0 : !nc.dram<8192xf32>
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    %i = nc.alloc : !nc.sbuf<128x1xi32>
    nc.dma_scatter dst = %y[0][64:128, 1:64] src = %t[0:4][0][1:32] index = %i[0:4][0][1:1]
  }
}

// -----

// CHECK: nc.dma_gather index is of i32, got f32
nc.program @p on "inf2" {
  nc.core 0 {
    %x = nc.tensor input 0 : !nc.dram<8192xf32>
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.dma_gather dst = %t[0:4][0][1:64] src = %x[0][64:128, 1:64] index = %t[0:4][0][1:1]
  }
}

// -----

// CHECK: nc.dma_scatter dst is in dram, got sbuf
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    %i = nc.alloc : !nc.sbuf<128x1xi32>
    nc.dma_scatter dst = %t[0:128][0][1:64] src = %t[0:4][0][1:64] index = %i[0:4][0][1:1]
  }
}
