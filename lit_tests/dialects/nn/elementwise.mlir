// RUN: RANVIER_ROUNDTRIP

// One type is written once where operands and result share it; properties stand in braces.
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.relu %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.abs %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.neg %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.sigmoid %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.tanh %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.exp %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.log %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.sqrt %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.rsqrt %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.reciprocal %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.erf %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.silu %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.softplus %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.hard_swish %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.floor %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.ceil %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.sin %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.cos %x : tensor<4x8xf32>
// CHECK-NEXT:  nn.gelu %x {approximate = "tanh"} : tensor<4x8xf32>
// CHECK-NEXT:  nn.hard_sigmoid %x {alpha = 2.000000e-01 : f64, beta = 5.000000e-01 : f64} : tensor<4x8xf32>
// CHECK-NEXT:  nn.leaky_relu %x {alpha = 1.000000e-02 : f64} : tensor<4x8xf32>
// CHECK-NEXT:  nn.elu %x {alpha = 1.000000e+00 : f64} : tensor<4x8xf32>
// CHECK-NEXT:  nn.clamp %x {high = 6.000000e+00 : f64, low = 0.000000e+00 : f64} : tensor<4x8xf32>
// CHECK-NEXT:  nn.clamp %i {low = 0 : i64} : tensor<4x8xi64>
// CHECK-NEXT:  nn.not %c : tensor<4x8xi1>
// CHECK-NEXT:  nn.cast %x {to = bf16} : tensor<4x8xf32> -> tensor<4x8xbf16>
// CHECK-NEXT:  nn.cast %x {implicit, to = f16} : tensor<4x8xf32> -> tensor<4x8xf16>
// CHECK-NEXT:  nn.add %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:  nn.sub %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:  nn.mul %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:  nn.div %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:  nn.pow %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:  nn.max %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:  nn.min %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:  nn.equal %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xi1>
// CHECK-NEXT:  nn.less %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xi1>
// CHECK-NEXT:  nn.less_equal %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xi1>
// CHECK-NEXT:  nn.greater %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xi1>
// CHECK-NEXT:  nn.greater_equal %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xi1>
// CHECK-NEXT:  nn.and %c, %c : tensor<4x8xi1>
// CHECK-NEXT:  nn.or %i, %i : tensor<4x8xi64>
// CHECK-NEXT:  nn.add %x, %x {ranvier.note = "kept"} : tensor<4x8xf32>
// CHECK-NEXT:  nn.select %c, %x, %y : tensor<4x8xi1>, tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
func.func @main(%x: tensor<4x8xf32>, %y: tensor<8xf32>, %c: tensor<4x8xi1>, %i: tensor<4x8xi64>) {
  %0 = nn.relu %x : tensor<4x8xf32>
  %1 = nn.abs %x : tensor<4x8xf32>
  %2 = nn.neg %x : tensor<4x8xf32>
  %3 = nn.sigmoid %x : tensor<4x8xf32>
  %4 = nn.tanh %x : tensor<4x8xf32>
  %5 = nn.exp %x : tensor<4x8xf32>
  %6 = nn.log %x : tensor<4x8xf32>
  %7 = nn.sqrt %x : tensor<4x8xf32>
  %8 = nn.rsqrt %x : tensor<4x8xf32>
  %9 = nn.reciprocal %x : tensor<4x8xf32>
  %10 = nn.erf %x : tensor<4x8xf32>
  %11 = nn.silu %x : tensor<4x8xf32>
  %12 = nn.softplus %x : tensor<4x8xf32>
  %13 = nn.hard_swish %x : tensor<4x8xf32>
  %14 = nn.floor %x : tensor<4x8xf32>
  %15 = nn.ceil %x : tensor<4x8xf32>
  %16 = nn.sin %x : tensor<4x8xf32>
  %17 = nn.cos %x : tensor<4x8xf32>
  %18 = nn.gelu %x {approximate = "tanh"} : tensor<4x8xf32>
  %19 = nn.hard_sigmoid %x {alpha = 2.000000e-01 : f64, beta = 5.000000e-01 : f64} : tensor<4x8xf32>
  %20 = nn.leaky_relu %x {alpha = 1.000000e-02 : f64} : tensor<4x8xf32>
  %21 = nn.elu %x {alpha = 1.000000e+00 : f64} : tensor<4x8xf32>
  %22 = nn.clamp %x {high = 6.000000e+00 : f64, low = 0.000000e+00 : f64} : tensor<4x8xf32>
  %23 = nn.clamp %i {low = 0 : i64} : tensor<4x8xi64>
  %24 = nn.not %c : tensor<4x8xi1>
  %25 = nn.cast %x {to = bf16} : tensor<4x8xf32> -> tensor<4x8xbf16>
  %26 = nn.cast %x {implicit, to = f16} : tensor<4x8xf32> -> tensor<4x8xf16>
  %27 = nn.add %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  %28 = nn.sub %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  %29 = nn.mul %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  %30 = nn.div %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  %31 = nn.pow %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  %32 = nn.max %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  %33 = nn.min %x, %y : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  %34 = nn.equal %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xi1>
  %35 = nn.less %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xi1>
  %36 = nn.less_equal %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xi1>
  %37 = nn.greater %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xi1>
  %38 = nn.greater_equal %x, %x : tensor<4x8xf32>, tensor<4x8xf32> -> tensor<4x8xi1>
  %39 = nn.and %c, %c : tensor<4x8xi1>
  %40 = nn.or %i, %i : tensor<4x8xi64>
  %41 = nn.add %x, %x {ranvier.note = "kept"} : tensor<4x8xf32>
  %42 = nn.select %c, %x, %y : tensor<4x8xi1>, tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>
  func.return
}
