// RUN: ranvier-opt %s -p move-transposes --verify-diagnostics | filecheck %s

// The pass takes verified modules only.
// CHECK: [1, 1] is no permutation of 2 dimensions
func.func @main(%x: tensor<2x2xf32>) -> tensor<2x2xf32> {
  %0 = nn.transpose %x {permutation = array<i64: 1, 1>} : tensor<2x2xf32>
  func.return %0 : tensor<2x2xf32>
}
