// RUN: ranvier-opt %s -p 'segment,lower-nn-to-nc' --split-input-file | filecheck %s

// The statistics of a softmax are f32 in bf16 models too. The maximum is negated as it is found, and
// the exponentials are summed as they are computed. 200 rows are 128, and a peeled remainder of 72.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.reduce dst = %[[PEAK:.*]][0:128][0][1:1] {{.*}} {axes = 1 : i64, negate = true, op = "max"}
// CHECK:       nc.alloc : !nc.sbuf<128x50xf32>
// CHECK-NEXT:  nc.alloc : !nc.sbuf<128x1xf32>
// CHECK-NEXT:  nc.activation {{.*}} bias = %[[PEAK]][0:128][0][1:1] sum = %[[SUM:.*]][0:128][0][1:1] {func = "exp"
// CHECK:       nc.reciprocal dst = %[[SCALE:.*]][0:128][0][1:1] src = %[[SUM]]
// CHECK:       %[[OUT:.*]] = nc.alloc : !nc.sbuf<128x50xbf16>
// CHECK-NEXT:  nc.tensor_scalar dst = %[[OUT]]{{.*}} operand0 = %[[SCALE]][0:128][0][1:1] {op0 = "mult"}
// CHECK:       nc.reduce dst = %{{.*}}[0:72][0][1:1]
func.func @main(%x: tensor<200x50xbf16>) -> tensor<200x50xbf16> {
  %0 = nn.softmax %x {axis = 1 : i64} : tensor<200x50xbf16>
  func.return %0 : tensor<200x50xbf16>
}
