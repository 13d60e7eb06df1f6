// RUN: ranvier-opt %s -p merge-products | filecheck %s

// Three projections of one operand, each with its row, are one product; slices are views.
// CHECK-LABEL: @projections
// CHECK:       %[[W:.*]] = nn.concat %{{.*}}, %{{.*}}, %{{.*}} {axis = 1 : i64} : tensor<4x2xf32>, tensor<4x2xf32>, tensor<4x3xf32> -> tensor<4x7xf32>
// CHECK-NEXT:  %[[P:.*]] = nn.matmul %x, %[[W]] : tensor<5x4xf32>, tensor<4x7xf32> -> tensor<5x7xf32>
// CHECK:       %[[R:.*]] = nn.concat {{.*}} {axis = 0 : i64} : tensor<2xf32>, tensor<2xf32>, tensor<3xf32> -> tensor<7xf32>
// CHECK-NEXT:  %[[S:.*]] = nn.add %[[P]], %[[R]]
// CHECK-NEXT:  %[[A:.*]] = nn.slice %[[S]] {sizes = array<i64: 5, 2>, starts = array<i64: 0, 0>
// CHECK-NEXT:  %[[B:.*]] = nn.slice %[[S]] {sizes = array<i64: 5, 2>, starts = array<i64: 0, 2>
// CHECK-NEXT:  %[[C:.*]] = nn.slice %[[S]] {sizes = array<i64: 5, 3>, starts = array<i64: 0, 4>
// CHECK-NEXT:  %[[E:.*]] = nn.relu %[[A]]
// CHECK-NEXT:  func.return %[[E]], %[[B]], %[[C]]
// CHECK-NOT:   nn.matmul
nn.weight @a : tensor<4x2xf32> seed 1
nn.weight @b : tensor<4x2xf32> seed 2
nn.weight @c : tensor<4x3xf32> seed 3
func.func @projections(%x: tensor<5x4xf32>) -> (tensor<5x2xf32>, tensor<5x2xf32>, tensor<5x3xf32>) {
  %a = nn.load_weight @a : tensor<4x2xf32>
  %two = nn.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %0 = nn.matmul %x, %a : tensor<5x4xf32>, tensor<4x2xf32> -> tensor<5x2xf32>
  %1 = nn.add %0, %two : tensor<5x2xf32>, tensor<2xf32> -> tensor<5x2xf32>
  %2 = nn.relu %1 : tensor<5x2xf32>
  %b = nn.load_weight @b : tensor<4x2xf32>
  %3 = nn.matmul %x, %b : tensor<5x4xf32>, tensor<4x2xf32> -> tensor<5x2xf32>
  %4 = nn.add %two, %3 : tensor<2xf32>, tensor<5x2xf32> -> tensor<5x2xf32>
  %c = nn.load_weight @c : tensor<4x3xf32>
  %three = nn.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %5 = nn.matmul %x, %c : tensor<5x4xf32>, tensor<4x3xf32> -> tensor<5x3xf32>
  %6 = nn.add %5, %three : tensor<5x3xf32>, tensor<3xf32> -> tensor<5x3xf32>
  func.return %2, %4, %6 : tensor<5x2xf32>, tensor<5x2xf32>, tensor<5x3xf32>
}

// Other operands, weights that are computed, and rows on one side only stay apart.
// CHECK-LABEL: @apart
// CHECK-COUNT-4: nn.matmul
// CHECK-NOT:   nn.concat
func.func @apart(%x: tensor<5x4xf32>, %y: tensor<5x4xf32>, %w: tensor<4x2xf32>) -> (tensor<5x2xf32>, tensor<5x2xf32>, tensor<5x2xf32>, tensor<5x2xf32>) {
  %a = nn.load_weight @a : tensor<4x2xf32>
  %b = nn.load_weight @b : tensor<4x2xf32>
  %row = nn.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %0 = nn.matmul %x, %a : tensor<5x4xf32>, tensor<4x2xf32> -> tensor<5x2xf32>
  %1 = nn.matmul %y, %b : tensor<5x4xf32>, tensor<4x2xf32> -> tensor<5x2xf32>
  %2 = nn.matmul %x, %w : tensor<5x4xf32>, tensor<4x2xf32> -> tensor<5x2xf32>
  %3 = nn.matmul %x, %b : tensor<5x4xf32>, tensor<4x2xf32> -> tensor<5x2xf32>
  %4 = nn.add %3, %row : tensor<5x2xf32>, tensor<2xf32> -> tensor<5x2xf32>
  func.return %0, %1, %2, %4 : tensor<5x2xf32>, tensor<5x2xf32>, tensor<5x2xf32>, tensor<5x2xf32>
}
