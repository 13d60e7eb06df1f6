// RUN: not ranvier-opt %s -p 'lower-nn-to-nc' 2>&1 | filecheck %s

// An op that the target lacks is named, with the reason that `segment` would give.
// CHECK: nn.opaque does not run on inf2: {{.*}}Frob
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = graph.segment "seg0" on "neuron" (%a = %x : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
    %1 = nn.opaque "ONNX" "Frob" version 1 (%a) settings {} : (tensor<4x8xf32>) -> tensor<4x8xf32>
    graph.yield %1 : tensor<4x8xf32>
  }
  func.return %0 : tensor<4x8xf32>
}
