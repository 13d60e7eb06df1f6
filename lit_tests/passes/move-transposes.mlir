// RUN: ranvier-opt %s -p move-transposes | filecheck %s

// A transpose and its inverse meet through elementwise ops; a constant is turned instead.
// CHECK-LABEL: @through
// CHECK-NOT:   nn.transpose %x
// CHECK:       %[[C:.*]] = nn.reshape %{{.*}} {shape = array<i64: 1, 3, 1, 1>}
// CHECK:       %[[M:.*]] = nn.mul %x, %[[C]]
// CHECK-NEXT:  %[[R:.*]] = nn.relu %[[M]] : tensor<2x3x4x5xf32>
// CHECK-NEXT:  func.return %[[R]]
func.func @through(%x: tensor<2x3x4x5xf32>) -> tensor<2x3x4x5xf32> {
  %c = nn.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %0 = nn.transpose %x {permutation = array<i64: 0, 2, 3, 1>} : tensor<2x3x4x5xf32> -> tensor<2x4x5x3xf32>
  %1 = nn.mul %0, %c : tensor<2x4x5x3xf32>, tensor<3xf32> -> tensor<2x4x5x3xf32>
  %2 = nn.relu %1 : tensor<2x4x5x3xf32>
  %3 = nn.transpose %2 {permutation = array<i64: 0, 3, 1, 2>} : tensor<2x4x5x3xf32> -> tensor<2x3x4x5xf32>
  func.return %3 : tensor<2x3x4x5xf32>
}

// Axes follow: those of a concat, a pad, a slice, a softmax and a reduction.
// CHECK-LABEL: @axes
// CHECK-NEXT:  %[[C:.*]] = nn.concat %x, %x {axis = 1 : i64}
// CHECK-NEXT:  %[[P:.*]] = nn.pad %[[C]] {high = array<i64: 0, 1, 0>, low = array<i64: 0, 2, 0>
// CHECK-NEXT:  %[[S:.*]] = nn.slice %[[P]] {sizes = array<i64: 2, 5, 4>, starts = array<i64: 0, 1, 0>
// CHECK-NEXT:  %[[T:.*]] = nn.softmax %[[S]] {axis = 1 : i64}
// CHECK-NEXT:  %[[R:.*]] = nn.reduce_max %[[T]] {axes = array<i64: 1>, keepdims = true}
// CHECK-NEXT:  %[[L:.*]] = nn.reshape %[[R]] {shape = array<i64: 2, 4>}
// CHECK-NEXT:  func.return %[[L]]
func.func @axes(%x: tensor<2x3x4xf32>) -> tensor<2x4xf32> {
  %0 = nn.transpose %x {permutation = array<i64: 0, 2, 1>} : tensor<2x3x4xf32> -> tensor<2x4x3xf32>
  %1 = nn.concat %0, %0 {axis = 2 : i64} : tensor<2x4x3xf32>, tensor<2x4x3xf32> -> tensor<2x4x6xf32>
  %2 = nn.pad %1 {low = array<i64: 0, 0, 2>, high = array<i64: 0, 0, 1>, mode = "constant", value = 0.0 : f64} : tensor<2x4x6xf32> -> tensor<2x4x9xf32>
  %3 = nn.slice %2 {starts = array<i64: 0, 0, 1>, sizes = array<i64: 2, 4, 5>, steps = array<i64: 1, 1, 1>} : tensor<2x4x9xf32> -> tensor<2x4x5xf32>
  %4 = nn.softmax %3 {axis = 2 : i64} : tensor<2x4x5xf32>
  %5 = nn.reduce_max %4 {axes = array<i64: 2>, keepdims = false} : tensor<2x4x5xf32> -> tensor<2x4xf32>
  func.return %5 : tensor<2x4xf32>
}

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

// A transpose passes a reshape that only drops a dimension of 1, and meets its inverse.
// CHECK-LABEL: @squeezed
// CHECK-NOT:   nn.transpose
// CHECK:       nn.relu
// CHECK-NOT:   nn.transpose
// CHECK:       func.return
func.func @squeezed(%x: tensor<2x3x1x5xf32>) -> tensor<2x3x5xf32> {
  %0 = nn.transpose %x {permutation = array<i64: 0, 2, 3, 1>} : tensor<2x3x1x5xf32> -> tensor<2x1x5x3xf32>
  %1 = nn.relu %0 : tensor<2x1x5x3xf32>
  %2 = nn.reshape %1 {shape = array<i64: 2, 5, 3>} : tensor<2x1x5x3xf32> -> tensor<2x5x3xf32>
  %3 = nn.transpose %2 {permutation = array<i64: 0, 2, 1>} : tensor<2x5x3xf32> -> tensor<2x3x5xf32>
  func.return %3 : tensor<2x3x5xf32>
}

// Of equals, transposes come after a region: what stands before it is next to it.
// CHECK-LABEL: @sinks
// CHECK-NEXT:  %[[R:.*]] = nn.relu %x
// CHECK-NEXT:  %[[T:.*]] = nn.transpose %[[R]]
// CHECK-NEXT:  func.return %[[T]]
func.func @sinks(%x: tensor<3x4xf32>) -> tensor<4x3xf32> {
  %0 = nn.transpose %x {permutation = array<i64: 1, 0>} : tensor<3x4xf32> -> tensor<4x3xf32>
  %1 = nn.relu %0 : tensor<4x3xf32>
  func.return %1 : tensor<4x3xf32>
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
