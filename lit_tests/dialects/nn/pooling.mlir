// RUN: RANVIER_ROUNDTRIP

// Padding holds all lows, then all highs.
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.max_pool %x {dilations = array<i64: 1, 1>, kernel = array<i64: 3, 2>, padding = array<i64: 1, 0, 1, 1>, strides = array<i64: 2, 1>} : tensor<1x4x9x9xf32> -> tensor<1x4x5x9xf32>
// CHECK-NEXT:  nn.avg_pool %x {count_padding = false, dilations = array<i64: 1, 1>, kernel = array<i64: 3, 2>, padding = array<i64: 1, 0, 1, 1>, strides = array<i64: 2, 1>} : tensor<1x4x9x9xf32> -> tensor<1x4x5x9xf32>
func.func @main(%x: tensor<1x4x9x9xf32>) {
  %0 = nn.max_pool %x {dilations = array<i64: 1, 1>, kernel = array<i64: 3, 2>, padding = array<i64: 1, 0, 1, 1>, strides = array<i64: 2, 1>} : tensor<1x4x9x9xf32> -> tensor<1x4x5x9xf32>
  %1 = nn.avg_pool %x {count_padding = false, dilations = array<i64: 1, 1>, kernel = array<i64: 3, 2>, padding = array<i64: 1, 0, 1, 1>, strides = array<i64: 2, 1>} : tensor<1x4x9x9xf32> -> tensor<1x4x5x9xf32>
  func.return
}
