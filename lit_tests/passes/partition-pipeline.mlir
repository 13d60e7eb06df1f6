// RUN: ranvier-opt %s -p 'segment,partition-pipeline{cores=2}' --verify-execution | filecheck %s
// RUN: ranvier-opt %s -p 'segment,partition-pipeline,partition-pipeline{cores=2}' | filecheck %s --check-prefix=ONE

// Two equal products, one per core; the value between them is sent, the argument is not; the
// constant is copied.
// CHECK:      graph.segment "seg0" on "neuron" (%[[X:.*]] = %x : tensor<64x64xf32>) -> (tensor<64x64xf32>) {
// CHECK-NEXT:   %[[S:.*]] = graph.stage 0 (%[[A:.*]] = %[[X]] : tensor<64x64xf32>) -> (tensor<64x64xf32>) {
// CHECK-NEXT:     %[[K:.*]] = nn.constant
// CHECK-NEXT:     %[[M:.*]] = nn.matmul %[[A]], %[[K]]
// CHECK-NEXT:     graph.yield %[[M]]
// CHECK-NEXT:   }
// CHECK-NEXT:   %[[T:.*]] = graph.transfer %[[S]] from 0 to 1 : tensor<64x64xf32> -> tensor<64x64xf32>
// CHECK-NEXT:   %[[R:.*]] = graph.stage 1 (%[[B:.*]] = %[[T]] : tensor<64x64xf32>) -> (tensor<64x64xf32>) {
// CHECK-NEXT:     %[[L:.*]] = nn.constant
// CHECK-NEXT:     nn.matmul %[[B]], %[[L]]
// CHECK:        graph.yield %[[R]] : tensor<64x64xf32>

// One core is one stage, and a module that is cut stays as it is.
// ONE:     graph.stage 0
// ONE:     nn.matmul
// ONE:     nn.matmul
// ONE-NOT: graph.stage
func.func @main(%x: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %k = nn.constant dense<0.5> : tensor<64x64xf32>
  %0 = nn.matmul %x, %k : tensor<64x64xf32>
  %1 = nn.matmul %0, %k : tensor<64x64xf32>
  func.return %1 : tensor<64x64xf32>
}
