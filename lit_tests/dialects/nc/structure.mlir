// RUN: RANVIER_ROUNDTRIP

// A program holds cores, cores hold buffers, loops and instructions in program order.
// CHECK-LABEL: nc.program @seg0 on "inf2" {
// CHECK-NEXT:    nc.core 0 {
// CHECK-NEXT:      %x = nc.tensor input 0 : !nc.dram<4096xf32>
// CHECK-NEXT:      %w = nc.tensor weight @w : !nc.dram<64xbf16>
// CHECK-NEXT:      %y = nc.tensor output 1 : !nc.dram<4096xf32>
// CHECK-NEXT:      %t = nc.alloc : !nc.sbuf<128x32xf32>
// CHECK-NEXT:      %p = nc.alloc at 2048 : !nc.psum<128x32xf32>
// CHECK-NEXT:      %s = nc.alloc at 64 : !nc.dram<100xui8>
// CHECK-NEXT:      nc.loop 4 {
// CHECK-NEXT:        nc.loop 2 {
// CHECK-NEXT:          nc.dma dst = %t[0:32][0 + i0*0 + i1*16][1:16] src = %x[7 + i0*512 + i1*256][16:32, 1:16] {queue = 3 : i64} wait(pe >= -1 + i0*2 + i1*1, q0 >= 4 + i0*0 + i1*0)
// CHECK-NEXT:        }
// CHECK-NEXT:      }
// CHECK-NEXT:    }
// CHECK-NEXT:    nc.core 1 {
// CHECK-NEXT:      %{{.*}} = nc.alloc : !nc.sbuf<1x1xi32>
// CHECK-NEXT:    }
// CHECK-NEXT:  }
nc.program @seg0 on "inf2" {
  nc.core 0 {
    %x = nc.tensor input 0 : !nc.dram<4096xf32>
    %w = nc.tensor weight @w : !nc.dram<64xbf16>
    %y = nc.tensor output 1 : !nc.dram<4096xf32>
    %t = nc.alloc : !nc.sbuf<128x32xf32>
    %p = nc.alloc at 2048 : !nc.psum<128x32xf32>
    %s = nc.alloc at 64 : !nc.dram<100xui8>
    nc.loop 4 {
      nc.loop 2 {
        nc.dma dst = %t[0:32][0 + i0*0 + i1*16][1:16] src = %x[7 + i0*512 + i1*256][16:32, 1:16] {queue = 3 : i64} wait(pe >= -1 + i0*2 + i1*1, q0 >= 4 + i0*0 + i1*0)
      }
    }
  }
  nc.core 1 {
    %u = nc.alloc : !nc.sbuf<1x1xi32>
  }
}
