// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: indices are i32 or i64, got tensor<2xf32>
func.func @main(%x: tensor<4xf32>, %i: tensor<2xf32>) {
  %r = nn.gather %x, %i {axis = 0 : i64} : tensor<4xf32>, tensor<2xf32> -> tensor<2xf32>
  func.return
}
