// RUN: ranvier-opt %s -p 'legalize{target=tpu9}' --verify-diagnostics | filecheck %s
// RUN: ranvier-opt %s -p 'legalize{target=inf2},legalize{target=inf1}' --verify-diagnostics | filecheck %s --check-prefix=CONFLICT

// CHECK:    unknown target 'tpu9'; installed targets: inf1, inf2
// CONFLICT: target=inf1 contradicts the module's target 'inf2', which an earlier pass has set
func.func @main() {
  func.return
}
