// RUN: not ranvier-opt %s -p 'allocate' 2>&1 | filecheck %s

// The text names the buffer, what is asked for, what is there, and what takes most of it.
// CHECK: !nc.sbuf<128x30000xf32> needs 120000 bytes of sbuf at {{.*}}; 120000 of 180224 bytes are in use, most by !nc.sbuf<128x30000xf32> (120000 bytes) {{.*}}[RV0402]
nc.program @seg0 on "inf2" {
  nc.core 0 {
    %0 = nc.alloc : !nc.sbuf<128x30000xf32>
    nc.memset dst = %0[0:128][0][1:30000] {value = 0.0 : f64}
    %1 = nc.alloc : !nc.sbuf<128x30000xf32>
    nc.copy dst = %1[0:128][0][1:30000] src = %0[0:128][0][1:30000]
  }
}
