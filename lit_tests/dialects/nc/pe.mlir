// RUN: RANVIER_ROUNDTRIP

nc.program @p on "inf2" {
  nc.core 0 {
    %s = nc.alloc : !nc.sbuf<128x128xbf16>
    %m = nc.alloc : !nc.sbuf<128x1024xbf16>
    %p = nc.alloc : !nc.psum<128x512xf32>
    nc.loop 2 {
      // The sum starts in the first turn of the loop, and every issue adds to it.
      // CHECK: nc.matmul dst = %p[0:64][0 + i0*0][1:512] stationary = %s[0:128][0 + i0*0][1:64] moving = %m[0:128][0 + i0*512][32:16, 1:32] {first_at = array<i64: 0>} wait(q1 >= 2 + i0*1)
      nc.matmul dst = %p[0:64][0 + i0*0][1:512] stationary = %s[0:128][0 + i0*0][1:64] moving = %m[0:128][0 + i0*512][32:16, 1:32] {first_at = array<i64: 0>} wait(q1 >= 2 + i0*1)
    }
    // Partitions become elements, and elements partitions.
    // CHECK: nc.transpose dst = %p[0:20][0][1:32] src = %s[96:32][5][2:20]
    nc.transpose dst = %p[0:20][0][1:32] src = %s[96:32][5][2:20]
  }
}
