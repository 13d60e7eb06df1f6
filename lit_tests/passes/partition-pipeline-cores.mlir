// RUN: ranvier-opt %s -p 'segment,partition-pipeline{cores=2}' | filecheck %s

// Rules name every op but the implicit cast, which stays between those that it stands between: it
// could run on core 0, whose value it reads, and a cut with it there would be another.
// CHECK:      graph.stage 0
// CHECK-NEXT:   nn.relu
// CHECK-NEXT:   graph.yield
// CHECK:      graph.stage 1
// CHECK-NEXT:   nn.exp
// CHECK-NEXT:   nn.cast {{.*}}implicit
// CHECK-NEXT:   nn.mul
func.func @main(%x: tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xbf16>) {
  %0 = nn.relu %x {ranvier.core = 0 : i64} : tensor<4x8xf32>
  %1 = nn.exp %0 {ranvier.core = 1 : i64} : tensor<4x8xf32>
  %2 = nn.cast %0 {to = bf16, implicit} : tensor<4x8xf32> -> tensor<4x8xbf16>
  %3 = nn.mul %2, %2 {ranvier.core = 1 : i64} : tensor<4x8xbf16>
  func.return %1, %3 : tensor<4x8xf32>, tensor<4x8xbf16>
}
