// RUN: ranvier-opt %s -p simplify-shapes | filecheck %s

// Movements that move nothing disappear.
// CHECK-LABEL: @identities
// CHECK-NEXT:  func.return %x : tensor<2x3xf32>
func.func @identities(%x: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0 = nn.reshape %x {shape = array<i64: 2, 3>} : tensor<2x3xf32>
  %1 = nn.transpose %0 {permutation = array<i64: 0, 1>} : tensor<2x3xf32>
  %2 = nn.slice %1 {starts = array<i64: 0, 0>, sizes = array<i64: 2, 3>, steps = array<i64: 1, 1>} : tensor<2x3xf32>
  %3 = nn.pad %2 {low = array<i64: 0, 0>, high = array<i64: 0, 0>, mode = "reflect", value = 0.0 : f64} : tensor<2x3xf32>
  %4 = nn.broadcast %3 {shape = array<i64: 2, 3>} : tensor<2x3xf32>
  %5 = nn.concat %4 {axis = 0 : i64} : tensor<2x3xf32>
  %6 = nn.cast %5 {to = f32} : tensor<2x3xf32>
  func.return %6 : tensor<2x3xf32>
}

// A part without elements is none; an empty result stays as it is.
// CHECK-LABEL: @empty_parts
// CHECK-NEXT:  %[[JOINED:.*]] = nn.concat %x, %x {axis = 0 : i64}
// CHECK-NEXT:  %[[EMPTY:.*]] = nn.slice
// CHECK-NEXT:  %[[BOTH:.*]] = nn.concat %[[EMPTY]], %[[EMPTY]]
// CHECK-NEXT:  func.return %[[JOINED]], %x, %[[BOTH]]
func.func @empty_parts(%x: tensor<2x3xf32>) -> (tensor<4x3xf32>, tensor<2x3xf32>, tensor<2x0xf32>) {
  %none = nn.slice %x {starts = array<i64: 2, 0>, sizes = array<i64: 0, 3>, steps = array<i64: 1, 1>} : tensor<2x3xf32> -> tensor<0x3xf32>
  %0 = nn.concat %x, %none, %x {axis = 0 : i64} : tensor<2x3xf32>, tensor<0x3xf32>, tensor<2x3xf32> -> tensor<4x3xf32>
  %1 = nn.concat %none, %x {axis = 0 : i64} : tensor<0x3xf32>, tensor<2x3xf32> -> tensor<2x3xf32>
  %2 = nn.slice %x {starts = array<i64: 0, 3>, sizes = array<i64: 2, 0>, steps = array<i64: 1, 1>} : tensor<2x3xf32> -> tensor<2x0xf32>
  %3 = nn.concat %2, %2 {axis = 1 : i64} : tensor<2x0xf32>, tensor<2x0xf32> -> tensor<2x0xf32>
  func.return %0, %1, %3 : tensor<4x3xf32>, tensor<2x3xf32>, tensor<2x0xf32>
}

// A reversal and a permutation of equal sizes are no identities.
// CHECK-LABEL: @movements
// CHECK-NEXT:  nn.slice
// CHECK-NEXT:  nn.transpose
func.func @movements(%x: tensor<3x3xf32>) -> tensor<3x3xf32> {
  %0 = nn.slice %x {starts = array<i64: 2, 0>, sizes = array<i64: 3, 3>, steps = array<i64: -1, 1>} : tensor<3x3xf32>
  %1 = nn.transpose %0 {permutation = array<i64: 1, 0>} : tensor<3x3xf32>
  func.return %1 : tensor<3x3xf32>
}

// Reshapes merge, transposes merge, and dead ops go.
// CHECK-LABEL: @chains
// CHECK-NEXT:  %[[R:.*]] = nn.reshape %x {shape = array<i64: 3, 2>} : tensor<2x3xf32> -> tensor<3x2xf32>
// CHECK-NEXT:  %[[T:.*]] = nn.transpose %y {permutation = array<i64: 2, 0, 1>} : tensor<2x3x4xf32> -> tensor<4x2x3xf32>
// CHECK-NEXT:  func.return %[[R]], %[[T]]
func.func @chains(%x: tensor<2x3xf32>, %y: tensor<2x3x4xf32>) -> (tensor<3x2xf32>, tensor<4x2x3xf32>) {
  %0 = nn.reshape %x {shape = array<i64: 6>} : tensor<2x3xf32> -> tensor<6xf32>
  %1 = nn.reshape %0 {shape = array<i64: 3, 2>} : tensor<6xf32> -> tensor<3x2xf32>
  %2 = nn.transpose %y {permutation = array<i64: 1, 2, 0>} : tensor<2x3x4xf32> -> tensor<3x4x2xf32>
  %3 = nn.transpose %2 {permutation = array<i64: 1, 2, 0>} : tensor<3x4x2xf32> -> tensor<4x2x3xf32>
  %dead = nn.exp %3 : tensor<4x2x3xf32>
  func.return %1, %3 : tensor<3x2xf32>, tensor<4x2x3xf32>
}

// Moving dimensions of size 1 is a reshape.
// CHECK-LABEL: @units
// CHECK-NEXT:  nn.reshape %x {shape = array<i64: 3, 1, 4>} : tensor<1x3x4xf32> -> tensor<3x1x4xf32>
func.func @units(%x: tensor<1x3x4xf32>) -> tensor<3x1x4xf32> {
  %0 = nn.transpose %x {permutation = array<i64: 1, 0, 2>} : tensor<1x3x4xf32> -> tensor<3x1x4xf32>
  func.return %0 : tensor<3x1x4xf32>
}

// A widening followed by the cast back is exact, implicit or not; equal casts merge.
// CHECK-LABEL: @exact_casts
// CHECK-NEXT:  %[[A:.*]] = nn.add %x, %x : tensor<4xbf16>
// CHECK-NEXT:  %[[W:.*]] = nn.cast %[[A]] {implicit, to = f32} : tensor<4xbf16> -> tensor<4xf32>
// CHECK-NEXT:  func.return %[[A]], %[[W]], %[[W]]
func.func @exact_casts(%x: tensor<4xbf16>) -> (tensor<4xbf16>, tensor<4xf32>, tensor<4xf32>) {
  %0 = nn.cast %x {implicit, to = f32} : tensor<4xbf16> -> tensor<4xf32>
  %1 = nn.cast %0 {implicit, to = bf16} : tensor<4xf32> -> tensor<4xbf16>
  %2 = nn.cast %x {to = f32} : tensor<4xbf16> -> tensor<4xf32>
  %3 = nn.cast %2 {to = bf16} : tensor<4xf32> -> tensor<4xbf16>
  %4 = nn.add %1, %3 : tensor<4xbf16>
  %5 = nn.cast %4 {implicit, to = f32} : tensor<4xbf16> -> tensor<4xf32>
  %6 = nn.cast %4 {implicit, to = f32} : tensor<4xbf16> -> tensor<4xf32>
  func.return %4, %5, %6 : tensor<4xbf16>, tensor<4xf32>, tensor<4xf32>
}

// A model's own rounding stays; one that only casts of ours made goes.
// CHECK-LABEL: @roundings
// CHECK-NEXT:  %[[N:.*]] = nn.cast %x {to = bf16} : tensor<4xf32> -> tensor<4xbf16>
// CHECK-NEXT:  %[[M:.*]] = nn.cast %[[N]] {to = f32} : tensor<4xbf16> -> tensor<4xf32>
// CHECK-NEXT:  func.return %[[M]], %x
func.func @roundings(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %0 = nn.cast %x {to = bf16} : tensor<4xf32> -> tensor<4xbf16>
  %1 = nn.cast %0 {to = f32} : tensor<4xbf16> -> tensor<4xf32>
  %2 = nn.cast %x {implicit, to = bf16} : tensor<4xf32> -> tensor<4xbf16>
  %3 = nn.cast %2 {implicit, to = f32} : tensor<4xbf16> -> tensor<4xf32>
  func.return %1, %3 : tensor<4xf32>, tensor<4xf32>
}
