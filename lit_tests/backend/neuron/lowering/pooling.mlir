// RUN: ranvier-opt %s -p 'segment,lower-nn-to-nc' --split-input-file | filecheck %s

// All windows of an image are one reduction of a pattern whose inner strides are the taps. Padding
// is minus infinity, so that it is never the maximum.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.memset dst = %[[IMAGE:.*]][0:64][0][1:81] {value = 0xfff0000000000000 : f64}
// CHECK-NEXT:  nc.dma dst = %[[IMAGE]][0:64][0][9:8, 1:8] src = %0[0][1:4096]
// CHECK:       nc.reduce dst = %{{.*}}[0:64][0][1:16] src = %[[IMAGE]][0:64][0][18:4, 2:4, 9:3, 1:3] {axes = 2 : i64, op = "max"}
// CHECK-NOT:   nc.reduce
func.func @main(%x: tensor<1x64x8x8xbf16>) -> tensor<1x64x4x4xbf16> {
  %0 = nn.max_pool %x {kernel = array<i64: 3, 3>, strides = array<i64: 2, 2>, padding = array<i64: 0, 0, 1, 1>, dilations = array<i64: 1, 1>} : tensor<1x64x8x8xbf16> -> tensor<1x64x4x4xbf16>
  func.return %0 : tensor<1x64x4x4xbf16>
}

// -----

// Windows over the edge count fewer taps: the sums are multiplied by a table that is computed when
// the program is written.
// CHECK-LABEL: nn.weight @splat.table : tensor<1x1x8x8xf32>
// CHECK:       nn.avg_pool
// CHECK:       nc.core 0
// CHECK:       %[[TABLE:.*]] = nc.tensor weight @splat.table : !nc.dram<64xf32>
// CHECK:       nc.reduce dst = %[[SUMS:[0-9]+]]{{.*}} {axes = 2 : i64, op = "add"}
// CHECK:       nc.dma dst = %[[FACTORS:[0-9]+]][0:64][0][1:64] src = %[[TABLE]][0][0:64, 1:64]
// CHECK-NEXT:  nc.tensor_tensor {{.*}} lhs = %[[SUMS]]{{.*}} rhs = %[[FACTORS]]{{.*}} {op = "mult"}
func.func @main(%x: tensor<1x64x8x8xf32>) -> tensor<1x64x8x8xf32> {
  %0 = nn.avg_pool %x {kernel = array<i64: 3, 3>, strides = array<i64: 1, 1>, padding = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, count_padding = false} : tensor<1x64x8x8xf32> -> tensor<1x64x8x8xf32>
  func.return %0 : tensor<1x64x8x8xf32>
}
