// RUN: RANVIER_ROUNDTRIP

// Axes are positive; they stay with size 1 if `keepdims` says so.
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.reduce_sum %x {axes = array<i64: 1>, keepdims = true} : tensor<4x8xf32> -> tensor<4x1xf32>
// CHECK-NEXT:  nn.reduce_mean %x {axes = array<i64: 0, 1>, keepdims = false} : tensor<4x8xf32> -> tensor<f32>
// CHECK-NEXT:  nn.reduce_max %x {axes = array<i64: 0>, keepdims = false} : tensor<4x8xf32> -> tensor<8xf32>
// CHECK-NEXT:  nn.reduce_min %x {axes = array<i64>, keepdims = false} : tensor<4x8xf32>
func.func @main(%x: tensor<4x8xf32>) {
  %0 = nn.reduce_sum %x {axes = array<i64: 1>, keepdims = true} : tensor<4x8xf32> -> tensor<4x1xf32>
  %1 = nn.reduce_mean %x {axes = array<i64: 0, 1>, keepdims = false} : tensor<4x8xf32> -> tensor<f32>
  %2 = nn.reduce_max %x {axes = array<i64: 0>, keepdims = false} : tensor<4x8xf32> -> tensor<8xf32>
  %3 = nn.reduce_min %x {axes = array<i64>, keepdims = false} : tensor<4x8xf32>
  func.return
}
