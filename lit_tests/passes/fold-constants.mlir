// RUN: ranvier-opt %s -p fold-constants --verify-execution --split-input-file | filecheck %s

// An expression over a weight becomes a weight with that body; no byte is read.
// CHECK:      nn.weight @w : tensor<64x8xf32> seed 3
// CHECK-NEXT: nn.weight @w.transpose : tensor<8x64xf32> {
// CHECK-NEXT:   %[[W:.*]] = nn.load_weight @w : tensor<64x8xf32>
// CHECK-NEXT:   %[[T:.*]] = nn.transpose %[[W]] {permutation = array<i64: 1, 0>} : tensor<64x8xf32> -> tensor<8x64xf32>
// CHECK-NEXT:   nn.yield %[[T]] : tensor<8x64xf32>
// CHECK-NEXT: }
// CHECK-LABEL: @main
// CHECK-NEXT:  %[[L:.*]] = nn.load_weight @w.transpose : tensor<8x64xf32>
// CHECK-NEXT:  nn.matmul %x, %[[L]]
// The same expression again is the same weight.
// CHECK-NEXT:  %[[M:.*]] = nn.load_weight @w.transpose : tensor<8x64xf32>
// CHECK-NEXT:  nn.matmul %x, %[[M]]
nn.weight @w : tensor<64x8xf32> seed 3
func.func @main(%x: tensor<4x8xf32>) -> (tensor<4x64xf32>, tensor<4x64xf32>) {
  %w = nn.load_weight @w : tensor<64x8xf32>
  %t = nn.transpose %w {permutation = array<i64: 1, 0>} : tensor<64x8xf32> -> tensor<8x64xf32>
  %0 = nn.matmul %x, %t : tensor<4x8xf32>, tensor<8x64xf32> -> tensor<4x64xf32>
  %u = nn.transpose %w {permutation = array<i64: 1, 0>} : tensor<64x8xf32> -> tensor<8x64xf32>
  %1 = nn.matmul %x, %u : tensor<4x8xf32>, tensor<8x64xf32> -> tensor<4x64xf32>
  func.return %0, %1 : tensor<4x64xf32>, tensor<4x64xf32>
}

// -----

// Small constants fold to a small constant; what nobody loads is removed.
// CHECK-NOT:   @dead
// CHECK-LABEL: @main
// CHECK-NEXT:  %[[K:.*]] = nn.constant dense<[3.000000e+00, 4.000000e+00]> : tensor<2xf32>
// CHECK-NEXT:  nn.mul %x, %[[K]] : tensor<2xf32>
nn.weight @dead : tensor<512xf32> splat 1.0
func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {
  %a = nn.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %b = nn.constant dense<2.0> : tensor<f32>
  %k = nn.add %a, %b : tensor<2xf32>, tensor<f32> -> tensor<2xf32>
  %r = nn.mul %x, %k : tensor<2xf32>
  func.return %r : tensor<2xf32>
}

// -----

// A large result of small constants is a weight too.
// CHECK:       nn.weight @constant.broadcast : tensor<32x32xf32> {
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.load_weight @constant.broadcast
func.func @main(%x: tensor<32x32xf32>) -> tensor<32x32xf32> {
  %b = nn.constant dense<2.0> : tensor<f32>
  %k = nn.broadcast %b {shape = array<i64: 32, 32>} : tensor<f32> -> tensor<32x32xf32>
  %r = nn.mul %x, %k : tensor<32x32xf32>
  func.return %r : tensor<32x32xf32>
}

// -----

// Folding an expression over a derived weight takes over its body, so that it rounds once; two
// different expressions over one weight have two names; segments are folded too.
// CHECK:       nn.weight @w : tensor<300xf32> seed 1
// CHECK-NEXT:  nn.weight @w.cast : tensor<300xbf16> {
// CHECK-NEXT:    nn.load_weight @w
// CHECK-NEXT:    nn.exp
// CHECK-NEXT:    nn.cast
// CHECK-NEXT:    nn.yield
// CHECK-NEXT:  }
// CHECK-NEXT:  nn.weight @w.cast.1 : tensor<300xf16> {
// CHECK-LABEL: @main
// CHECK:       nn.load_weight @w.cast : tensor<300xbf16>
// CHECK:       nn.load_weight @w.cast.1 : tensor<300xf16>
nn.weight @w : tensor<300xf32> seed 1
nn.weight @w.exp : tensor<300xf32> {
  %0 = nn.load_weight @w : tensor<300xf32>
  %1 = nn.exp %0 : tensor<300xf32>
  nn.yield %1 : tensor<300xf32>
}
func.func @main(%x: tensor<300xbf16>, %y: tensor<300xf16>) -> (tensor<300xbf16>, tensor<300xf16>) {
  %0, %1 = graph.segment "seg0" on "neuron" (%a = %x : tensor<300xbf16>, %b = %y : tensor<300xf16>) -> (tensor<300xbf16>, tensor<300xf16>) {
    %w = nn.load_weight @w.exp : tensor<300xf32>
    %c = nn.cast %w {to = bf16} : tensor<300xf32> -> tensor<300xbf16>
    %d = nn.cast %w {to = f16} : tensor<300xf32> -> tensor<300xf16>
    %2 = nn.mul %a, %c : tensor<300xbf16>
    %3 = nn.mul %b, %d : tensor<300xf16>
    graph.yield %2, %3 : tensor<300xbf16>, tensor<300xf16>
  }
  func.return %0, %1 : tensor<300xbf16>, tensor<300xf16>
}

// -----

// Nothing to fold.
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.add %x, %x : tensor<2xf32>
// CHECK-NEXT:  func.return
func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {
  %r = nn.add %x, %x : tensor<2xf32>
  func.return %r : tensor<2xf32>
}
