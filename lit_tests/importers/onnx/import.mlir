// RUN: python -c "import onnx, onnx.parser; onnx.save(onnx.parser.parse_model(open('%S/Inputs/small.onnxtxt').read()), '%t.onnx')"
// RUN: ranvier import %t.onnx --shape x=2x4x8x16 | filecheck %s

// Names of inputs and outputs, and each op's location, are the model's.
// CHECK:      func.func @main(%x: tensor<2x4x8x16xf32> {ranvier.name = "x"}{{.*}}) -> (tensor<2x16xf32> {ranvier.name = "y"}) {

// SAME_UPPER of an even size pads nothing.
// CHECK:      nn.max_pool %x {{.*}}padding = array<i64: 0, 0, 0, 0>{{.*}} -> tensor<2x4x4x8xf32> loc("pool"("MaxPool":17:0))

// A negative axis becomes a positive one, a dimension of -1 a number, a missing bound no bound.
// CHECK:      nn.reduce_mean {{.*}}axes = array<i64: 3>, keepdims = false{{.*}} loc("mean"("ReduceMean":17:2))
// CHECK:      nn.reshape {{.*}}shape = array<i64: 2, 16>
// CHECK:      nn.clamp {{.*}}high = 6.000000e+00 : f64}

// What nn has no op for keeps its name and stays runnable; an identity leaves no op.
// CHECK:      nn.opaque "ONNX" "Bernoulli" version 17
// CHECK-NOT:  Identity
// CHECK:      func.return
