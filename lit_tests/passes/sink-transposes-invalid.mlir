// RUN: not ranvier-opt %s -p 'sink-transposes{axes=1}' 2>&1 | filecheck %s

// CHECK: axes
func.func @main() {
  func.return
}
