// RUN: ranvier-opt %s -p 'segment,partition-pipeline{cores=0}' --verify-diagnostics | filecheck %s

// CHECK: a pipeline on inf2 takes 1 to {{[0-9]+}} cores, got cores=0
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.relu %x : tensor<4x8xf32>
  func.return %0 : tensor<4x8xf32>
}
