// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: nc.copy: the pool engine does not reach PSUM
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    %p = nc.alloc : !nc.psum<128x64xf32>
    nc.copy dst = %t[0:128][0][1:64] src = %p[0:128][0][1:64] {engine = "pool"}
  }
}

// -----

// CHECK: nc.copy engine is one of dve, pool, got act
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.copy dst = %t[0:128][0][1:64] src = %t[0:128][0][1:64] {engine = "act"}
  }
}

// -----

// CHECK: nc.tensor_tensor: only the pool engine raises to a power
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.tensor_tensor dst = %t[0:128][0][1:64] lhs = %t[0:128][0][1:64] rhs = %t[0:128][0][1:64] {op = "pow"}
  }
}

// -----

// CHECK: nc.tensor_scalar step 0 takes a number or a buffer
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.tensor_scalar dst = %t[0:128][0][1:64] src = %t[0:128][0][1:64] {op0 = "add"}
  }
}

// -----

// CHECK: nc.reduce of 128 x (16, 4) over 1 axes into 128 x 4
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    nc.reduce dst = %t[0:128][0][1:4] src = %t[0:128][0][4:16, 1:4] {axes = 1 : i64, op = "add"}
  }
}

// -----

// CHECK: nc.copy dst: only DMA reaches DRAM
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xf32>
    %d = nc.alloc : !nc.dram<64xf32>
    nc.copy dst = %d[0][1:64] src = %t[0:1][0][1:64]
  }
}

// -----

// CHECK: nc.tensor_tensor: only the vector engine works on bits, got pool
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xi32>
    nc.tensor_tensor dst = %t[0:128][0][1:64] lhs = %t[0:128][0][1:64] rhs = %t[0:128][0][1:64] {engine = "pool", op = "bitwise_or"}
  }
}

// -----

// CHECK: nc.tensor_tensor: bit patterns are of one integer type, got
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xi32>
    %f = nc.alloc : !nc.sbuf<128x64xf32>
    nc.tensor_tensor dst = %t[0:128][0][1:64] lhs = %t[0:128][0][1:64] rhs = %f[0:128][0][1:64] {op = "bitwise_or"}
  }
}

// -----

// CHECK: nc.tensor_scalar: bit patterns and numbers do not mix, got op add
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xi32>
    nc.tensor_scalar dst = %t[0:128][0][1:64] src = %t[0:128][0][1:64] {op0 = "bitwise_and", op1 = "add", scalar0 = 1.0 : f64, scalar1 = 1.0 : f64}
  }
}

// -----

// CHECK: nc.tensor_scalar: 0.5 is no bit pattern of 32 bits
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xi32>
    nc.tensor_scalar dst = %t[0:128][0][1:64] src = %t[0:128][0][1:64] {op0 = "bitwise_and", scalar0 = 0.5 : f64}
  }
}

// -----

// CHECK: nc.tensor_tensor op on i32 is one of add, subtract, mult, got max
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xi32>
    nc.tensor_tensor dst = %t[0:128][0][1:64] lhs = %t[0:128][0][1:64] rhs = %t[0:128][0][1:64] {engine = "pool", op = "max"}
  }
}
