// RUN: ranvier-opt %s -p 'keep-on-chip' --split-input-file | filecheck %s

// The second loop reads what the first one wrote: 64 rows of 896 elements, a row per partition.
// Both tiles were for the copies alone.
// CHECK-LABEL: nc.program @between_ops
// CHECK-NOT:     !nc.dram<57344xbf16>
// CHECK:         %[[HOME:.*]] = nc.alloc : !nc.sbuf<64x896xbf16>
// CHECK-NEXT:    nc.loop 2 {
// CHECK-NEXT:      nc.activation dst = %[[HOME]][0:64][0 + i0*448][1:448] src = %{{.*}}[0:64][0 + i0*0][1:448]
// CHECK-NEXT:    }
// CHECK-NEXT:    nc.loop 2 {
// CHECK-NEXT:      nc.matmul {{.*}}moving = %[[HOME]][0:64][0 + i0*448][1:448]
nc.program @between_ops on "inf2" {
  nc.core 0 {
    %p = nc.alloc : !nc.psum<64x448xf32>
    %w = nc.alloc : !nc.sbuf<64x32xbf16>
    %q = nc.alloc : !nc.psum<32x448xf32>
    %home = nc.alloc : !nc.dram<57344xbf16>
    nc.loop 2 {
      %t = nc.alloc : !nc.sbuf<64x448xbf16>
      nc.activation dst = %t[0:64][0 + i0*0][1:448] src = %p[0:64][0 + i0*0][1:448] {func = "relu", scale = 1.0 : f64}
      nc.dma dst = %home[0 + i0*448][896:64, 1:448] src = %t[0:64][0 + i0*0][1:448]
    }
    nc.loop 2 {
      %u = nc.alloc : !nc.sbuf<64x448xbf16>
      nc.dma dst = %u[0:64][0 + i0*0][1:448] src = %home[0 + i0*448][896:64, 1:448]
      nc.matmul dst = %q[0:32][0 + i0*0][1:448] stationary = %w[0:64][0 + i0*0][1:32] moving = %u[0:64][0 + i0*0][1:448] {first_at = array<i64>}
    }
  }
}

// -----

// 256 rows make two blocks of a partition's row; a padded tile is still filled by a copy.
// CHECK-LABEL: nc.program @blocks
// CHECK:         %[[HOME:.*]] = nc.alloc : !nc.sbuf<128x32xbf16>
// CHECK:         nc.copy dst = %[[HOME]][0:128][0 + i0*16][1:16]
// CHECK:         nc.dma dst = %{{.*}}[0:128][7][6:4, 1:4] src = %[[HOME]][0:128][16][1:16]
nc.program @blocks on "inf2" {
  nc.core 0 {
    %x = nc.alloc : !nc.sbuf<128x16xbf16>
    nc.memset dst = %x[0:128][0][1:16] {value = 1.0 : f64}
    %home = nc.alloc : !nc.dram<4096xbf16>
    nc.loop 2 {
      %t = nc.alloc : !nc.sbuf<128x16xbf16>
      nc.copy dst = %t[0:128][0 + i0*0][1:16] src = %x[0:128][0 + i0*0][1:16]
      nc.dma dst = %home[0 + i0*2048][16:128, 1:16] src = %t[0:128][0 + i0*0][1:16]
    }
    %padded = nc.alloc : !nc.sbuf<128x36xbf16>
    nc.memset dst = %padded[0:128][0][1:36] {value = 0.0 : f64}
    nc.dma dst = %padded[0:128][7][6:4, 1:4] src = %home[2048][1:2048]
    %out = nc.tensor output 0 : !nc.dram<4608xbf16>
    nc.dma dst = %out[0][1:4608] src = %padded[0:128][0][1:36]
  }
}

// -----

// Four images of 64 channels are four rows in each of 64 partitions.
// CHECK-LABEL: nc.program @batch
// CHECK:         %[[HOME:.*]] = nc.alloc : !nc.sbuf<64x40xbf16>
// CHECK:         nc.copy dst = %[[HOME]][0:64][0 + i0*10][1:10]
// CHECK:         nc.dma dst = %{{.*}}[0][10:64, 640:4, 1:10] src = %[[HOME]][0:64][0][1:40]
nc.program @batch on "inf2" {
  nc.core 0 {
    %x = nc.alloc : !nc.sbuf<64x10xbf16>
    nc.memset dst = %x[0:64][0][1:10] {value = 1.0 : f64}
    %home = nc.alloc : !nc.dram<2560xbf16>
    nc.loop 4 {
      %t = nc.alloc : !nc.sbuf<64x10xbf16>
      nc.copy dst = %t[0:64][0 + i0*0][1:10] src = %x[0:64][0 + i0*0][1:10]
      nc.dma dst = %home[0 + i0*640][10:64, 1:10] src = %t[0:64][0 + i0*0][1:10]
    }
    %u = nc.alloc : !nc.sbuf<64x40xbf16>
    nc.dma dst = %u[0:64][0][1:40] src = %home[0][10:64, 640:4, 1:10]
    %out = nc.tensor output 0 : !nc.dram<2560xbf16>
    nc.dma dst = %out[0][10:64, 640:4, 1:10] src = %u[0:64][0][1:40]
  }
}

// -----

// In DRAM stays what two transfers cut into other rows, what is read before all of it is written,
// and what is copied inside DRAM.
// CHECK-LABEL: nc.program @stay
// CHECK:         !nc.dram<1024xf32>
// CHECK:         !nc.dram<512xf32>
// CHECK:         !nc.dram<256xf32>
nc.program @stay on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<32x32xf32>
    nc.memset dst = %t[0:32][0][1:32] {value = 1.0 : f64}
    %rows = nc.alloc : !nc.dram<1024xf32>
    nc.dma dst = %rows[0][1:1024] src = %t[0:32][0][1:32]
    nc.dma dst = %t[0:32][0][1:32] src = %rows[0][1:32, 32:32]
    %early = nc.alloc : !nc.dram<512xf32>
    nc.loop 2 {
      nc.dma dst = %early[0 + i0*256][8:32, 1:8] src = %t[0:32][0 + i0*0][1:8]
      nc.dma dst = %t[0:32][0 + i0*0][1:8] src = %early[0 + i0*256][8:32, 1:8]
    }
    %copied = nc.alloc : !nc.dram<256xf32>
    nc.dma dst = %copied[0][8:32, 1:8] src = %t[0:32][0][1:8]
    %out = nc.tensor output 0 : !nc.dram<256xf32>
    nc.dma dst = %out[0][1:256] src = %copied[0][1:256]
    nc.dma dst = %t[0:32][0][1:8] src = %copied[0][8:32, 1:8]
  }
}

// -----

// A tile that somebody else reads too, one of another type, and one that is stored in part, are
// copied as before.
// CHECK-LABEL: nc.program @copies
// CHECK-COUNT-3: nc.dma dst = %{{.*}} src = %{{.*}}[0:32]
nc.program @copies on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<32x8xf32>
    nc.memset dst = %t[0:32][0][1:8] {value = 1.0 : f64}
    %also = nc.alloc : !nc.sbuf<32x8xf32>
    nc.copy dst = %also[0:32][0][1:8] src = %t[0:32][0][1:8]
    %one = nc.alloc : !nc.dram<256xf32>
    nc.dma dst = %one[0][8:32, 1:8] src = %t[0:32][0][1:8]
    %cast = nc.alloc : !nc.sbuf<32x8xbf16>
    nc.dma dst = %cast[0:32][0][1:8] src = %one[0][8:32, 1:8]
    %wide = nc.alloc : !nc.sbuf<32x9xbf16>
    nc.memset dst = %wide[0:32][0][1:9] {value = 1.0 : f64}
    %two = nc.alloc : !nc.dram<256xbf16>
    nc.dma dst = %two[0][8:32, 1:8] src = %wide[0:32][0][1:8]
    %back = nc.alloc : !nc.sbuf<32x8xbf16>
    nc.dma dst = %back[0:32][0][1:8] src = %two[0][8:32, 1:8]
    nc.copy dst = %cast[0:32][0][1:8] src = %back[0:32][0][1:8]
  }
}
