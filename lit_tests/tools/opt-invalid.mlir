// RUN: not ranvier-opt %s -p 'no-such-pass' 2>&1 | filecheck %s --check-prefix=PASS
// RUN: not ranvier-opt %s -p 'legalize{target=inf9}' 2>&1 | filecheck %s --check-prefix=TARGET
// RUN: not ranvier-opt %s -p 'segment{fallback=maybe}' 2>&1 | filecheck %s --check-prefix=OPTION
// RUN: not ranvier-opt %s.missing 2>&1 | filecheck %s --check-prefix=FILE
// RUN: not ranvier-opt %s -p 'legalize{target=inf9}' --traceback 2>&1 | filecheck %s --check-prefix=TRACE

// Errors are one line of what is wrong, with the exit status 1; a traceback only if it is asked for.
// PASS-NOT:   Traceback
// PASS:       ranvier-opt: --passes 'no-such-pass':
// PASS-SAME:  no-such-pass
// TARGET-NOT: Traceback
// TARGET:     ranvier-opt: unknown target 'inf9'; installed targets: inf1, inf2 {{.*}}[RV0115]
// OPTION-NOT: Traceback
// OPTION:     ranvier-opt: bad options of segment: fallback=maybe: host or error {{.*}}[RV0114]
// FILE-NOT:   Traceback
// FILE:       ranvier-opt: {{.*}}opt-invalid.mlir.missing: No such file or directory
// TRACE:      Traceback
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.relu %x : tensor<4x8xf32>
  func.return %0 : tensor<4x8xf32>
}
