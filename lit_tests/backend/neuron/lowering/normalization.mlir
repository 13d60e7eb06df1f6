// RUN: ranvier-opt %s -p 'segment,lower-nn-to-nc' --split-input-file | filecheck %s

// The statistics of a softmax are f32 in bf16 models too. The maximum is negated as it is found, and
// the exponentials are summed as they are computed. 200 rows are 128, and a peeled remainder of 72.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.reduce dst = %[[PEAK:.*]][0:128][0][1:1] {{.*}} {axes = 1 : i64, negate = true, op = "max"}
// CHECK:       nc.alloc : !nc.sbuf<128x1xf32>
// CHECK-NEXT:  nc.alloc : !nc.sbuf<128x50xf32>
// CHECK-NEXT:  nc.activation {{.*}} bias = %[[PEAK]][0:128][0][1:1] sum = %[[SUM:.*]][0:128][0][1:1] {func = "exp"
// CHECK:       nc.reciprocal dst = %[[SCALE:.*]][0:128][0][1:1] src = %[[SUM]]
// CHECK:       %[[OUT:.*]] = nc.alloc : !nc.sbuf<128x50xbf16>
// CHECK-NEXT:  nc.tensor_scalar dst = %[[OUT]]{{.*}} operand0 = %[[SCALE]][0:128][0][1:1] {op0 = "mult"}
// CHECK:       nc.reduce dst = %{{.*}}[0:72][0][1:1]
func.func @main(%x: tensor<200x50xbf16>) -> tensor<200x50xbf16> {
  %0 = nn.softmax %x {axis = 1 : i64} : tensor<200x50xbf16>
  func.return %0 : tensor<200x50xbf16>
}

// -----

// A layer norm is one load, two statistics, and a store. Scale and bias, the same for all rows, are
// loaded once, before the loop over rows.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.dma dst = %[[SCALE:.*]][0:128][0][1:96] src = %{{.*}}[0][0:128, 1:96]
// CHECK:       nc.dma dst = %[[BIAS:.*]][0:128][0][1:96]
// CHECK:       nc.loop 3 {
// CHECK:         nc.dma dst = %[[X:.*]][0:128][0 + i0*0][1:96]
// CHECK:         nc.reduce dst = %[[MEAN:.*]][0:128][0 + i0*0][1:1] src = %[[X]]{{.*}} {axes = 1 : i64, negate = true, op = "add"}
// CHECK:         nc.activation {{.*}} src = %[[X]]{{.*}} bias = %[[MEAN]]{{.*}} sum = %[[SUM:.*]][0:128][0 + i0*0][1:1] {func = "square"
// CHECK:         nc.activation dst = %[[SUM]]{{.*}} {func = "rsqrt"
// CHECK:         nc.tensor_scalar {{.*}} src = %[[X]]{{.*}} operand0 = %[[MEAN]]{{.*}} operand1 = %[[SUM]]{{.*}} {op0 = "add", op1 = "mult"}
// CHECK:         nc.tensor_tensor {{.*}} rhs = %[[SCALE]]{{.*}} {op = "mult"}
// CHECK:         nc.tensor_tensor {{.*}} rhs = %[[BIAS]]{{.*}} {op = "add"}
// CHECK-NEXT:    nc.dma
// CHECK-NEXT:  }
// CHECK-NOT:   nc.dma
nn.weight @s : tensor<96xf32> seed 1
nn.weight @b : tensor<96xf32> seed 2
func.func @main(%x: tensor<384x96xf32>) -> tensor<384x96xf32> {
  %s = nn.load_weight @s : tensor<96xf32>
  %b = nn.load_weight @b : tensor<96xf32>
  %0 = nn.layer_norm %x, %s, %b {axis = 1 : i64, epsilon = 1.0e-5 : f64} : tensor<384x96xf32>, tensor<96xf32>, tensor<96xf32> -> tensor<384x96xf32>
  func.return %0 : tensor<384x96xf32>
}

// -----

// A row beyond what fits is read once for the maximum, once for the sum, once for the result.
// CHECK-LABEL: nc.core 0
// CHECK-COUNT-3: nc.loop 3 {
// CHECK-NOT:   nc.loop
func.func @main(%x: tensor<40x12288xf32>) -> tensor<40x12288xf32> {
  %0 = nn.softmax %x {axis = 1 : i64} : tensor<40x12288xf32>
  func.return %0 : tensor<40x12288xf32>
}
