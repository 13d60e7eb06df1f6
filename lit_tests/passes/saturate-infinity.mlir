// RUN: ranvier-opt %s -p saturate-infinity --split-input-file | filecheck %s

// What comes from outside and what may overflow is bounded by its own type; a maximum of finite
// numbers is finite.
// CHECK-LABEL: @main
// CHECK:       graph.segment "seg0" on "neuron" (%[[A:.*]] = %x : tensor<4xf32>) -> (tensor<4xf16>) {
// CHECK-NEXT:    %[[X:.*]] = nn.clamp %[[A]] {high = 3.40282{{.*}}e+38 : f64, low = -3.40282{{.*}}e+38 : f64}
// CHECK-NEXT:    %[[E:.*]] = nn.exp %[[X]]
// CHECK-NEXT:    %[[F:.*]] = nn.clamp %[[E]] {high = 3.40282{{.*}}e+38 : f64, low = -3.40282{{.*}}e+38 : f64}
// CHECK-NEXT:    %[[R:.*]] = nn.relu %[[F]]
// CHECK-NEXT:    %[[N:.*]] = nn.cast %[[R]] {to = f16}
// CHECK-NEXT:    %[[B:.*]] = nn.clamp %[[N]] {high = 6.550400e+04 : f64, low = -6.550400e+04 : f64} : tensor<4xf16>
// CHECK-NEXT:    graph.yield %[[B]]
func.func @main(%x: tensor<4xf32>) -> tensor<4xf16> {
  %s = graph.segment "seg0" on "neuron" (%a = %x : tensor<4xf32>) -> (tensor<4xf16>) {
    %0 = nn.exp %a : tensor<4xf32>
    %1 = nn.relu %0 : tensor<4xf32>
    %2 = nn.cast %1 {to = f16} : tensor<4xf32> -> tensor<4xf16>
    graph.yield %2 : tensor<4xf16>
  }
  func.return %s : tensor<4xf16>
}

// -----

// A constant is bounded only if it holds an infinity; integers are as they are.
// CHECK-LABEL: @main
// CHECK:         %[[K:.*]] = nn.constant dense<[0.000000e+00, 1.000000e+00]>
// CHECK-NEXT:    %[[L:.*]] = nn.constant dense<2.000000e+00>
// CHECK-NEXT:    %[[I:.*]] = nn.add %{{.*}}, %{{.*}} : tensor<2xi32>
// CHECK-NEXT:    nn.add %[[K]], %[[L]]
func.func @main(%x: tensor<2xi32>) -> (tensor<2xf32>, tensor<2xi32>) {
  %s, %t = graph.segment "seg0" on "neuron" (%a = %x : tensor<2xi32>) -> (tensor<2xf32>, tensor<2xi32>) {
    %k = nn.constant dense<[0.0, 1.0]> : tensor<2xf32>
    %l = nn.constant dense<2.0> : tensor<2xf32>
    %i = nn.add %a, %a : tensor<2xi32>
    %0 = nn.add %k, %l : tensor<2xf32>
    graph.yield %0, %i : tensor<2xf32>, tensor<2xi32>
  }
  func.return %s, %t : tensor<2xf32>, tensor<2xi32>
}

// -----

// Host segments have the infinities of IEEE 754, and a module without segments is left alone.
// CHECK-LABEL: @main
// CHECK-NOT:   nn.clamp
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %s = graph.segment "host0" on "host" (%a = %x : tensor<4xf32>) -> (tensor<4xf32>) {
    %0 = nn.exp %a : tensor<4xf32>
    graph.yield %0 : tensor<4xf32>
  }
  %1 = nn.exp %s : tensor<4xf32>
  func.return %1 : tensor<4xf32>
}
