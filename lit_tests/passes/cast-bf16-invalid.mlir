// RUN: ranvier-opt %s -p 'cast-bf16{mode=fp8}' --verify-diagnostics | filecheck %s
// RUN: not ranvier-opt %s -p 'cast-bf16{mode=fp8}' 2>&1 | filecheck %s --check-prefix=MESSAGE

// CHECK:   unknown mode 'fp8' of cast-bf16; one of all, all-fp16, matmult, matmult-bf16, matmult-fp16, none
// MESSAGE: ranvier-opt: unknown mode 'fp8' of cast-bf16; one of all, all-fp16, matmult, matmult-bf16, matmult-fp16, none (see `--help` of the command) [RV0114]
func.func @main() {
  func.return
}
