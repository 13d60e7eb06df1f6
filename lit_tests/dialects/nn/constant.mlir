// RUN: ranvier-opt %s | ranvier-opt | filecheck %s

// A weight is a symbol with the source of its bytes: a file, an array of this process, a number, a
// seed, or a body of ops.
// CHECK:      nn.weight @conv1.weight : tensor<64x3xf32> from "dir/a \"b\".safetensors" key "conv1.weight" sha256 "00ff"
// CHECK-NEXT: nn.weight @array : tensor<2xi64> sha256 "abcd"
// CHECK-NEXT: nn.weight @ones : tensor<64xf32> splat 1.0
// CHECK-NEXT: nn.weight @random : tensor<8x8xbf16> seed 7
// CHECK-NEXT: nn.weight @folded : tensor<64xbf16> {
// CHECK-NEXT:   %[[L:.*]] = nn.load_weight @ones : tensor<64xf32>
// CHECK-NEXT:   %[[C:.*]] = nn.cast %[[L]] {to = bf16} : tensor<64xf32> -> tensor<64xbf16>
// CHECK-NEXT:   nn.yield %[[C]] : tensor<64xbf16>
// CHECK-NEXT: }
nn.weight @conv1.weight : tensor<64x3xf32> from "dir/a \"b\".safetensors" key "conv1.weight" sha256 "00ff"
nn.weight @array : tensor<2xi64> sha256 "abcd"
nn.weight @ones : tensor<64xf32> splat 1.0
nn.weight @random : tensor<8x8xbf16> seed 7
nn.weight @folded : tensor<64xbf16> {
  %0 = nn.load_weight @ones : tensor<64xf32>
  %1 = nn.cast %0 {to = bf16} : tensor<64xf32> -> tensor<64xbf16>
  nn.yield %1 : tensor<64xbf16>
}

// Small constants are dense; values that are not finite survive as bytes.
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.constant dense<[1.000000e+00, -2.500000e+00]> : tensor<2xf32>
// CHECK-NEXT:  nn.constant dense<3> : tensor<4xi64>
// CHECK-NEXT:  nn.constant dense<true> : tensor<i1>
// CHECK-NEXT:  nn.constant dense<"0x000080FF"> : tensor<f32>
// CHECK-NEXT:  nn.load_weight @folded : tensor<64xbf16>
// CHECK-NEXT:  nn.opaque "onnx" "Det" version 22{{ ?}}(%x, %x) settings {axis = 1 : i64} : (tensor<2x2xf32>, tensor<2x2xf32>) -> (tensor<f32>, tensor<2xi64>)
func.func @main(%x: tensor<2x2xf32>) {
  %0 = nn.constant dense<[1.0, -2.5]> : tensor<2xf32>
  %1 = nn.constant dense<3> : tensor<4xi64>
  %2 = nn.constant dense<true> : tensor<i1>
  %3 = nn.constant dense<"0x000080FF"> : tensor<f32>
  %4 = nn.load_weight @folded : tensor<64xbf16>
  %5, %6 = nn.opaque "onnx" "Det" version 22 (%x, %x) settings {axis = 1 : i64} : (tensor<2x2xf32>, tensor<2x2xf32>) -> (tensor<f32>, tensor<2xi64>)
  func.return
}
