// RUN: not ranvier-opt %s -p 'fold-constants{limit=3}' 2>&1 | filecheck %s

// The pass has no options.
// CHECK: ranvier-opt: --passes 'fold-constants{limit=3}': Provided arguments ["limit"] not found
func.func @main() {
  func.return
}
