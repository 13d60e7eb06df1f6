// RUN: ranvier-opt %s -p cast-bf16 | filecheck %s
// RUN: ranvier-opt %s -p 'cast-bf16{mode=matmult-fp16}' | filecheck %s --check-prefix=PRODUCTS
// RUN: ranvier-opt %s -p 'cast-bf16{keep="nn.tanh","nn.matmul"}' | filecheck %s --check-prefix=KEEP
// RUN: xdsl-opt %s -p 'cast-bf16{mode=none}' | filecheck %s --check-prefix=NONE

// A product takes narrow operands and accumulates in f32; what follows stays narrow; statistics
// stay wide; the signature keeps its types.
// CHECK-LABEL: @f32_model
// CHECK-NEXT:  %[[X:.*]] = nn.cast %x {implicit, to = bf16} : tensor<4x8xf32> -> tensor<4x8xbf16>
// CHECK-NEXT:  %[[W:.*]] = nn.cast %w {implicit, to = bf16} : tensor<8x8xf32> -> tensor<8x8xbf16>
// CHECK-NEXT:  %[[P:.*]] = nn.matmul %[[X]], %[[W]] : tensor<4x8xbf16>, tensor<8x8xbf16> -> tensor<4x8xf32>
// CHECK-NEXT:  %[[N:.*]] = nn.cast %[[P]] {implicit, to = bf16} : tensor<4x8xf32> -> tensor<4x8xbf16>
// CHECK-NEXT:  %[[R:.*]] = nn.relu %[[N]] : tensor<4x8xbf16>
// CHECK-NEXT:  %[[T:.*]] = nn.tanh %[[R]] : tensor<4x8xbf16>
// CHECK-NEXT:  %[[B:.*]] = nn.cast %[[T]] {implicit, to = f32} : tensor<4x8xbf16> -> tensor<4x8xf32>
// CHECK-NEXT:  %[[S:.*]] = nn.softmax %[[B]] {axis = 1 : i64} : tensor<4x8xf32>
// CHECK-NEXT:  func.return %[[S]] : tensor<4x8xf32>

// PRODUCTS-LABEL: @f32_model
// PRODUCTS:       nn.matmul %{{.*}}, %{{.*}} : tensor<4x8xf16>, tensor<8x8xf16> -> tensor<4x8xf32>
// PRODUCTS-NEXT:  nn.relu %{{.*}} : tensor<4x8xf32>

// KEEP-LABEL: @f32_model
// KEEP-NEXT:  nn.matmul %x, %w {ranvier.keep = "f32"} : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
// KEEP:       nn.relu %{{.*}} : tensor<4x8xbf16>
// KEEP:       nn.tanh %{{.*}} {ranvier.keep = "f32"} : tensor<4x8xf32>

// NONE-LABEL: @f32_model
// NONE-NEXT:  nn.matmul
// NONE-NEXT:  nn.relu %{{.*}} : tensor<4x8xf32>
// NONE-NOT:   nn.cast %x
func.func @f32_model(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.matmul %x, %w : tensor<4x8xf32>, tensor<8x8xf32> -> tensor<4x8xf32>
  %1 = nn.relu %0 : tensor<4x8xf32>
  %2 = nn.tanh %1 : tensor<4x8xf32>
  %3 = nn.softmax %2 {axis = 1 : i64} : tensor<4x8xf32>
  func.return %3 : tensor<4x8xf32>
}

// Models in bf16 and f16, and integers, run as they are; a cast of the model is untouched.
// CHECK-LABEL: @narrow_model
// CHECK-NEXT:  nn.matmul %x, %x : tensor<4x4xbf16>
// CHECK-NEXT:  nn.add %i, %i : tensor<4xi64>
// CHECK-NEXT:  nn.cast %{{.*}} {to = f32} : tensor<4x4xbf16> -> tensor<4x4xf32>
// CHECK-NEXT:  func.return
func.func @narrow_model(%x: tensor<4x4xbf16>, %i: tensor<4xi64>) -> (tensor<4x4xf32>, tensor<4xi64>) {
  %0 = nn.matmul %x, %x : tensor<4x4xbf16>
  %1 = nn.add %i, %i : tensor<4xi64>
  %2 = nn.cast %0 {to = f32} : tensor<4x4xbf16> -> tensor<4x4xf32>
  func.return %2, %1 : tensor<4x4xf32>, tensor<4xi64>
}

// A comparison gives truth values, which need no cast back; a bias joins the f32 sum.
// CHECK-LABEL: @others
// CHECK:       nn.less %{{.*}}, %{{.*}} : tensor<4x4xbf16>, tensor<4x4xbf16> -> tensor<4x4xi1>
// CHECK-NEXT:  nn.gemm %{{.*}}, %{{.*}}, %b {{.*}} : tensor<4x4xbf16>, tensor<4x4xbf16>, tensor<4xf32> -> tensor<4x4xf32>
// CHECK-NEXT:  func.return
func.func @others(%x: tensor<4x4xf32>, %b: tensor<4xf32>) -> (tensor<4x4xi1>, tensor<4x4xf32>) {
  %0 = nn.less %x, %x : tensor<4x4xf32>, tensor<4x4xf32> -> tensor<4x4xi1>
  %1 = nn.gemm %x, %x, %b {alpha = 1.0 : f64, beta = 1.0 : f64, transpose_lhs = false, transpose_rhs = false} : tensor<4x4xf32>, tensor<4x4xf32>, tensor<4xf32> -> tensor<4x4xf32>
  func.return %0, %1 : tensor<4x4xi1>, tensor<4x4xf32>
}

// Constants of finite numbers stay finite; values of the program follow IEEE 754.
// CHECK-LABEL: @constants
// CHECK:       nn.cast %{{.*}} {implicit, saturate, to = bf16} : tensor<f32> -> tensor<bf16>
// CHECK-NEXT:  nn.cast %x {implicit, to = bf16}
func.func @constants(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = nn.constant dense<-3.40282347e+38> : tensor<f32>
  %1 = nn.mul %0, %x : tensor<f32>, tensor<4xf32> -> tensor<4xf32>
  func.return %1 : tensor<4xf32>
}
