// RUN: RANVIER_ROUNDTRIP

// Statistics are operands.
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.batch_norm %x, %s, %s, %s, %s {epsilon = 1.000000e-05 : f64} : tensor<4x8x2xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32> -> tensor<4x8x2xf32>
// CHECK-NEXT:  nn.softmax %x {axis = 1 : i64} : tensor<4x8x2xf32>
func.func @main(%x: tensor<4x8x2xf32>, %s: tensor<8xf32>) {
  %0 = nn.batch_norm %x, %s, %s, %s, %s {epsilon = 1.000000e-05 : f64} : tensor<4x8x2xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32> -> tensor<4x8x2xf32>
  %1 = nn.softmax %x {axis = 1 : i64} : tensor<4x8x2xf32>
  func.return
}
