// RUN: not ranvier-opt %s -p 'merge-products{axis=1}' 2>&1 | filecheck %s

// The pass has no options.
// CHECK: axis
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  func.return %x : tensor<4xf32>
}
