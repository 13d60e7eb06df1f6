// RUN: ranvier-opt %s -p fold-batch-norm,fold-constants --verify-execution --print-debuginfo --split-input-file | filecheck %s

// Scale and shift of a batch_norm go into the weights of the convolution before it.
// CHECK:       nn.weight @w.mul : tensor<2x1x1x1xf32>
// CHECK-LABEL: @main
// CHECK-NOT:   nn.batch_norm
// CHECK:       %[[R:.*]] = nn.conv %x, %{{.*}}, %{{.*}} loc(fused["conv"("Conv"), "bn"("BatchNormalization")])
// CHECK-NEXT:  func.return %[[R]]
nn.weight @w : tensor<2x1x1x1xf32> seed 1
func.func @main(%x: tensor<1x1x4x4xf32>) -> tensor<1x2x4x4xf32> {
  %w = nn.load_weight @w : tensor<2x1x1x1xf32>
  %s = nn.constant dense<[0.5, 2.0]> : tensor<2xf32>
  %c = nn.conv %x, %w {strides = array<i64: 1, 1>, padding = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, groups = 1 : i64} : tensor<1x1x4x4xf32>, tensor<2x1x1x1xf32> -> tensor<1x2x4x4xf32> loc("conv"("Conv"))
  %r = nn.batch_norm %c, %s, %s, %s, %s {epsilon = 1.0e-5 : f64} : tensor<1x2x4x4xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32> -> tensor<1x2x4x4xf32> loc("bn"("BatchNormalization"))
  func.return %r : tensor<1x2x4x4xf32>
}

// -----

// So do products with and sums of constants per output channel, one after the other.
// CHECK-LABEL: @main
// CHECK-NOT:   nn.mul
// CHECK:       nn.conv %x, %{{.*}}, %{{.*}} loc(fused["conv"("Conv"), "m"("Mul"), "a"("Add"), "s"("Sub")])
// CHECK-NEXT:  func.return
func.func @main(%x: tensor<1x1x4xf32>) -> tensor<1x2x4xf32> {
  %w = nn.constant dense<[[[1.5]], [[2.5]]]> : tensor<2x1x1xf32>
  %k = nn.constant dense<[[[0.5], [2.0]]]> : tensor<1x2x1xf32>
  %s = nn.constant dense<3.0> : tensor<f32>
  %c = nn.conv %x, %w {strides = array<i64: 1>, padding = array<i64: 0, 0>, dilations = array<i64: 1>, groups = 1 : i64} : tensor<1x1x4xf32>, tensor<2x1x1xf32> -> tensor<1x2x4xf32> loc("conv"("Conv"))
  %m = nn.mul %k, %c : tensor<1x2x1xf32>, tensor<1x2x4xf32> -> tensor<1x2x4xf32> loc("m"("Mul"))
  %a = nn.add %m, %s : tensor<1x2x4xf32>, tensor<f32> -> tensor<1x2x4xf32> loc("a"("Add"))
  %d = nn.sub %a, %k : tensor<1x2x4xf32>, tensor<1x2x1xf32> -> tensor<1x2x4xf32> loc("s"("Sub"))
  func.return %d : tensor<1x2x4xf32>
}

// -----

// A constant along another dimension stays, and so does what reads a convolution that others read.
// CHECK-LABEL: @main
// CHECK:       nn.conv
// CHECK:       nn.mul
// CHECK:       nn.conv
// CHECK:       nn.add
// CHECK:       nn.exp
func.func @main(%x: tensor<1x1x2xf32>) -> (tensor<1x2x2xf32>, tensor<1x2x2xf32>, tensor<1x2x2xf32>) {
  %w = nn.constant dense<[[[1.5]], [[2.5]]]> : tensor<2x1x1xf32>
  %k = nn.constant dense<[0.5, 2.0]> : tensor<2xf32>
  %s = nn.constant dense<3.0> : tensor<f32>
  %c = nn.conv %x, %w {strides = array<i64: 1>, padding = array<i64: 0, 0>, dilations = array<i64: 1>, groups = 1 : i64} : tensor<1x1x2xf32>, tensor<2x1x1xf32> -> tensor<1x2x2xf32>
  %m = nn.mul %c, %k : tensor<1x2x2xf32>, tensor<2xf32> -> tensor<1x2x2xf32>
  %d = nn.conv %x, %w {strides = array<i64: 1>, padding = array<i64: 0, 0>, dilations = array<i64: 1>, groups = 1 : i64} : tensor<1x1x2xf32>, tensor<2x1x1xf32> -> tensor<1x2x2xf32>
  %a = nn.add %d, %s : tensor<1x2x2xf32>, tensor<f32> -> tensor<1x2x2xf32>
  %e = nn.exp %d : tensor<1x2x2xf32>
  func.return %m, %a, %e : tensor<1x2x2xf32>, tensor<1x2x2xf32>, tensor<1x2x2xf32>
}

// -----

// A product that stays in f32 stays outside of weights that become narrow.
// CHECK-LABEL: @main
// CHECK:       nn.conv
// CHECK-NEXT:  nn.mul %{{.*}}, %{{.*}} {nn.wide}
func.func @main(%x: tensor<1x1x4xf32>) -> tensor<1x2x4xf32> {
  %w = nn.constant dense<[[[1.0]], [[2.0]]]> : tensor<2x1x1xf32>
  %k = nn.constant dense<[[[0.3], [0.7]]]> : tensor<1x2x1xf32>
  %c = nn.conv %x, %w {strides = array<i64: 1>, padding = array<i64: 0, 0>, dilations = array<i64: 1>, groups = 1 : i64} : tensor<1x1x4xf32>, tensor<2x1x1xf32> -> tensor<1x2x4xf32>
  %m = nn.mul %c, %k {nn.wide} : tensor<1x2x4xf32>, tensor<1x2x1xf32> -> tensor<1x2x4xf32>
  func.return %m : tensor<1x2x4xf32>
}
