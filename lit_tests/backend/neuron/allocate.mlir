// RUN: ranvier-opt %s -p 'allocate' --split-input-file | filecheck %s

// Places are taken in turn, each on a 64-byte boundary: 200 bytes of each partition, then 400. A
// PSUM buffer takes a bank of 2048 bytes, whatever its width.
// CHECK-LABEL: nc.program @turns
// CHECK:         nc.alloc at 0 : !nc.sbuf<128x100xbf16>
// CHECK:         nc.alloc at 256 : !nc.sbuf<128x100xf32>
// CHECK:         nc.alloc at 0 : !nc.psum<128x100xf32>
// CHECK:         nc.alloc at 2048 : !nc.psum<128x10xf32>
nc.program @turns on "inf2" {
  nc.core 0 {
    %0 = nc.alloc : !nc.sbuf<128x100xbf16>
    nc.memset dst = %0[0:128][0][1:100] {value = 0.0 : f64}
    %1 = nc.alloc : !nc.sbuf<128x100xf32>
    nc.copy dst = %1[0:128][0][1:100] src = %0[0:128][0][1:100]
    %2 = nc.alloc : !nc.psum<128x100xf32>
    nc.copy dst = %2[0:128][0][1:100] src = %1[0:128][0][1:100]
    %3 = nc.alloc : !nc.psum<128x10xf32>
    nc.memset dst = %3[0:128][0][1:10] {value = 0.0 : f64}
    nc.copy dst = %2[0:128][0][1:10] src = %3[0:128][0][1:10]
  }
}

// -----

// The third buffer does not fit beside the second, and takes the place of the first, which is dead.
// CHECK-LABEL: nc.program @again
// CHECK:         nc.alloc at 0 : !nc.sbuf<128x20000xf32>
// CHECK:         nc.alloc at 80000 : !nc.sbuf<128x20000xf32>
// CHECK:         nc.alloc at 0 : !nc.sbuf<128x20000xf32>
nc.program @again on "inf2" {
  nc.core 0 {
    %0 = nc.alloc : !nc.sbuf<128x20000xf32>
    nc.memset dst = %0[0:128][0][1:20000] {value = 0.0 : f64}
    %1 = nc.alloc : !nc.sbuf<128x20000xf32>
    nc.copy dst = %1[0:128][0][1:20000] src = %0[0:128][0][1:20000]
    %2 = nc.alloc : !nc.sbuf<128x20000xf32>
    nc.copy dst = %2[0:128][0][1:20000] src = %1[0:128][0][1:20000]
  }
}

// -----

// What a loop reads and did not make lives as long as the loop: what is made in it stands beside.
// CHECK-LABEL: nc.program @loops
// CHECK:         nc.alloc at 0 : !nc.sbuf<128x20000xf32>
// CHECK:         nc.loop 2 {
// CHECK:           nc.alloc at 80000 : !nc.sbuf<128x10000xf32>
// CHECK:           nc.alloc at 120000 : !nc.sbuf<128x10000xf32>
nc.program @loops on "inf2" {
  nc.core 0 {
    %0 = nc.alloc : !nc.sbuf<128x20000xf32>
    nc.memset dst = %0[0:128][0][1:20000] {value = 0.0 : f64}
    nc.loop 2 {
      %1 = nc.alloc : !nc.sbuf<128x10000xf32>
      nc.copy dst = %1[0:128][0 + i0*0][1:10000] src = %0[0:128][0 + i0*10000][1:10000]
      %2 = nc.alloc : !nc.sbuf<128x10000xf32>
      nc.copy dst = %2[0:128][0 + i0*0][1:10000] src = %1[0:128][0 + i0*0][1:10000]
    }
  }
}

// -----

// A module without a program stays as it is.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    nn.relu
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.relu %x : tensor<4x8xf32>
  func.return %0 : tensor<4x8xf32>
}
