// RUN: ranvier-opt %s -p 'segment,lower-nn-to-nc' --split-input-file | filecheck %s

// 128 indices at a time stand on the partitions, and the DMA brings the rows that they name.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.loop 3 {
// CHECK-NEXT:    %[[INDEX:.*]] = nc.alloc : !nc.sbuf<128x1xi32>
// CHECK-NEXT:    nc.dma dst = %[[INDEX]][0:128][0 + i0*0][1:1] src = %1[0 + i0*128][1:128]
// CHECK:         nc.dma_gather dst = %[[ROWS:.*]][0:128][0 + i0*0][1:5] src = %0[0 + i0*0][5:999, 1:5] index = %[[INDEX]]
// CHECK:         nc.dma dst = %2[0 + i0*640][1:640] src = %[[ROWS]]
func.func @main(%table: tensor<999x5xf32>, %ids: tensor<384xi32>) -> tensor<384x5xf32> {
  %0 = nn.gather %table, %ids {axis = 0 : i64} : tensor<999x5xf32>, tensor<384xi32> -> tensor<384x5xf32>
  func.return %0 : tensor<384x5xf32>
}

// -----

// Each part of an index tuple is looked up in a table of the offsets that it stands for, which checks
// its range; the table itself is one of 12 rows.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.dma_gather dst = %[[FIRST:.*]][0:7]{{.*}} src = %{{.*}}[0][1:3, 1:1]
// CHECK:       nc.dma_gather dst = %[[SECOND:.*]][0:7]{{.*}} src = %{{.*}}[0][1:4, 1:1]
// CHECK:       nc.tensor_tensor dst = %{{.*}} lhs = %[[FIRST]]{{.*}} rhs = %[[SECOND]]{{.*}} {op = "add"}
// CHECK:       nc.dma_gather dst = %{{.*}}[0:7][0][1:5] src = %0[0][5:12, 1:5]
func.func @main(%x: tensor<3x4x5xf32>, %ids: tensor<7x2xi32>) -> tensor<7x5xf32> {
  %0 = nn.gather_nd %x, %ids {batch = 0 : i64} : tensor<3x4x5xf32>, tensor<7x2xi32> -> tensor<7x5xf32>
  func.return %0 : tensor<7x5xf32>
}

// -----

// A sum at indices takes one update after another: its row is read, added to and written.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.dma dst = %3[0][1:20] src = %0[0][1:20]
// CHECK:       nc.loop 6 {
// CHECK:         nc.dma_gather dst = %[[OLD:.*]][0:1]{{.*}} src = %3
// CHECK:         nc.tensor_tensor dst = %[[NEW:.*]][0:1]{{.*}} lhs = %[[OLD]]{{.*}} {op = "add"}
// CHECK:         nc.dma_scatter dst = %3[0 + i0*0][5:4, 1:5] src = %[[NEW]]
func.func @main(%x: tensor<4x5xf32>, %ids: tensor<6x1xi32>, %u: tensor<6x5xf32>) -> tensor<4x5xf32> {
  %0 = nn.scatter_nd %x, %ids, %u {reduction = "add"} : tensor<4x5xf32>, tensor<6x1xi32>, tensor<6x5xf32> -> tensor<4x5xf32>
  func.return %0 : tensor<4x5xf32>
}

// -----

// The best element of each line, then the next best: a loop of k turns.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.loop 5 {
// CHECK:         nc.reduce dst = %[[PEAK:.*]][0:8][0 + i0*1][5:1] src = %[[X:.*]][0:8][0 + i0*0][100:1, 1:100] {axes = 1 : i64, op = "max"}
// CHECK:         nc.copy_predicated dst = %[[X]]
func.func @main(%x: tensor<8x100xf32>) -> tensor<8x5xf32> {
  %0, %1 = nn.top_k %x {axis = 1 : i64, k = 5 : i64, largest = true} : tensor<8x100xf32> -> tensor<8x5xf32>, tensor<8x5xi32>
  func.return %0 : tensor<8x5xf32>
}
