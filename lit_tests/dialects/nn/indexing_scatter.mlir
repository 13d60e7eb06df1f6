// RUN: RANVIER_ROUNDTRIP

// Updates replace what stands at their indices, or are combined with it.
// CHECK-LABEL: @main
// CHECK-NEXT:  nn.scatter_elements %x, %i, %u {axis = 1 : i64, reduction = "add"} : tensor<4x8xf32>, tensor<4x2xi64>, tensor<4x2xf32> -> tensor<4x8xf32>
// CHECK-NEXT:  nn.scatter_nd %x, %j, %v {reduction = "none"} : tensor<4x8xf32>, tensor<3x1xi32>, tensor<3x8xf32> -> tensor<4x8xf32>
// CHECK-NEXT:  nn.tensor_scatter %x, %u, %s {axis = 1 : i64, circular = true} : tensor<4x8xf32>, tensor<4x2xf32>, tensor<4xi64> -> tensor<4x8xf32>
func.func @main(%x: tensor<4x8xf32>, %i: tensor<4x2xi64>, %u: tensor<4x2xf32>, %j: tensor<3x1xi32>, %v: tensor<3x8xf32>, %s: tensor<4xi64>) {
  %0 = nn.scatter_elements %x, %i, %u {axis = 1 : i64, reduction = "add"} : tensor<4x8xf32>, tensor<4x2xi64>, tensor<4x2xf32> -> tensor<4x8xf32>
  %1 = nn.scatter_nd %x, %j, %v {reduction = "none"} : tensor<4x8xf32>, tensor<3x1xi32>, tensor<3x8xf32> -> tensor<4x8xf32>
  %2 = nn.tensor_scatter %x, %u, %s {axis = 1 : i64, circular = true} : tensor<4x8xf32>, tensor<4x2xf32>, tensor<4xi64> -> tensor<4x8xf32>
  func.return
}
