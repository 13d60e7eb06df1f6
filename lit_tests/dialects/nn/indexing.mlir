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

// Places are i64, or i32 where a pass has proven that they fit.
// CHECK-LABEL: @places
// CHECK-NEXT:  nn.top_k %x {axis = 1 : i64, k = 3 : i64, largest = true} : tensor<4x8xf32> -> tensor<4x3xf32>, tensor<4x3xi32>
// CHECK-NEXT:  nn.arg_max %x {axis = 0 : i64, keepdims = false, last = false} : tensor<4x8xf32> -> tensor<8xi32>
func.func @places(%x: tensor<4x8xf32>) {
  %0, %1 = nn.top_k %x {axis = 1 : i64, k = 3 : i64, largest = true} : tensor<4x8xf32> -> tensor<4x3xf32>, tensor<4x3xi32>
  %2 = nn.arg_max %x {axis = 0 : i64, keepdims = false, last = false} : tensor<4x8xf32> -> tensor<8xi32>
  func.return
}
