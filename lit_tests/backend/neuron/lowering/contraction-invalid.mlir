// RUN: not ranvier-opt %s -p 'segment{target=inf1},lower-nn-to-nc' 2>&1 | filecheck %s

// The array of inf1 multiplies no f32, and what would help is said.
// CHECK: nn.matmul multiplies f32, which inf1 cannot: run cast-bf16 before {{.*}}[RV0202]
func.func @main(%x: tensor<4x8xf32>, %y: tensor<8x2xf32>) -> tensor<4x2xf32> {
  %0 = nn.matmul %x, %y : tensor<4x8xf32>, tensor<8x2xf32> -> tensor<4x2xf32>
  func.return %0 : tensor<4x2xf32>
}
