// RUN: ranvier-opt %s -p 'segment{fallback=error}' --verify-diagnostics | filecheck %s
// RUN: ranvier-opt %s -p 'segment{fallback=maybe}' --verify-diagnostics | filecheck %s --check-prefix=OPTION

// Each op is named with its place, its reason and a code.
// CHECK:  1 op needs the host, which fallback=error forbids on inf2: nn.opaque at 'what' (Mystery): {{.* \[RV020[15]\]}}
// OPTION: bad options of segment: fallback=maybe: host or error
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.opaque "onnx" "Mystery" version 22 (%x) settings {} : (tensor<4x8xf32>) -> tensor<4x8xf32> loc("what"("Mystery"))
  func.return %0 : tensor<4x8xf32>
}
