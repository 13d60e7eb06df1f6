// RUN: ranvier-opt %s -p segment --split-input-file --print-debuginfo | filecheck %s

// Device, host, device: the host op has its reason, constants are copied to where they are read.
// CHECK-LABEL: @main
// CHECK-NEXT:  %[[A:.*]] = graph.segment "seg0" on "neuron" (%[[X:.*]] = %x : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
// CHECK-NEXT:    %[[R:.*]] = nn.relu %[[X]]
// CHECK-NEXT:    %[[K:.*]] = nn.constant dense<2.000000e+00>
// CHECK-NEXT:    %[[M:.*]] = nn.mul %[[R]], %[[K]]
// CHECK-NEXT:    graph.yield %[[M]]
// CHECK:       %[[B:.*]] = graph.segment "host0" on "host" (%[[Y:.*]] = %[[A]] : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
// CHECK-NEXT:    %[[O:.*]] = nn.opaque "onnx" "Mystery" version 22{{ ?}}(%[[Y]]) settings {} {ranvier.reason = ["RV020{{[15]}}", "{{.*}}"]}
// CHECK-NEXT:    graph.yield %[[O]]
// CHECK:       %[[C:.*]] = graph.segment "seg1" on "neuron" (%{{.*}} = %[[B]] : tensor<4x8xf32>, %{{.*}} = %[[A]] : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
// CHECK-NEXT:    %[[S:.*]] = nn.add
// CHECK-NEXT:    %[[L:.*]] = nn.constant dense<2.000000e+00>
// CHECK-NEXT:    nn.mul %[[S]], %[[L]]
// CHECK:       func.return %[[C]] : tensor<4x8xf32>
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %k = nn.constant dense<2.0> : tensor<f32>
  %0 = nn.relu %x : tensor<4x8xf32>
  %1 = nn.mul %0, %k : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  %2 = nn.opaque "onnx" "Mystery" version 22 (%1) settings {} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %3 = nn.add %2, %1 : tensor<4x8xf32>
  %4 = nn.mul %3, %k : tensor<4x8xf32>, tensor<f32> -> tensor<4x8xf32>
  func.return %4 : tensor<4x8xf32>
}

// -----

// Two device ops that do not know each other share a segment if one level holds both; an op before
// the host op joins the first level although it stands after it.
// CHECK-LABEL: @main
// CHECK:       graph.segment "seg0" on "neuron"
// CHECK-NEXT:    nn.relu
// CHECK-NEXT:    nn.exp
// CHECK:       graph.segment "host0" on "host"
// CHECK-NOT:   graph.segment
func.func @main(%x: tensor<4x8xf32>, %y: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %0 = nn.relu %x : tensor<4x8xf32>
  %1 = nn.opaque "onnx" "Mystery" version 22 (%0) settings {} : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %2 = nn.exp %y : tensor<4x8xf32>
  func.return %1, %2 : tensor<4x8xf32>, tensor<4x8xf32>
}

// -----

// Casts of ours leave a host op, which computes in f32; what crosses is f32.
// CHECK-LABEL: @main
// CHECK:       graph.segment "seg0" on "neuron" (%[[X:.*]] = %x : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
// CHECK-NEXT:    %[[N:.*]] = nn.cast %[[X]] {implicit, to = bf16}
// CHECK-NEXT:    %[[R:.*]] = nn.relu %[[N]] : tensor<4x8xbf16>
// CHECK-NEXT:    %[[W:.*]] = nn.cast %[[R]] {implicit, to = f32}
// CHECK-NEXT:    graph.yield %[[W]] : tensor<4x8xf32>
// CHECK:       graph.segment "host0" on "host" (%[[Y:.*]] = %{{.*}} : tensor<4x8xf32>, %[[I:.*]] = %i : tensor<8xi64>) -> (tensor<4x8xf32>) {
// CHECK-NEXT:    %[[G:.*]] = nn.gather %[[Y]], %[[I]] {axis = 1 : i64, ranvier.reason = [{{.*}}]} : tensor<4x8xf32>, tensor<8xi64> -> tensor<4x8xf32>
// CHECK-NEXT:    graph.yield %[[G]] : tensor<4x8xf32>
// CHECK:       graph.segment "seg1" on "neuron" (%[[Z:.*]] = %{{.*}} : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
// CHECK-NEXT:    nn.cast %[[Z]] {implicit, to = bf16}
func.func @main(%x: tensor<4x8xf32>, %i: tensor<8xi64>) -> tensor<4x8xf32> {
  %0 = nn.cast %x {implicit, to = bf16} : tensor<4x8xf32> -> tensor<4x8xbf16>
  %1 = nn.relu %0 : tensor<4x8xbf16>
  %2 = nn.gather %1, %i {axis = 1 : i64} : tensor<4x8xbf16>, tensor<8xi64> -> tensor<4x8xbf16>
  %3 = nn.tanh %2 : tensor<4x8xbf16>
  %4 = nn.cast %3 {implicit, to = f32} : tensor<4x8xbf16> -> tensor<4x8xf32>
  func.return %4 : tensor<4x8xf32>
}

// -----

// Arguments are returned without a segment, constants through the host.
// CHECK-LABEL: @main
// CHECK-NEXT:  %[[H:.*]] = graph.segment "host0" on "host" () -> (tensor<2xf32>) {
// CHECK-NEXT:    %[[K:.*]] = nn.constant
// CHECK-NEXT:    graph.yield %[[K]]
// CHECK-NEXT:  }
// CHECK-NEXT:  func.return %x, %[[H]]
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<2xf32>) {
  %k = nn.constant dense<2.0> : tensor<2xf32>
  func.return %x, %k : tensor<4xf32>, tensor<2xf32>
}

// -----

// Where there is a host segment, a returned constant is in it.
// CHECK-LABEL: @main
// CHECK-NEXT:  graph.segment "seg0" on "neuron"
// CHECK:       %[[O:.*]], %[[C:.*]] = graph.segment "host0" on "host" (%{{.*}} = %{{.*}} : tensor<4xf32>) -> (tensor<4xf32>, tensor<2xf32>) {
// CHECK:         %[[K:.*]] = nn.constant
// CHECK-NEXT:    graph.yield %{{.*}}, %[[K]]
// CHECK-NOT:   graph.segment
// CHECK:       func.return %[[O]], %[[C]]
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<2xf32>) {
  %k = nn.constant dense<2.0> : tensor<2xf32>
  %0 = nn.relu %x : tensor<4xf32>
  %1 = nn.opaque "onnx" "Mystery" version 22(%0) settings {} : (tensor<4xf32>) -> tensor<4xf32>
  func.return %1, %k : tensor<4xf32>, tensor<2xf32>
}

// -----

// A segmented module stays as it is.
// CHECK-LABEL: @main
// CHECK-NEXT:  graph.segment "mine" on "neuron"
// CHECK-NEXT:    graph.yield
// CHECK-NEXT:  }
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = graph.segment "mine" on "neuron" (%y = %x : tensor<4xf32>) -> (tensor<4xf32>) {
    graph.yield %y : tensor<4xf32>
  }
  func.return %0 : tensor<4xf32>
}

// -----

// Results of unknown types stay on the host, with the reasons that an importer wrote; they cross
// nothing, and what knows its types is placed.
// CHECK-LABEL: @main
// CHECK:       graph.segment "seg0" on "neuron"
// CHECK-NEXT:    nn.relu
// CHECK-NEXT:    nn.exp
// CHECK:       graph.segment "host0" on "host" {{.*}} -> (tensor<*xnone>) {
// CHECK-NEXT:    nn.opaque "onnx" "Mystery" {{.*}}ranvier.reason = ["RV0205", "nobody knows"]
// CHECK-NEXT:    nn.opaque "onnx" "Relu" {{.*}}ranvier.reason = ["RV0205", "it reads that"]
// CHECK-NOT:   graph.segment
func.func @main(%x: tensor<4x8xf32>) -> (tensor<*xnone>, tensor<4x8xf32>) {
  %0 = nn.relu %x : tensor<4x8xf32>
  %1 = nn.opaque "onnx" "Mystery" version 22 (%0) settings {} {ranvier.reason = ["RV0205", "nobody knows"]} : (tensor<4x8xf32>) -> tensor<*xnone>
  %2 = nn.opaque "onnx" "Relu" version 22 (%1) settings {} {ranvier.reason = ["RV0205", "it reads that"]} : (tensor<*xnone>) -> tensor<*xnone>
  %3 = nn.exp %0 : tensor<4x8xf32>
  func.return %2, %3 : tensor<*xnone>, tensor<4x8xf32>
}
