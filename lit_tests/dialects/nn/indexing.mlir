// RUN: RANVIER_ROUNDTRIP

// Indices are integers, counted from the end if negative.
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.gather %x, %i {axis = 1 : i64} : tensor<4x8xf32>, tensor<3x2xi64> -> tensor<4x3x2xf32>
// CHECK-NEXT:  nn.gather %x, %j {axis = 0 : i64} : tensor<4x8xf32>, tensor<i32> -> tensor<8xf32>
func.func @main(%x: tensor<4x8xf32>, %i: tensor<3x2xi64>, %j: tensor<i32>) {
  %0 = nn.gather %x, %i {axis = 1 : i64} : tensor<4x8xf32>, tensor<3x2xi64> -> tensor<4x3x2xf32>
  %1 = nn.gather %x, %j {axis = 0 : i64} : tensor<4x8xf32>, tensor<i32> -> tensor<8xf32>
  func.return
}
