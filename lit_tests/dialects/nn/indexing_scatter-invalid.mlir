// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: updates of tensor<3xf32> do not fit tensor<4xf32> at tensor<2xi64>
func.func @main(%x: tensor<4xf32>, %i: tensor<2xi64>, %u: tensor<3xf32>) {
  %r = nn.scatter_elements %x, %i, %u {axis = 0 : i64, reduction = "none"} : tensor<4xf32>, tensor<2xi64>, tensor<3xf32> -> tensor<4xf32>
  func.return
}

// -----

// CHECK: reduction is none, add, mul, max, min, got mean
func.func @main(%x: tensor<4xf32>, %i: tensor<2x1xi64>, %u: tensor<2xf32>) {
  %r = nn.scatter_nd %x, %i, %u {reduction = "mean"} : tensor<4xf32>, tensor<2x1xi64>, tensor<2xf32> -> tensor<4xf32>
  func.return
}

// -----

// CHECK: tensor<4x9xf32> from tensor<4xi64> on does not fit tensor<4x8xf32>
func.func @main(%x: tensor<4x8xf32>, %u: tensor<4x9xf32>, %s: tensor<4xi64>) {
  %r = nn.tensor_scatter %x, %u, %s {axis = 1 : i64, circular = false} : tensor<4x8xf32>, tensor<4x9xf32>, tensor<4xi64> -> tensor<4x8xf32>
  func.return
}
