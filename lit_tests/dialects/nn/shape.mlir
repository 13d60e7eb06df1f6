// RUN: RANVIER_ROUNDTRIP

// Movements say their result's shape or what moves where.
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.reshape %x {shape = array<i64: 2, 16>} : tensor<4x8xf32> -> tensor<2x16xf32>
// CHECK-NEXT:  nn.reshape %y {shape = array<i64: 2, 4>} : tensor<8xf32> -> tensor<2x4xf32>
// CHECK-NEXT:  nn.transpose %x {permutation = array<i64: 1, 0>} : tensor<4x8xf32> -> tensor<8x4xf32>
// CHECK-NEXT:  nn.broadcast %y {shape = array<i64: 3, 8>} : tensor<8xf32> -> tensor<3x8xf32>
// CHECK-NEXT:  nn.slice %x {sizes = array<i64: 2, 4>, starts = array<i64: 0, 7>, steps = array<i64: 2, -2>} : tensor<4x8xf32> -> tensor<2x4xf32>
// CHECK-NEXT:  nn.concat %x, %x, %x {axis = 0 : i64} : tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32> -> tensor<12x8xf32>
// CHECK-NEXT:  nn.pad %x {high = array<i64: 1, -2>, low = array<i64: 0, 3>, mode = "reflect", value = 0.000000e+00 : f64} : tensor<4x8xf32> -> tensor<5x9xf32>
func.func @main(%x: tensor<4x8xf32>, %y: tensor<8xf32>) {
  %0 = nn.reshape %x {shape = array<i64: 2, 16>} : tensor<4x8xf32> -> tensor<2x16xf32>
  %1 = nn.reshape %y {shape = array<i64: 2, 4>} : tensor<8xf32> -> tensor<2x4xf32>
  %2 = nn.transpose %x {permutation = array<i64: 1, 0>} : tensor<4x8xf32> -> tensor<8x4xf32>
  %3 = nn.broadcast %y {shape = array<i64: 3, 8>} : tensor<8xf32> -> tensor<3x8xf32>
  %4 = nn.slice %x {sizes = array<i64: 2, 4>, starts = array<i64: 0, 7>, steps = array<i64: 2, -2>} : tensor<4x8xf32> -> tensor<2x4xf32>
  %5 = nn.concat %x, %x, %x {axis = 0 : i64} : tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf32> -> tensor<12x8xf32>
  %6 = nn.pad %x {high = array<i64: 1, -2>, low = array<i64: 0, 3>, mode = "reflect", value = 0.000000e+00 : f64} : tensor<4x8xf32> -> tensor<5x9xf32>
  func.return
}
