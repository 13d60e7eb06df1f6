// RUN: ranvier-opt %s -p fold-batch-norm --verify-diagnostics | filecheck %s

// The pass takes verified modules only.
// CHECK: tensor<3xf32> does not fit the 2 channels of tensor<1x2xf32>
func.func @main(%x: tensor<1x2xf32>, %s: tensor<3xf32>) -> tensor<1x2xf32> {
  %r = nn.batch_norm %x, %s, %s, %s, %s {epsilon = 1.0e-5 : f64} : tensor<1x2xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32> -> tensor<1x2xf32>
  func.return %r : tensor<1x2xf32>
}
