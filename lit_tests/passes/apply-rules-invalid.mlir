// RUN: ranvier-opt %s -p 'apply-rules{text="host nn.sofmax"}' --verify-diagnostics | filecheck %s --check-prefix=OP
// RUN: ranvier-opt %s -p 'apply-rules{text="host nn.softmax where axes == 1"}' --verify-diagnostics | filecheck %s --check-prefix=ATTRIBUTE
// RUN: ranvier-opt %s -p 'apply-rules{text="\n host nn.softmax wher axis == 1"}' --verify-diagnostics | filecheck %s --check-prefix=SYNTAX
// RUN: ranvier-opt %s -p 'apply-rules{text="neuron nn.opaque"},segment' --verify-diagnostics | filecheck %s --check-prefix=IMPOSSIBLE
// RUN: ranvier-opt %s -p 'apply-rules{text="core 4 nn.softmax"},segment,partition-pipeline{cores=4}' --verify-diagnostics | filecheck %s --check-prefix=CORE

// OP:         rules:1:6: no op 'nn.sofmax'; did you mean 'nn.softmax'?
// ATTRIBUTE:  rules:1:23: nn.softmax has no attribute 'axes'; did you mean 'axis'?
// SYNTAX:     rules:2:18: unexpected 'w
// IMPOSSIBLE: inf2 cannot run what rules place on it: rule line 1: nn.opaque at 'what' (Mystery):
// CORE:       rules put nn.softmax on core 4; the pipeline has cores 0 to 3
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.softmax %x {axis = 1 : i64} : tensor<4x8xf32>
  %1 = nn.opaque "onnx" "Mystery" version 22 (%0) settings {} : (tensor<4x8xf32>) -> tensor<4x8xf32> loc("what"("Mystery"))
  func.return %1 : tensor<4x8xf32>
}
