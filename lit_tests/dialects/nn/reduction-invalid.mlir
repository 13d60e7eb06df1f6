// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: axes [2] are not distinct axes of rank 2
func.func @main(%x: tensor<4x8xf32>) {
  %r = nn.reduce_sum %x {axes = array<i64: 2>, keepdims = true} : tensor<4x8xf32>
  func.return
}

// -----

// CHECK: axes [0, 0] are not distinct axes of rank 2
func.func @main(%x: tensor<4x8xf32>) {
  %r = nn.reduce_max %x {axes = array<i64: 0, 0>, keepdims = true} : tensor<4x8xf32>
  func.return
}
