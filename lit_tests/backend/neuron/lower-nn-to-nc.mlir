// RUN: ranvier-opt %s -p 'lower-nn-to-nc' --split-input-file | filecheck %s

// A device segment becomes a launch and a program with one core; host segments stay as they are.
// CHECK-LABEL: builtin.module
// CHECK:       func.func @main
// CHECK-NEXT:    %[[A:.*]] = graph.launch @seg0(%x) : (tensor<4x8xf32>) -> tensor<4x8xf32>
// CHECK-NEXT:    %[[B:.*]] = graph.segment "host0" on "host" (%{{.*}} = %[[A]] : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
// CHECK-NEXT:      nn.floor
// CHECK:         func.return %[[B]]
// CHECK:       nc.program @seg0 on "inf2" {
// CHECK-NEXT:    nc.core 0 {
// CHECK-NEXT:      nc.tensor input 0 : !nc.dram<32xf32>
// CHECK-NEXT:      nc.tensor output 0 : !nc.dram<32xf32>
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = graph.segment "seg0" on "neuron" (%a = %x : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
    %1 = nn.relu %a : tensor<4x8xf32>
    graph.yield %1 : tensor<4x8xf32>
  }
  %2 = graph.segment "host0" on "host" (%a = %0 : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
    %3 = nn.floor %a : tensor<4x8xf32>
    graph.yield %3 : tensor<4x8xf32>
  }
  func.return %2 : tensor<4x8xf32>
}

// -----

// Each stage is a core; a transfer is a pair of a send and a receive with one tag.
// CHECK-LABEL: builtin.module
// CHECK:       nc.program @seg0
// CHECK-NEXT:    nc.core 0 {
// CHECK:           nc.send src = %{{.*}}[0][1:32] {peer = 1 : i64, tag = 0 : i64}
// CHECK:         nc.core 1 {
// CHECK:           %[[IN:.*]] = nc.alloc : !nc.dram<32xf32>
// CHECK-NEXT:      nc.receive dst = %[[IN]][0][1:32] {peer = 0 : i64, tag = 0 : i64}
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = graph.segment "seg0" on "neuron" (%a = %x : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
    %1 = graph.stage 0 (%b = %a : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
      %2 = nn.relu %b : tensor<4x8xf32>
      graph.yield %2 : tensor<4x8xf32>
    }
    %3 = graph.transfer %1 from 0 to 1 : tensor<4x8xf32> -> tensor<4x8xf32>
    %4 = graph.stage 1 (%b = %3 : tensor<4x8xf32>) -> (tensor<4x8xf32>) {
      %5 = nn.tanh %b : tensor<4x8xf32>
      graph.yield %5 : tensor<4x8xf32>
    }
    graph.yield %4 : tensor<4x8xf32>
  }
  func.return %0 : tensor<4x8xf32>
}

// -----

// Small constants become weights, each once; a tensor that is an input and an output is copied.
// CHECK-LABEL: builtin.module
// CHECK:       nn.weight @constant : tensor<8xf32> {
// CHECK-NOT:   nn.weight
// CHECK:       nc.core 0
// CHECK:         nc.dma dst = %[[OUT:.*]][0][1:32] src = %[[IN:.*]][0][1:32]
func.func @main(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %0, %1 = graph.segment "seg0" on "neuron" (%a = %x : tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
    %k = nn.constant dense<[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]> : tensor<8xf32>
    %2 = nn.add %a, %k : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
    %3 = nn.mul %2, %k : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
    graph.yield %3, %a : tensor<4x8xf32>, tensor<4x8xf32>
  }
  func.return %0, %1 : tensor<4x8xf32>, tensor<4x8xf32>
}

// -----

// Without a device segment there is nothing to lower.
// CHECK-LABEL: builtin.module
// CHECK:       func.func @main
// CHECK-NEXT:    nn.relu
// CHECK-NEXT:    func.return
// CHECK-NOT:   nc.program
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.relu %x : tensor<4x8xf32>
  func.return %0 : tensor<4x8xf32>
}
