// RUN: not ranvier-opt %s -p 'schedule' 2>&1 | filecheck %s

// Waits follow from addresses, so these must be there.
// CHECK: a buffer has no address: run allocate before schedule
nc.program @seg0 on "inf2" {
  nc.core 0 {
    %0 = nc.alloc : !nc.sbuf<128x10xf32>
    nc.memset dst = %0[0:128][0][1:10] {value = 0.0 : f64}
  }
}
