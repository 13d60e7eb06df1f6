// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: indices are i32 or i64, got tensor<2xf32>
func.func @main(%x: tensor<4xf32>, %i: tensor<2xf32>) {
  %r = nn.gather %x, %i {axis = 0 : i64} : tensor<4xf32>, tensor<2xf32> -> tensor<2xf32>
  func.return
}

// -----

// CHECK: nn.top_k gives tensor<4xi64>, declared as tensor<4xf32>
func.func @main(%x: tensor<8xf32>) {
  %0, %1 = nn.top_k %x {axis = 0 : i64, k = 4 : i64, largest = true} : tensor<8xf32> -> tensor<4xf32>, tensor<4xf32>
  func.return
}
