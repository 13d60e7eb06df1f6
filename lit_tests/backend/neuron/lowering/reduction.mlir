// RUN: ranvier-opt %s -p 'segment,lower-nn-to-nc' --split-input-file | filecheck %s

// Rows on the partitions, and one reduction over all dimensions inside; a mean is a scaled sum.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.reduce dst = %[[SUM:.*]][0:64][0][1:1] src = %{{.*}}[0:64][0][1:40] {axes = 1 : i64, op = "add"}
// CHECK:       nc.tensor_scalar {{.*}} src = %[[SUM]]{{.*}} {op0 = "mult", scalar0 = 2.500000e-02 : f64}
// CHECK-NOT:   nc.reduce
func.func @main(%x: tensor<64x8x5xf32>) -> tensor<64xf32> {
  %0 = nn.reduce_mean %x {axes = array<i64: 1, 2>, keepdims = false} : tensor<64x8x5xf32> -> tensor<64xf32>
  func.return %0 : tensor<64xf32>
}

// -----

// A long row is reduced tile by tile into a total that starts at minus infinity: a loop, and a
// peeled remainder of 8.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.memset dst = %[[TOTAL:.*]][0:2][0][1:1] {value = 0xfff0000000000000 : f64}
// CHECK-NEXT:  nc.loop 2 {
// CHECK:         nc.reduce {{.*}} src = %{{.*}}[0:2][0 + i0*0][1:4096] {axes = 1 : i64, op = "max"}
// CHECK-NEXT:    nc.tensor_tensor dst = %[[TOTAL]]{{.*}} lhs = %[[TOTAL]]{{.*}} {op = "max"}
// CHECK-NEXT:  }
// CHECK:       nc.reduce {{.*}} src = %{{.*}}[0:2][0][1:8] {axes = 1 : i64, op = "max"}
// CHECK:       nc.dma dst = %1[0][1:2]
func.func @main(%x: tensor<2x8200xf32>) -> tensor<2x1xf32> {
  %0 = nn.reduce_max %x {axes = array<i64: 1>, keepdims = true} : tensor<2x8200xf32> -> tensor<2x1xf32>
  func.return %0 : tensor<2x1xf32>
}

// -----

// A sum of everything uses all partitions first, then adds their 128 sums in one row.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.reduce dst = %{{.*}}[0:128][0][1:1] src = %{{.*}}[0:128][0][1:64] {axes = 1 : i64, op = "add"}
// CHECK:       nc.reduce dst = %{{.*}}[0:1][0][1:1] src = %{{.*}}[0:1][0][1:128] {axes = 1 : i64, op = "add"}
func.func @main(%x: tensor<128x64xf32>) -> tensor<f32> {
  %0 = nn.reduce_sum %x {axes = array<i64: 0, 1>, keepdims = false} : tensor<128x64xf32> -> tensor<f32>
  func.return %0 : tensor<f32>
}

// -----

// Sums of i32: three limbs, whose sums f32 holds, put together in integers.
// CHECK-LABEL: nc.core 0
// CHECK-COUNT-3: nc.reduce {{.*}} {axes = 1 : i64, op = "add"}
// CHECK:         nc.tensor_tensor {{.*}} {engine = "pool", op = "add"}
func.func @main(%x: tensor<100x64xi32>) -> tensor<100xi32> {
  %0 = nn.reduce_sum %x {axes = array<i64: 1>, keepdims = false} : tensor<100x64xi32> -> tensor<100xi32>
  func.return %0 : tensor<100xi32>
}
