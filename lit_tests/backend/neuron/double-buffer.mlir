// RUN: ranvier-opt %s -p 'double-buffer' --split-input-file | filecheck %s

// Nine turns that each load a tile become four of two, and one. A sum starts in the first of all
// turns only.
// CHECK-LABEL: nc.program @stream
// CHECK:         nc.loop 4 {
// CHECK-NEXT:      %[[EVEN:.*]] = nc.alloc : !nc.sbuf<128x64xbf16>
// CHECK-NEXT:      nc.dma dst = %[[EVEN]][0:128][0 + i0*0][1:64] src = %{{.*}}[0 + i0*16384][64:128, 1:64]
// CHECK-NEXT:      nc.matmul {{.*}}stationary = %[[EVEN]]{{.*}}moving = %{{.*}}[0:128][0 + i0*2][1:1] {first_at = array<i64: 0>}
// CHECK-NEXT:      %[[ODD:.*]] = nc.alloc : !nc.sbuf<128x64xbf16>
// CHECK-NEXT:      nc.dma dst = %[[ODD]][0:128][0 + i0*0][1:64] src = %{{.*}}[8192 + i0*16384][64:128, 1:64]
// CHECK-NEXT:      nc.matmul {{.*}}stationary = %[[ODD]]{{.*}}moving = %{{.*}}[0:128][1 + i0*2][1:1]
// CHECK-NOT:       first_at
// CHECK:         }
// CHECK:         nc.dma {{.*}} src = %{{.*}}[65536][64:128, 1:64]
// CHECK-NEXT:    nc.matmul {{.*}}moving = %{{.*}}[0:128][8][1:1]
// CHECK-NOT:     first_at
nc.program @stream on "inf2" {
  nc.core 0 {
    %w = nc.tensor input 0 : !nc.dram<73728xbf16>
    %x = nc.alloc : !nc.sbuf<128x9xbf16>
    nc.memset dst = %x[0:128][0][1:9] {value = 1.0 : f64}
    %p = nc.alloc : !nc.psum<64x1xf32>
    nc.loop 9 {
      %t = nc.alloc : !nc.sbuf<128x64xbf16>
      nc.dma dst = %t[0:128][0 + i0*0][1:64] src = %w[0 + i0*8192][64:128, 1:64]
      nc.matmul dst = %p[0:64][0 + i0*0][1:1] stationary = %t[0:128][0 + i0*0][1:64] moving = %x[0:128][0 + i0*1][1:1] {first_at = array<i64: 0>}
    }
  }
}

// -----

// A loop that loads nothing of its own, a short one, and one that does not fit twice stay.
// CHECK-LABEL: nc.program @stay
// CHECK:         nc.loop 9 {
// CHECK:         nc.loop 3 {
// CHECK:         nc.loop 9 {
nc.program @stay on "inf2" {
  nc.core 0 {
    %w = nc.tensor input 0 : !nc.dram<46080000xbf16>
    %x = nc.alloc : !nc.sbuf<128x64xbf16>
    nc.loop 9 {
      nc.memset dst = %x[0:128][0 + i0*0][1:64] {value = 1.0 : f64}
    }
    nc.loop 3 {
      %t = nc.alloc : !nc.sbuf<128x64xbf16>
      nc.dma dst = %t[0:128][0 + i0*0][1:64] src = %w[0 + i0*8192][64:128, 1:64]
    }
    nc.loop 9 {
      %t = nc.alloc : !nc.sbuf<128x40000xbf16>
      nc.dma dst = %t[0:128][0 + i0*0][1:40000] src = %w[0 + i0*5120000][40000:128, 1:40000]
      nc.memset dst = %t[0:128][0 + i0*0][1:40000] {value = 1.0 : f64}
    }
  }
}
