// RUN: ranvier-opt %s -p simplify-shapes --verify-diagnostics | filecheck %s

// The pass takes verified modules only.
// CHECK: nn.reshape gives tensor<6xf32>, declared as tensor<7xf32>
func.func @main(%x: tensor<2x3xf32>) -> tensor<7xf32> {
  %0 = nn.reshape %x {shape = array<i64: 6>} : tensor<2x3xf32> -> tensor<7xf32>
  func.return %0 : tensor<7xf32>
}
