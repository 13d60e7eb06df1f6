// RUN: ranvier-opt %s -p 'segment,lower-nn-to-nc' --split-input-file | filecheck %s

// A transpose and a slice cost nothing: the load of what reads them follows their strides, in the
// order in which the elements lie.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.dma dst = %[[TILE:.*]][0:4][0][1:24] src = %0[0][16:12, 1:8]
// CHECK:       nc.activation {{.*}} src = %[[TILE]]
// CHECK:       nc.dma dst = %1
// CHECK-NOT:   nc.dma
func.func @main(%x: tensor<4x6x8xf32>) -> tensor<8x3x4xf32> {
  %0 = nn.transpose %x {permutation = array<i64: 2, 1, 0>} : tensor<4x6x8xf32> -> tensor<8x6x4xf32>
  %1 = nn.slice %0 {starts = array<i64: 0, 0, 0>, sizes = array<i64: 8, 3, 4>, steps = array<i64: 1, 2, 1>} : tensor<8x6x4xf32> -> tensor<8x3x4xf32>
  %2 = nn.relu %1 : tensor<8x3x4xf32>
  func.return %2 : tensor<8x3x4xf32>
}

// -----

// Strides cannot say the reshape of a transpose, so it is a copy inside DRAM.
// CHECK-LABEL: nc.core 0
// CHECK:       %[[COPY:.*]] = nc.alloc : !nc.dram<24xf32>
// CHECK-NEXT:  nc.dma dst = %[[COPY]][0][1:24] src = %0[0][1:6, 6:4]
func.func @main(%x: tensor<4x6xf32>) -> tensor<24xf32> {
  %0 = nn.transpose %x {permutation = array<i64: 1, 0>} : tensor<4x6xf32> -> tensor<6x4xf32>
  %1 = nn.reshape %0 {shape = array<i64: 24>} : tensor<6x4xf32> -> tensor<24xf32>
  %2 = nn.relu %1 : tensor<24xf32>
  func.return %2 : tensor<24xf32>
}

// -----

// Each part is copied to its place in the result, which is the output itself.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.dma dst = %2[0][8:2, 1:3] src = %0[0][1:6]
// CHECK-NEXT:  nc.dma dst = %2[3][8:2, 1:5] src = %1[0][1:10]
// CHECK-NEXT:  }
func.func @main(%x: tensor<2x3xf32>, %y: tensor<2x5xf32>) -> tensor<2x8xf32> {
  %0 = nn.concat %x, %y {axis = 1 : i64} : tensor<2x3xf32>, tensor<2x5xf32> -> tensor<2x8xf32>
  func.return %0 : tensor<2x8xf32>
}

// -----

// A tile of the fill value is stored as often as it takes, then the operand goes inside.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.memset dst = %[[FILL:.*]][0:15][0][1:1] {value = 7.000000e+00 : f64}
// CHECK-NEXT:  nc.dma dst = %1[0][1:15] src = %[[FILL]][0:15][0][1:1]
// CHECK-NEXT:  nc.dma dst = %1[7][5:2, 1:3] src = %0[0][1:6]
// CHECK-NEXT:  }
func.func @main(%x: tensor<2x3xf32>) -> tensor<3x5xf32> {
  %0 = nn.pad %x {low = array<i64: 1, 2>, high = array<i64: 0, 0>, mode = "constant", value = 7.0 : f64} : tensor<2x3xf32> -> tensor<3x5xf32>
  func.return %0 : tensor<3x5xf32>
}
