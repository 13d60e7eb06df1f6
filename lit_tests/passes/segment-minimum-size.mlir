// RUN: ranvier-opt %s -p 'segment{minimum-size=2}' --split-input-file | filecheck %s

// One device op between two host ops is too small a segment; all three are one host segment.
// CHECK-LABEL: @main
// CHECK:       graph.segment "host0" on "host"
// CHECK-NEXT:    nn.opaque
// CHECK-NEXT:    nn.relu %{{.*}} {ranvier.reason = ["RV0209", "its segment has 1 of at least 2 ops"]}
// CHECK-NEXT:    nn.opaque
// CHECK-NOT:   graph.segment
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.opaque "onnx" "Mystery" version 22 (%x) settings {} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %1 = nn.relu %0 : tensor<4x8xf32>
  %2 = nn.opaque "onnx" "Mystery" version 22 (%1) settings {} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  func.return %2 : tensor<4x8xf32>
}

// -----

// A segment that is the whole graph is always compiled.
// CHECK-LABEL: @main
// CHECK:       graph.segment "seg0" on "neuron"
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.relu %x : tensor<4x8xf32>
  func.return %0 : tensor<4x8xf32>
}
