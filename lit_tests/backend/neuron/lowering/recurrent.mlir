// RUN: ranvier-opt %s -p 'segment,lower-nn-to-nc' --split-input-file | filecheck %s

// One product for the inputs of all 40 steps; then a loop over time, in which four gates of 96 units
// are four products into one bank, and the state that a turn leaves is what the next multiplies.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.matmul {{.*}}[1:128] moving = %{{.*}}[1:80]
// CHECK:       nc.memset dst = %[[H:[0-9]+]][0:96][0][1:2] {value = 0.000000e+00 : f64}
// CHECK:       nc.copy dst = %[[NARROW:.*]][0:96][0][1:2] src = %[[H]]
// CHECK:       nc.loop 40 {
// CHECK:         nc.alloc : !nc.psum<96x8xf32>
// CHECK-NEXT:    nc.loop 4 {
// CHECK-NEXT:      nc.matmul dst = %[[BANK:.*]][0:96][0 + i0*0 + i1*2][1:2] stationary = %{{.*}}[0:96][0 + i0*0 + i1*96][1:96] moving = %[[NARROW]][0:96][0 + i0*0 + i1*0][1:2] {first_at = array<i64>}
// CHECK-NEXT:    }
// CHECK-NEXT:    nc.tensor_tensor dst = %[[TOTAL:.*]][0:96][0 + i0*0][1:8] lhs = %[[BANK]]{{.*}} rhs = %{{.*}}[0:96][0 + i0*2][80:4, 1:2] {op = "add"}
// CHECK-NEXT:    nc.activation dst = %[[TOTAL]][0:96][0 + i0*0][1:6] {{.*}} {func = "sigmoid"
// CHECK-NEXT:    nc.activation dst = %[[TOTAL]][0:96][6 + i0*0][1:2] {{.*}} {func = "tanh"
// CHECK:         nc.tensor_tensor dst = %[[H]]{{.*}} {op = "mult"}
// CHECK:         nc.copy dst = %[[NARROW]]{{.*}} src = %[[H]]
// CHECK-NEXT:  }
// CHECK-NOT:   nc.matmul
nn.weight @w : tensor<1x384x64xbf16> seed 1
nn.weight @r : tensor<1x384x96xbf16> seed 2
nn.weight @b : tensor<1x768xf32> seed 3
func.func @main(%x: tensor<40x2x64xbf16>) -> tensor<40x1x2x96xf32> {
  %w = nn.load_weight @w : tensor<1x384x64xbf16>
  %r = nn.load_weight @r : tensor<1x384x96xbf16>
  %b = nn.load_weight @b : tensor<1x768xf32>
  %h = nn.constant dense<0.0> : tensor<1x2x96xf32>
  %y, %last, %cell = nn.lstm %x, %w, %r, %b, %h, %h {direction = "forward"} : tensor<40x2x64xbf16>, tensor<1x384x64xbf16>, tensor<1x384x96xbf16>, tensor<1x768xf32>, tensor<1x2x96xf32>, tensor<1x2x96xf32> -> tensor<40x1x2x96xf32>, tensor<1x2x96xf32>, tensor<1x2x96xf32>
  func.return %y : tensor<40x1x2x96xf32>
}
