// RUN: ranvier-opt %s -p 'fold-batch-norm' --verify-execution | filecheck %s
// RUN: ranvier-opt %s -p 'legalize{target=inf2},cast-bf16,segment,lower-nn-to-nc,keep-on-chip,double-buffer,allocate,schedule' --verify-execution | filecheck %s --check-prefix=LOWERED
// RUN: ranvier-opt --version | filecheck %s --check-prefix=VERSION
// RUN: ranvier-opt --help | filecheck %s --check-prefix=HELP

// Execution is compared after each pass that the reference executor can follow, and says nothing
// where results agree.
// CHECK:       func.func @main
// CHECK-NEXT:    nn.softmax
// LOWERED:     graph.launch @seg0
// LOWERED:     nc.program @seg0

// VERSION: ranvier-opt {{.*}} on xdsl 0.74

// HELP: --weights DIR
// HELP: --verify-execution
// HELP: --traceback
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.softmax %x {axis = 1 : i64} : tensor<4x8xf32>
  func.return %0 : tensor<4x8xf32>
}
