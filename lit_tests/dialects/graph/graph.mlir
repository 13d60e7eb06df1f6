// RUN: RANVIER_ROUNDTRIP

// Segments bind their arguments to operands and see nothing else; stages and transfers are in them.
// CHECK-LABEL: @main
// CHECK-NEXT:  %[[S:.*]] = graph.segment "seg0" on "neuron" (%[[A:.*]] = %x : tensor<4xf32>) -> (tensor<4xf32>) {
// CHECK-NEXT:    %[[P:.*]] = graph.stage 0 (%[[B:.*]] = %[[A]] : tensor<4xf32>) -> (tensor<4xf32>) {
// CHECK-NEXT:      %[[R:.*]] = nn.relu %[[B]] : tensor<4xf32>
// CHECK-NEXT:      graph.yield %[[R]] : tensor<4xf32>
// CHECK-NEXT:    }
// CHECK-NEXT:    %[[T:.*]] = graph.transfer %[[P]] from 0 to 1 : tensor<4xf32> -> tensor<4xf32>
// CHECK-NEXT:    %[[Q:.*]] = graph.stage 1 (%[[C:.*]] = %[[T]] : tensor<4xf32>) -> (tensor<4xf32>) {
// CHECK-NEXT:      graph.yield %[[C]] : tensor<4xf32>
// CHECK-NEXT:    }
// CHECK-NEXT:    graph.yield %[[Q]] : tensor<4xf32>
// CHECK-NEXT:  }
// CHECK-NEXT:  %[[L:.*]] = graph.launch @seg1(%[[S]]) : (tensor<4xf32>) -> tensor<4xf32>
// CHECK-NEXT:  %[[H:.*]], %{{.*}} = graph.segment "host0" on "host" (%[[D:.*]] = %[[L]] : tensor<4xf32>, %[[E:.*]] = %x : tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
// CHECK-NEXT:    %[[F:.*]] = nn.add %[[D]], %[[E]] {ranvier.reason = ["RV0208", "a rule"]} : tensor<4xf32>
// CHECK-NEXT:    graph.yield %[[F]], %[[E]] : tensor<4xf32>, tensor<4xf32>
// CHECK-NEXT:  }
// CHECK-NEXT:  graph.segment "host1" on "host" () -> () {
// CHECK-NEXT:    graph.yield
// CHECK-NEXT:  }
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = graph.segment "seg0" on "neuron" (%a = %x : tensor<4xf32>) -> (tensor<4xf32>) {
    %1 = graph.stage 0 (%b = %a : tensor<4xf32>) -> (tensor<4xf32>) {
      %2 = nn.relu %b : tensor<4xf32>
      graph.yield %2 : tensor<4xf32>
    }
    %3 = graph.transfer %1 from 0 to 1 : tensor<4xf32> -> tensor<4xf32>
    %4 = graph.stage 1 (%c = %3 : tensor<4xf32>) -> (tensor<4xf32>) {
      graph.yield %c : tensor<4xf32>
    }
    graph.yield %4 : tensor<4xf32>
  }
  %5 = graph.launch @seg1(%0) : (tensor<4xf32>) -> tensor<4xf32>
  %6, %7 = graph.segment "host0" on "host" (%d = %5 : tensor<4xf32>, %e = %x : tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
    %8 = nn.add %d, %e {ranvier.reason = ["RV0208", "a rule"]} : tensor<4xf32>
    graph.yield %8, %e : tensor<4xf32>, tensor<4xf32>
  }
  graph.segment "host1" on "host" () -> () {
    graph.yield
  }
  func.return %6 : tensor<4xf32>
}
