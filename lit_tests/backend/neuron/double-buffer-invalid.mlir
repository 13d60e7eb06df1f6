// RUN: not ranvier-opt %s -p 'double-buffer' 2>&1 | filecheck %s

// How much fits follows from the machine.
// CHECK: no machine 'tpu'; inf2, inf1
nc.program @seg0 on "tpu" {
  nc.core 0 {
  }
}
