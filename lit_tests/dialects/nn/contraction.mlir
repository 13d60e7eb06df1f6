// RUN: RANVIER_ROUNDTRIP

// Narrow floats may accumulate into f32.
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.matmul %a, %b : tensor<4x8xf32>, tensor<8x2xf32> -> tensor<4x2xf32>
// CHECK-NEXT:  nn.matmul %n, %m : tensor<4x8xbf16>, tensor<8x2xbf16> -> tensor<4x2xf32>
// CHECK-NEXT:  nn.matmul %n, %m : tensor<4x8xbf16>, tensor<8x2xbf16> -> tensor<4x2xbf16>
// CHECK-NEXT:  nn.matmul %a, %v : tensor<4x8xf32>, tensor<8xf32> -> tensor<4xf32>
// CHECK-NEXT:  nn.gemm %a, %a, %v {alpha = 5.000000e-01 : f64, beta = 1.000000e+00 : f64, transpose_lhs = true, transpose_rhs = false} : tensor<4x8xf32>, tensor<4x8xf32>, tensor<8xf32> -> tensor<8x8xf32>
// CHECK-NEXT:  nn.gemm %a, %b {alpha = 1.000000e+00 : f64, beta = 1.000000e+00 : f64, transpose_lhs = false, transpose_rhs = false} : tensor<4x8xf32>, tensor<8x2xf32> -> tensor<4x2xf32>
// CHECK-NEXT:  nn.conv %x, %w, %s {dilations = array<i64: 1, 2>, groups = 2 : i64, padding = array<i64: 1, 0, 1, 1>, strides = array<i64: 2, 1>} : tensor<1x4x9x9xf32>, tensor<6x2x3x3xf32>, tensor<6xf32> -> tensor<1x6x5x6xf32>
// CHECK-NEXT:  nn.conv %l, %k {dilations = array<i64: 1>, groups = 1 : i64, padding = array<i64: 1, 1>, strides = array<i64: 1>} : tensor<1x4x9xf32>, tensor<6x4x3xf32> -> tensor<1x6x9xf32>
func.func @main(%a: tensor<4x8xf32>, %b: tensor<8x2xf32>, %n: tensor<4x8xbf16>, %m: tensor<8x2xbf16>, %v: tensor<8xf32>, %x: tensor<1x4x9x9xf32>, %w: tensor<6x2x3x3xf32>, %s: tensor<6xf32>, %l: tensor<1x4x9xf32>, %k: tensor<6x4x3xf32>) {
  %0 = nn.matmul %a, %b : tensor<4x8xf32>, tensor<8x2xf32> -> tensor<4x2xf32>
  %1 = nn.matmul %n, %m : tensor<4x8xbf16>, tensor<8x2xbf16> -> tensor<4x2xf32>
  %2 = nn.matmul %n, %m : tensor<4x8xbf16>, tensor<8x2xbf16> -> tensor<4x2xbf16>
  %3 = nn.matmul %a, %v : tensor<4x8xf32>, tensor<8xf32> -> tensor<4xf32>
  %4 = nn.gemm %a, %a, %v {alpha = 5.000000e-01 : f64, beta = 1.000000e+00 : f64, transpose_lhs = true, transpose_rhs = false} : tensor<4x8xf32>, tensor<4x8xf32>, tensor<8xf32> -> tensor<8x8xf32>
  %5 = nn.gemm %a, %b {alpha = 1.000000e+00 : f64, beta = 1.000000e+00 : f64, transpose_lhs = false, transpose_rhs = false} : tensor<4x8xf32>, tensor<8x2xf32> -> tensor<4x2xf32>
  %6 = nn.conv %x, %w, %s {dilations = array<i64: 1, 2>, groups = 2 : i64, padding = array<i64: 1, 0, 1, 1>, strides = array<i64: 2, 1>} : tensor<1x4x9x9xf32>, tensor<6x2x3x3xf32>, tensor<6xf32> -> tensor<1x6x5x6xf32>
  %7 = nn.conv %l, %k {dilations = array<i64: 1>, groups = 1 : i64, padding = array<i64: 1, 1>, strides = array<i64: 1>} : tensor<1x4x9xf32>, tensor<6x4x3xf32> -> tensor<1x6x9xf32>
  func.return
}
