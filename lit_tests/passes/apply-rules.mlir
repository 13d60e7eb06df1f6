// RUN: ranvier-opt %s -p 'apply-rules{text="host nn.softmax where axis != -1; keep f32 nn.exp because \"range\"; core 2 name ~ \"layer4.*\"; neuron name in [\"layer4/exp\"]"}' --print-debuginfo | filecheck %s
// RUN: echo 'host nn.exp' > %t.rules
// RUN: ranvier-opt %s -p 'apply-rules{file="%t.rules"},legalize,cast-bf16,segment' | filecheck %s --check-prefix=SEGMENT
// RUN: ranvier-opt %s -p 'segment{rules="%t.rules"}' | filecheck %s --check-prefix=SEGMENT
// RUN: ranvier-opt %s -p 'apply-rules' | filecheck %s --check-prefix=NONE

// Axis 1 of rank 2 is the last one, which -1 names too.
// CHECK-LABEL: @main
// CHECK:         nn.softmax {{.*}}axis = 1
// CHECK-NOT:     ranvier.placement
// CHECK-SAME:    : tensor<4x8xf32>
// CHECK:         nn.softmax {{.*}}axis = 0 {{.*}}ranvier.placement = ["host", "rule line 1"]
// CHECK:         nn.exp {{.*}}ranvier.keep = "f32"
// CHECK-SAME:    ranvier.core = 2
// CHECK-SAME:    ranvier.placement = ["neuron", "rule line 1"]

// SEGMENT:       graph.segment "seg0" on "neuron"
// SEGMENT:         nn.softmax
// SEGMENT:       graph.segment "host0" on "host"
// SEGMENT-NEXT:    nn.exp {{.*}} {ranvier.reason = ["RV0208", "rule line 1"]} : tensor<4x8xf32>

// NONE-NOT:      ranvier
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.softmax %x {axis = 1 : i64} : tensor<4x8xf32>
  %1 = nn.softmax %0 {axis = 0 : i64} : tensor<4x8xf32>
  %2 = nn.exp %1 : tensor<4x8xf32> loc("layer4/exp"("Exp"))
  func.return %2 : tensor<4x8xf32>
}
