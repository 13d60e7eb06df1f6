// What pip writes for a package with the entry point is in Inputs.
// RUN: env PYTHONPATH=%S/../../examples:%S/Inputs xdsl-opt %s -p toy-segment | filecheck %s
// RUN: echo 'host tosa.add where rank == 3 because "a try"' > %t.rules
// RUN: env PYTHONPATH=%S/../../examples:%S/Inputs xdsl-opt %s -p 'toy-segment{rules="%t.rules"}' | filecheck %s --check-prefix=RULES

// The constant is copied; reciprocal and the sum of rank 4 are the host's, with reasons.
// CHECK-LABEL: func.func @main
// CHECK:         graph.segment "seg0" on "neuron"
// CHECK:           tosa.matmul
// CHECK:           "tosa.const"
// CHECK:           tosa.add
// CHECK:         graph.segment "host0" on "host"
// CHECK:           tosa.reciprocal {{.*}}ranvier.reason = ["RV0201", "toy has no unit for tosa.reciprocal"]
// CHECK:           tosa.add {{.*}}ranvier.reason = ["RV0203", "rank 3 at most, got 4"]
// CHECK:         graph.segment "seg1" on "neuron"
// CHECK:           "tosa.const"
// CHECK:           tosa.add
// CHECK-NOT:     graph.segment

// RULES:       graph.segment "host0" on "host"
// RULES:         tosa.add {{.*}}ranvier.reason = ["RV0208", "rule line 1: a try"]
func.func @main(%x: tensor<1x4x4xf32>, %y: tensor<1x1x4x4xf32>) -> (tensor<1x4x4xf32>, tensor<1x1x4x4xf32>) {
  %k = "tosa.const"() <{values = dense<2.0> : tensor<1x4x4xf32>}> : () -> tensor<1x4x4xf32>
  %zero = "tosa.const"() <{values = dense<0.0> : tensor<1xf32>}> : () -> tensor<1xf32>
  %0 = "tosa.matmul"(%x, %x, %zero, %zero) : (tensor<1x4x4xf32>, tensor<1x4x4xf32>, tensor<1xf32>, tensor<1xf32>) -> tensor<1x4x4xf32>
  %1 = "tosa.add"(%0, %k) : (tensor<1x4x4xf32>, tensor<1x4x4xf32>) -> tensor<1x4x4xf32>
  %2 = "tosa.reciprocal"(%1) : (tensor<1x4x4xf32>) -> tensor<1x4x4xf32>
  %3 = "tosa.add"(%2, %k) : (tensor<1x4x4xf32>, tensor<1x4x4xf32>) -> tensor<1x4x4xf32>
  %4 = "tosa.add"(%y, %y) : (tensor<1x1x4x4xf32>, tensor<1x1x4x4xf32>) -> tensor<1x1x4x4xf32>
  func.return %3, %4 : tensor<1x4x4xf32>, tensor<1x1x4x4xf32>
}
