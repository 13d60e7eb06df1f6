// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: 4x8 does not reshape to 5x8
func.func @main(%x: tensor<4x8xf32>) {
  %r = nn.reshape %x {shape = array<i64: 5, 8>} : tensor<4x8xf32> -> tensor<5x8xf32>
  func.return
}

// -----

// CHECK: [0, 0] is no permutation of 2 dimensions
func.func @main(%x: tensor<4x8xf32>) {
  %r = nn.transpose %x {permutation = array<i64: 0, 0>} : tensor<4x8xf32>
  func.return
}

// -----

// CHECK: tensor<4x8xf32> does not broadcast to 8
func.func @main(%x: tensor<4x8xf32>) {
  %r = nn.broadcast %x {shape = array<i64: 8>} : tensor<4x8xf32> -> tensor<8xf32>
  func.return
}

// -----

// CHECK: 5 elements from 0 by 1 leave a dimension of 4
func.func @main(%x: tensor<4xf32>) {
  %r = nn.slice %x {sizes = array<i64: 5>, starts = array<i64: 0>, steps = array<i64: 1>} : tensor<4xf32> -> tensor<5xf32>
  func.return
}

// -----

// CHECK: operands differ off axis 0: tensor<4x8xf32>, tensor<4x7xf32>
func.func @main(%x: tensor<4x8xf32>, %y: tensor<4x7xf32>) {
  %r = nn.concat %x, %y {axis = 0 : i64} : tensor<4x8xf32>, tensor<4x7xf32> -> tensor<8x8xf32>
  func.return
}

// -----

// CHECK: reflect reaches 4 beyond a dimension of 4
func.func @main(%x: tensor<4xf32>) {
  %r = nn.pad %x {high = array<i64: 0>, low = array<i64: 4>, mode = "reflect", value = 0.0 : f64} : tensor<4xf32> -> tensor<8xf32>
  func.return
}
