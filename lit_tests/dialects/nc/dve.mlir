// RUN: RANVIER_ROUNDTRIP

nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<128x64xbf16>
    %f = nc.alloc : !nc.sbuf<128x64xf32>
    %m = nc.alloc : !nc.sbuf<128x64xui8>
    %i = nc.alloc : !nc.sbuf<128x64xi32>
    %h = nc.alloc : !nc.sbuf<128x64xi16>
    // CHECK: nc.tensor_tensor dst = %t[0:128][0][1:64] lhs = %t[0:128][0][1:64] rhs = %f[0:128][63][-1:64] {engine = "pool", op = "pow"}
    nc.tensor_tensor dst = %t[0:128][0][1:64] lhs = %t[0:128][0][1:64] rhs = %f[0:128][63][-1:64] {engine = "pool", op = "pow"}
    // CHECK: nc.tensor_scalar dst = %t[0:128][0][1:64] src = %t[0:128][0][1:64] operand1 = %f[0:128][3][1:1] {op0 = "subtract", op1 = "mult", reverse0 = true, scalar0 = 2.000000e+00 : f64}
    nc.tensor_scalar dst = %t[0:128][0][1:64] src = %t[0:128][0][1:64] operand1 = %f[0:128][3][1:1] {op0 = "subtract", op1 = "mult", reverse0 = true, scalar0 = 2.0 : f64}
    // CHECK: nc.scalar_tensor_tensor dst = %f[0:128][0][1:64] src = %t[0:128][0][1:64] other = %f[0:128][0][1:64] {op0 = "mult", op1 = "add", scalar0 = 2.000000e+00 : f64}
    nc.scalar_tensor_tensor dst = %f[0:128][0][1:64] src = %t[0:128][0][1:64] other = %f[0:128][0][1:64] {op0 = "mult", op1 = "add", scalar0 = 2.0 : f64}
    // CHECK: nc.tensor_tensor dst = %i[0:128][0][1:64] lhs = %i[0:128][0][1:64] rhs = %i[0:128][5][0:64] {engine = "pool", op = "mult"}
    nc.tensor_tensor dst = %i[0:128][0][1:64] lhs = %i[0:128][0][1:64] rhs = %i[0:128][5][0:64] {engine = "pool", op = "mult"}
    // CHECK: nc.tensor_tensor dst = %h[0:128][0][1:64] lhs = %h[0:128][0][1:64] rhs = %h[0:128][0][1:64] {op = "logical_shift_right"}
    nc.tensor_tensor dst = %h[0:128][0][1:64] lhs = %h[0:128][0][1:64] rhs = %h[0:128][0][1:64] {op = "logical_shift_right"}
    // CHECK: nc.tensor_scalar dst = %i[0:128][0][1:64] src = %i[0:128][0][1:64] {op0 = "bitwise_xor", op1 = "bitwise_and", scalar0 = 0xC1E0000000000000 : f64, scalar1 = 6.553500e+04 : f64}
    nc.tensor_scalar dst = %i[0:128][0][1:64] src = %i[0:128][0][1:64] {op0 = "bitwise_xor", op1 = "bitwise_and", scalar0 = -2147483648.0 : f64, scalar1 = 65535.0 : f64}
    // CHECK: nc.reduce dst = %f[0:128][0][1:4] src = %t[0:128][0][16:4, 4:2, 1:4] {axes = 2 : i64, negate = true, op = "max"}
    nc.reduce dst = %f[0:128][0][1:4] src = %t[0:128][0][16:4, 4:2, 1:4] {axes = 2 : i64, negate = true, op = "max"}
    // CHECK: nc.reduce dst = %f[0:128][0][1:1] src = %t[0:128][0][1:64] {axes = 1 : i64, op = "mult"}
    nc.reduce dst = %f[0:128][0][1:1] src = %t[0:128][0][1:64] {axes = 1 : i64, op = "mult"}
    // CHECK: nc.copy dst = %f[0:128][0][1:64] src = %t[0:128][0][8:8, 1:8]
    nc.copy dst = %f[0:128][0][1:64] src = %t[0:128][0][8:8, 1:8]
    // CHECK: nc.memset dst = %t[32:32][0][1:64] {value = 0xfff0000000000000 : f64}
    nc.memset dst = %t[32:32][0][1:64] {value = 0xfff0000000000000 : f64}
    // CHECK: nc.reciprocal dst = %f[0:128][0][1:64] src = %f[0:128][0][1:64]
    nc.reciprocal dst = %f[0:128][0][1:64] src = %f[0:128][0][1:64]
    // CHECK: nc.copy_predicated dst = %f[0:128][0][1:64] src = %t[0:128][0][1:64] predicate = %m[0:128][0][1:64]
    nc.copy_predicated dst = %f[0:128][0][1:64] src = %t[0:128][0][1:64] predicate = %m[0:128][0][1:64]
  }
}
