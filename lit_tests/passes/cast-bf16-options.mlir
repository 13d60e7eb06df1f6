// RUN: ranvier-opt %s -p 'cast-bf16{mode=all}' | filecheck %s --check-prefix=ALL
// RUN: ranvier-opt %s -p 'cast-bf16{mode=all-fp16}' | filecheck %s --check-prefix=ALL-FP16
// RUN: ranvier-opt %s -p 'cast-bf16{mode=matmult}' | filecheck %s --check-prefix=BF16
// RUN: ranvier-opt %s -p 'cast-bf16{mode=matmult-bf16}' | filecheck %s --check-prefix=BF16
// RUN: ranvier-opt %s -p 'cast-bf16{mode=matmult-fp16}' | filecheck %s --check-prefix=FP16
// RUN: ranvier-opt %s -p 'cast-bf16{mode=none}' | filecheck %s --check-prefix=NONE

// The element types that each option leaves: of the operands of products, of transposes, of other
// ops. Products give f32 always, and so do softmax and the signature.

// `all`, the default: everything in bf16.
// ALL-LABEL: @main
// ALL:       nn.conv {{.*}} : tensor<1x4x6x6xbf16>, tensor<4x4x3x3xbf16> -> tensor<1x4x4x4xf32>
// ALL:       nn.gelu {{.*}} : tensor<1x4x4x4xbf16>
// ALL:       nn.transpose {{.*}} : tensor<1x4x4x4xbf16>
// ALL:       nn.matmul {{.*}} : tensor<1x4x4x4xbf16>, tensor<1x4x4x4xbf16> -> tensor<1x4x4x4xf32>
// ALL:       nn.softmax {{.*}} : tensor<1x4x4x4xf32>

// `all-fp16`: everything in fp16.
// ALL-FP16-LABEL: @main
// ALL-FP16:       nn.conv {{.*}} : tensor<1x4x6x6xf16>, tensor<4x4x3x3xf16> -> tensor<1x4x4x4xf32>
// ALL-FP16:       nn.gelu {{.*}} : tensor<1x4x4x4xf16>
// ALL-FP16:       nn.transpose {{.*}} : tensor<1x4x4x4xf16>
// ALL-FP16:       nn.matmul {{.*}} : tensor<1x4x4x4xf16>, tensor<1x4x4x4xf16> -> tensor<1x4x4x4xf32>
// ALL-FP16:       nn.softmax {{.*}} : tensor<1x4x4x4xf32>

// `matmult` and `matmult-bf16`: products in bf16; the rest, exact transposes too, in f32.
// BF16-LABEL: @main
// BF16:       nn.conv {{.*}} : tensor<1x4x6x6xbf16>, tensor<4x4x3x3xbf16> -> tensor<1x4x4x4xf32>
// BF16-NEXT:  nn.gelu {{.*}} : tensor<1x4x4x4xf32>
// BF16-NEXT:  nn.transpose {{.*}} : tensor<1x4x4x4xf32>
// BF16:       nn.matmul {{.*}} : tensor<1x4x4x4xbf16>, tensor<1x4x4x4xbf16> -> tensor<1x4x4x4xf32>
// BF16-NEXT:  nn.softmax {{.*}} : tensor<1x4x4x4xf32>

// `matmult-fp16`: products in fp16, the rest in f32.
// FP16-LABEL: @main
// FP16:       nn.conv {{.*}} : tensor<1x4x6x6xf16>, tensor<4x4x3x3xf16> -> tensor<1x4x4x4xf32>
// FP16-NEXT:  nn.gelu {{.*}} : tensor<1x4x4x4xf32>
// FP16-NEXT:  nn.transpose {{.*}} : tensor<1x4x4x4xf32>
// FP16:       nn.matmul {{.*}} : tensor<1x4x4x4xf16>, tensor<1x4x4x4xf16> -> tensor<1x4x4x4xf32>
// FP16-NEXT:  nn.softmax {{.*}} : tensor<1x4x4x4xf32>

// `none`: nothing is cast.
// NONE-LABEL: @main
// NONE-NOT:   nn.cast
// NONE:       nn.conv {{.*}} : tensor<1x4x6x6xf32>, tensor<4x4x3x3xf32> -> tensor<1x4x4x4xf32>
// NONE-NEXT:  nn.gelu {{.*}} : tensor<1x4x4x4xf32>
// NONE-NEXT:  nn.transpose {{.*}} : tensor<1x4x4x4xf32>
// NONE-NEXT:  nn.matmul {{.*}} : tensor<1x4x4x4xf32>
// NONE-NEXT:  nn.softmax {{.*}} : tensor<1x4x4x4xf32>
// NONE-NEXT:  func.return
func.func @main(%x: tensor<1x4x6x6xf32>, %w: tensor<4x4x3x3xf32>) -> tensor<1x4x4x4xf32> {
  %0 = nn.conv %x, %w {dilations = array<i64: 1, 1>, groups = 1 : i64, padding = array<i64: 0, 0, 0, 0>, strides = array<i64: 1, 1>} : tensor<1x4x6x6xf32>, tensor<4x4x3x3xf32> -> tensor<1x4x4x4xf32>
  %1 = nn.gelu %0 {approximate = "none"} : tensor<1x4x4x4xf32>
  %2 = nn.transpose %1 {permutation = array<i64: 0, 1, 3, 2>} : tensor<1x4x4x4xf32> -> tensor<1x4x4x4xf32>
  %3 = nn.matmul %1, %2 : tensor<1x4x4x4xf32>, tensor<1x4x4x4xf32> -> tensor<1x4x4x4xf32>
  %4 = nn.softmax %3 {axis = 3 : i64} : tensor<1x4x4x4xf32>
  func.return %4 : tensor<1x4x4x4xf32>
}
