// RUN: RANVIER_ROUNDTRIP

nc.program @p on "inf2" {
  nc.core 0 {
    %x = nc.tensor input 0 : !nc.dram<8192xf32>
    %t = nc.alloc : !nc.sbuf<128x64xbf16>
    // Partitions and strides may be cut differently on both sides; the type is cast.
    // CHECK: nc.dma dst = %t[5:3][0][8:8, 1:8] src = %x[0][2:192] {queue = 15 : i64}
    nc.dma dst = %t[5:3][0][8:8, 1:8] src = %x[0][2:192] {queue = 15 : i64}
    %table = nc.tensor output 0 : !nc.dram<8192xf32>
    %i = nc.alloc : !nc.sbuf<128x1xi32>
    // Rows of a table by index, one for each partition; the outermost stride counts the rows.
    // CHECK: nc.dma_gather dst = %t[0:5][0][1:12] src = %x[3][16:500, 4:4, 1:3] index = %i[0:5][0][1:1]
    nc.dma_gather dst = %t[0:5][0][1:12] src = %x[3][16:500, 4:4, 1:3] index = %i[0:5][0][1:1]
    // CHECK: nc.dma_scatter dst = %table[0][64:128, 1:64] src = %t[3:7][0][1:64] index = %i[3:7][0][1:1]
    nc.dma_scatter dst = %table[0][64:128, 1:64] src = %t[3:7][0][1:64] index = %i[3:7][0][1:1]
    // CHECK: nc.send src = %t[0:128][0][1:64] {peer = 1 : i64, tag = 0 : i64}
    nc.send src = %t[0:128][0][1:64] {peer = 1 : i64, tag = 0 : i64}
  }
  nc.core 1 {
    %t = nc.alloc : !nc.sbuf<128x64xbf16>
    // CHECK: nc.receive dst = %{{.*}}[0:128][0][1:64] {peer = 0 : i64, tag = 0 : i64}
    nc.receive dst = %t[0:128][0][1:64] {peer = 0 : i64, tag = 0 : i64}
  }
}
