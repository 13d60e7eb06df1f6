// RUN: ranvier-opt %s -p 'segment,lower-nn-to-nc' --split-input-file | filecheck %s

// A flat tensor is folded so that it fills the 128 partitions, whatever its rows were.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.dma dst = %[[IN:.*]][0:128][0][1:258] src = %0[0][1:33024]
// CHECK:       nc.activation dst = %[[OUT:.*]][0:128][0][1:258] src = %[[IN]][0:128][0][1:258] {func = "exp", scale = 1.000000e+00 : f64}
// CHECK-NEXT:  nc.dma dst = %1[0][1:33024] src = %[[OUT]][0:128][0][1:258]
func.func @main(%x: tensor<129x256xbf16>) -> tensor<129x256xbf16> {
  %0 = nn.exp %x : tensor<129x256xbf16>
  func.return %0 : tensor<129x256xbf16>
}

// -----

// A number of the model is in the instruction; on the left of a difference the order is reversed.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.tensor_scalar {{.*}} {op0 = "subtract", reverse0 = true, scalar0 = 2.000000e+00 : f64}
// CHECK-NOT:   nc.memset
func.func @main(%x: tensor<100x64xf32>) -> tensor<100x64xf32> {
  %k = nn.constant dense<2.0> : tensor<f32>
  %0 = nn.sub %k, %x : tensor<f32>, tensor<100x64xf32> -> tensor<100x64xf32>
  func.return %0 : tensor<100x64xf32>
}

// -----

// One factor per row stays one element per partition: it is not spread over a tile.
// CHECK-LABEL: nc.core 0
// CHECK:       %[[COLUMN:.*]] = nc.alloc : !nc.sbuf<100x1xf32>
// CHECK-NEXT:  nc.dma dst = %[[COLUMN]][0:100][0][1:1] src = %1[0][1:100]
// CHECK:       nc.tensor_scalar {{.*}} operand0 = %[[COLUMN]][0:100][0][1:1] {op0 = "mult"}
func.func @main(%x: tensor<100x64xf32>, %y: tensor<100x1xf32>) -> tensor<100x64xf32> {
  %0 = nn.mul %x, %y : tensor<100x64xf32>, tensor<100x1xf32> -> tensor<100x64xf32>
  func.return %0 : tensor<100x64xf32>
}

// -----

// A result of the program ends a chain: it is stored, and the next op reads it from there.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.activation {{.*}} {func = "exp"
// CHECK-NEXT:  nc.dma dst = %1[0][1:1024]
// CHECK:       nc.dma dst = %[[AGAIN:.*]][0:128][0][1:8] src = %1[0][1:1024]
// CHECK:       nc.activation {{.*}} src = %[[AGAIN]]{{.*}} {func = "tanh"
func.func @main(%x: tensor<16x64xf32>) -> (tensor<16x64xf32>, tensor<16x64xf32>) {
  %0 = nn.exp %x : tensor<16x64xf32>
  %1 = nn.tanh %0 : tensor<16x64xf32>
  func.return %0, %1 : tensor<16x64xf32>, tensor<16x64xf32>
}

// -----

// Truth values are bytes; a choice is a copy and a predicated copy over it.
// CHECK-LABEL: nc.core 0
// CHECK-NEXT:  nc.tensor input 0 : !nc.dram<1024xui8>
// CHECK:       nc.copy dst = %[[OUT:.*]][0:128][0][1:8] src
// CHECK-NEXT:  nc.copy_predicated dst = %[[OUT]][0:128][0][1:8] {{.*}} predicate = %{{.*}}[0:128][0][1:8]
func.func @main(%c: tensor<16x64xi1>, %x: tensor<16x64xf32>, %y: tensor<16x64xf32>) -> tensor<16x64xf32> {
  %0 = nn.select %c, %x, %y : tensor<16x64xi1>, tensor<16x64xf32>, tensor<16x64xf32> -> tensor<16x64xf32>
  func.return %0 : tensor<16x64xf32>
}

// -----

// i32 is added exactly: by the engine that has integers.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.tensor_tensor {{.*}} {engine = "pool", op = "add"}
// CHECK-NOT:   nc.tensor_tensor
func.func @main(%x: tensor<100x64xi32>, %y: tensor<100x64xi32>) -> tensor<100x64xi32> {
  %0 = nn.add %x, %y : tensor<100x64xi32>
  func.return %0 : tensor<100x64xi32>
}

// -----

// A core without that engine adds halves, whose sums f32 holds, and carries.
// CHECK-LABEL: nc.core 0
// CHECK-NOT:   pool
// CHECK:       nc.tensor_scalar {{.*}} {op0 = "bitwise_and", scalar0 = 6.553500e+04 : f64}
// CHECK:       nc.tensor_tensor {{.*}} {op = "add"}
// CHECK:       nc.tensor_scalar {{.*}} {op0 = "logical_shift_right", scalar0 = 1.600000e+01 : f64}
// CHECK:       nc.tensor_tensor {{.*}} {op = "bitwise_or"}
builtin.module attributes {ranvier.target = "inf1"} {
  func.func @main(%x: tensor<100x64xi32>, %y: tensor<100x64xi32>) -> tensor<100x64xi32> {
    %0 = nn.add %x, %y : tensor<100x64xi32>
    func.return %0 : tensor<100x64xi32>
  }
}

// -----

// i32 that are equal in f32 differ in a bit.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.tensor_tensor {{.*}} {op = "bitwise_xor"}
// CHECK-NEXT:  nc.tensor_scalar {{.*}} {op0 = "is_equal", scalar0 = 0.000000e+00 : f64}
func.func @main(%x: tensor<100x64xi32>, %y: tensor<100x64xi32>) -> tensor<100x64xi1> {
  %0 = nn.equal %x, %y : tensor<100x64xi32>, tensor<100x64xi32> -> tensor<100x64xi1>
  func.return %0 : tensor<100x64xi1>
}
