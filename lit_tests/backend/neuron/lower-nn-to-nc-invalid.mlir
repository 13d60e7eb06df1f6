// RUN: not ranvier-opt %s -p 'lower-nn-to-nc' 2>&1 | filecheck %s

// An op that the target lacks is named, with the reason that `segment` would give.
// CHECK: nn.lp_normalize does not run on inf2: {{.*}}inf2 has no lowering for nn.lp_normalize
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = graph.segment "seg0" on "neuron" (%a = %x : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
    %1 = nn.lp_normalize %a {axis = 1 : i64, p = 2 : i64} : tensor<4x8xf32>
    graph.yield %1 : tensor<4x8xf32>
  }
  func.return %0 : tensor<4x8xf32>
}
