// RUN: not ranvier-opt %s -p 'simplify-shapes,cast-bf16' --verify-execution 2>&1 | filecheck %s

// A pass that moves an output is named, with the output, a place and both values: 1000 and a normal
// number have no sum in bf16.
// CHECK-NOT: Traceback
// CHECK:     ranvier-opt: cast-bf16 changed output 'result0' at [0] from {{-?[0-9.]+}} to {{-?[0-9.]+}}; {{[0-9]+}} of 64 elements moved by more than
func.func @main(%x: tensor<64xf32>) -> tensor<64xf32> {
  %k = nn.constant dense<1000.0> : tensor<f32>
  %0 = nn.add %x, %k : tensor<64xf32>, tensor<f32> -> tensor<64xf32>
  %1 = nn.sub %0, %k : tensor<64xf32>, tensor<f32> -> tensor<64xf32>
  func.return %1 : tensor<64xf32>
}
