// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file 2>&1 | filecheck %s

// CHECK: a segment runs on neuron or host, not moon
func.func @main(%x: tensor<4xf32>) {
  graph.segment "s" on "moon" () -> () {
    graph.yield
  }
  func.return
}

// -----

// CHECK: yielded values and results of graph.segment differ in type
func.func @main(%x: tensor<4xf32>) {
  %0 = graph.segment "s" on "host" (%a = %x : tensor<4xf32>) -> (tensor<5xf32>) {
    graph.yield %a : tensor<4xf32>
  }
  func.return
}

// -----

// CHECK: Operation using value defined out of its IsolatedFromAbove parent
func.func @main(%x: tensor<4xf32>) {
  %0 = graph.segment "s" on "host" () -> (tensor<4xf32>) {
    graph.yield %x : tensor<4xf32>
  }
  func.return
}

// -----

// CHECK: 'graph.stage' expects parent op 'graph.segment'
func.func @main() {
  graph.stage 0 () -> () {
    graph.yield
  }
  func.return
}

// -----

// CHECK: a pipeline sends from a core to a later one
func.func @main(%x: tensor<4xf32>) {
  graph.segment "s" on "neuron" (%a = %x : tensor<4xf32>) -> () {
    %0 = graph.transfer %a from 1 to 1 : tensor<4xf32> -> tensor<4xf32>
    graph.yield
  }
  func.return
}

// -----

// CHECK: nn.relu terminates block in single-block region but is not a terminator
func.func @main(%x: tensor<4xf32>) {
  graph.segment "s" on "neuron" (%a = %x : tensor<4xf32>) -> () {
    %0 = nn.relu %a : tensor<4xf32>
  }
  func.return
}
