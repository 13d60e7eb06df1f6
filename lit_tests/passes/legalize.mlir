// RUN: ranvier-opt %s -p 'legalize{target=inf2}' --print-debuginfo | filecheck %s
// RUN: xdsl-opt %s -p 'legalize' | filecheck %s --check-prefix=DEFAULT

// The pass says what the module is for; without an option that is inf2.
// CHECK:   builtin.module attributes {ranvier.target = "inf2"}
// DEFAULT: builtin.module attributes {ranvier.target = "inf2"}

// Per-channel constants take the place of the statistics; every op keeps the location of the op
// that it came from.
// CHECK-LABEL: @batch_norm
// CHECK-NOT:   nn.batch_norm
// CHECK:       nn.mul %x, %{{.*}} loc("bn"("BatchNormalization"))
// CHECK:       nn.add %{{.*}} loc("bn"("BatchNormalization"))
func.func @batch_norm(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32> {
  %s = nn.constant dense<[0.5, 2.0]> : tensor<2xf32>
  %r = nn.batch_norm %x, %s, %s, %s, %s {epsilon = 1.0e-5 : f64} : tensor<1x2x4x4xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32> -> tensor<1x2x4x4xf32> loc("bn"("BatchNormalization"))
  func.return %r : tensor<1x2x4x4xf32>
}

// What the target has stays.
// CHECK-LABEL: @supported
// CHECK-NEXT:  nn.relu %x : tensor<4x8xf32>
// CHECK-NEXT:  func.return
func.func @supported(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %r = nn.relu %x : tensor<4x8xf32>
  func.return %r : tensor<4x8xf32>
}

// What no identity brings to the target stays whole: f64 is for the host.
// CHECK-LABEL: @host
// CHECK-NEXT:  nn.softplus %x : tensor<4xf64>
// CHECK-NEXT:  func.return
func.func @host(%x: tensor<4xf64>) -> tensor<4xf64> {
  %r = nn.softplus %x : tensor<4xf64>
  func.return %r : tensor<4xf64>
}
