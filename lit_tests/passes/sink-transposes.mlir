// RUN: ranvier-opt %s -p sink-transposes | filecheck %s

// A channels-last convolution, its bias and its activation: the layouts cancel.
// CHECK-LABEL: @cancels
// CHECK-NEXT:  %[[W:.*]] = nn.constant
// CHECK-NEXT:  %[[B:.*]] = nn.constant
// CHECK-NEXT:  %[[C:.*]] = nn.conv %x, %[[W]]
// CHECK-NEXT:  %[[R:.*]] = nn.relu %[[C]]
// CHECK:       %[[A:.*]] = nn.add %[[R]], %{{.*}} : tensor<1x2x4x4xf32>, tensor<1x2x1x1xf32> -> tensor<1x2x4x4xf32>
// CHECK-NEXT:  func.return %[[A]]
func.func @cancels(%x: tensor<1x3x4x4xf32>) -> tensor<1x2x4x4xf32> {
  %w = nn.constant dense<1.0> : tensor<2x3x1x1xf32>
  %b = nn.constant dense<2.0> : tensor<2xf32>
  %0 = nn.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, padding = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : tensor<1x3x4x4xf32>, tensor<2x3x1x1xf32> -> tensor<1x2x4x4xf32>
  %1 = nn.transpose %0 {permutation = array<i64: 0, 2, 3, 1>} : tensor<1x2x4x4xf32> -> tensor<1x4x4x2xf32>
  %2 = nn.relu %1 : tensor<1x4x4x2xf32>
  %3 = nn.add %2, %b : tensor<1x4x4x2xf32>, tensor<2xf32> -> tensor<1x4x4x2xf32>
  %4 = nn.transpose %3 {permutation = array<i64: 0, 3, 1, 2>} : tensor<1x4x4x2xf32> -> tensor<1x2x4x4xf32>
  func.return %4 : tensor<1x2x4x4xf32>
}

// Axes follow, and what a reduction leaves is in order.
// CHECK-LABEL: @axes
// CHECK-NEXT:  %[[P:.*]] = nn.pad %x {high = array<i64: 0, 3, 0>, low = array<i64: 0, 0, 1>
// CHECK-NEXT:  %[[M:.*]] = nn.reduce_max %[[P]] {axes = array<i64: 2>, keepdims = false}
// CHECK-NEXT:  func.return %[[M]]
func.func @axes(%x: tensor<2x3x5xf32>) -> tensor<2x6xf32> {
  %0 = nn.transpose %x {permutation = array<i64: 0, 2, 1>} : tensor<2x3x5xf32> -> tensor<2x5x3xf32>
  %1 = nn.pad %0 {low = array<i64: 0, 1, 0>, high = array<i64: 0, 0, 3>, mode = "constant", value = 0.0 : f64} : tensor<2x5x3xf32> -> tensor<2x6x6xf32>
  %2 = nn.reduce_max %1 {axes = array<i64: 1>, keepdims = false} : tensor<2x6x6xf32> -> tensor<2x6xf32>
  func.return %2 : tensor<2x6xf32>
}

// A matrix product does not commute with it, nor does a sum with an operand that it would move.
// CHECK-LABEL: @stays
// CHECK-NEXT:  %[[T:.*]] = nn.transpose %x
// CHECK-NEXT:  nn.matmul %[[T]], %x
// CHECK-NEXT:  nn.add %[[T]], %y
func.func @stays(%x: tensor<3x4xf32>, %y: tensor<4x3xf32>) -> (tensor<4x4xf32>, tensor<4x3xf32>) {
  %0 = nn.transpose %x {permutation = array<i64: 1, 0>} : tensor<3x4xf32> -> tensor<4x3xf32>
  %1 = nn.matmul %0, %x : tensor<4x3xf32>, tensor<3x4xf32> -> tensor<4x4xf32>
  %2 = nn.add %0, %y : tensor<4x3xf32>
  func.return %1, %2 : tensor<4x4xf32>, tensor<4x3xf32>
}
