// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: @w needs one of: from … key …, sha256, splat, seed, a body
nn.weight @w : tensor<4xf32>

// -----

// CHECK: @w needs one of: from … key …, sha256, splat, seed, a body
nn.weight @w : tensor<4xf32> splat 1.0 seed 3

// -----

// CHECK: no tensor of nn holds i4
nn.weight @w : tensor<4xi4> seed 3

// -----

// CHECK: the body of @w yields one tensor<4xf32>
nn.weight @w : tensor<4xf32> {
  %0 = nn.constant dense<1.0> : tensor<5xf32>
  nn.yield %0 : tensor<5xf32>
}

// -----

// CHECK: nn.constant takes dense<…> of a tensor
func.func @main() {
  %0 = nn.constant 3 : i64
  func.return
}
