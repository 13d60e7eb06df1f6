// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: contracted dimensions differ: lhs has 8 columns, rhs has 4 rows
func.func @main(%x: tensor<4x8xf32>) {
  %r = nn.matmul %x, %x : tensor<4x8xf32>
  func.return
}

// -----

// CHECK: element types differ: tensor<4x4xf32> and tensor<4x4xbf16>
func.func @main(%x: tensor<4x4xf32>, %y: tensor<4x4xbf16>) {
  %r = nn.matmul %x, %y : tensor<4x4xf32>, tensor<4x4xbf16> -> tensor<4x4xf32>
  func.return
}

// -----

// CHECK: nn.matmul gives tensor<4x4xf32>, declared as tensor<4x4xbf16>
func.func @main(%x: tensor<4x4xf32>) {
  %r = nn.matmul %x, %x : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xbf16>
  func.return
}

// -----

// CHECK: gemm takes two matrices, got 4 and 4
func.func @main(%x: tensor<4xf32>) {
  %r = nn.gemm %x, %x {alpha = 1.0 : f64, beta = 1.0 : f64, transpose_lhs = false, transpose_rhs = false} : tensor<4xf32>
  func.return
}

// -----

// CHECK: 4 channels in 3 groups do not fit a weight of 6x2x3
func.func @main(%x: tensor<1x4x9xf32>, %w: tensor<6x2x3xf32>) {
  %r = nn.conv %x, %w {dilations = array<i64: 1>, groups = 3 : i64, padding = array<i64: 0, 0>, strides = array<i64: 1>} : tensor<1x4x9xf32>, tensor<6x2x3xf32> -> tensor<1x6x7xf32>
  func.return
}

// -----

// CHECK: a window of 21 does not fit into 9 padded by 1 and 1
func.func @main(%x: tensor<1x4x9xf32>, %w: tensor<6x4x3xf32>) {
  %r = nn.conv %x, %w {dilations = array<i64: 10>, groups = 1 : i64, padding = array<i64: 1, 1>, strides = array<i64: 1>} : tensor<1x4x9xf32>, tensor<6x4x3xf32> -> tensor<1x6x7xf32>
  func.return
}
