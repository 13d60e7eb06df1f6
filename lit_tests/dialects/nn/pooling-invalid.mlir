// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: pooling takes floats of rank 3 to 5, got tensor<4x8xf32>
func.func @main(%x: tensor<4x8xf32>) {
  %r = nn.max_pool %x {dilations = array<i64>, kernel = array<i64>, padding = array<i64>, strides = array<i64>} : tensor<4x8xf32>
  func.return
}

// -----

// CHECK: padding is not negative, got -1x0
func.func @main(%x: tensor<1x4x8xf32>) {
  %r = nn.max_pool %x {dilations = array<i64: 1>, kernel = array<i64: 2>, padding = array<i64: -1, 0>, strides = array<i64: 1>} : tensor<1x4x8xf32> -> tensor<1x4x6xf32>
  func.return
}
