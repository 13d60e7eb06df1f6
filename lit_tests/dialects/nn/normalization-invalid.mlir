// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: axes [-1] are not distinct axes of rank 2
func.func @main(%x: tensor<4x8xf32>) {
  %r = nn.softmax %x {axis = -1 : i64} : tensor<4x8xf32>
  func.return
}

// -----

// CHECK: batch_norm takes floats of rank 2 and above, got tensor<4xf32>
func.func @main(%x: tensor<4xf32>) {
  %r = nn.batch_norm %x, %x, %x, %x, %x {epsilon = 1.0e-5 : f64} : tensor<4xf32>
  func.return
}
