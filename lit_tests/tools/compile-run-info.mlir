// RUN: python -c "import onnx, onnx.parser; onnx.save(onnx.parser.parse_model(open('%S/Inputs/affine.onnxtxt').read()), '%t.onnx')"
// RUN: python -c "import numpy; numpy.save('%t.x.npy', numpy.array([[1, 0, -1], [0, 2, 0]], 'f4'))"

// A report for a person has the originals' counts, then what was written.
// RUN: ranvier compile %t.onnx -o %t.neff --fallback error | filecheck %s --check-prefix COMPILE
// COMPILE:      Number of operations in original model: 3
// COMPILE-NEXT: Number of operations in compiled model: 1
// COMPILE-NEXT: Number of Neuron subgraphs in compiled model: 1
// COMPILE-NEXT: Number of operations placed on Neuron runtime: 3

// The machine has counted 2 * 3 * 4 products.
// RUN: env RANVIER_KERNELS=numpy ranvier run %t.neff --input x=%t.x.npy --output-dir %t.out --json | filecheck %s --check-prefix EXECUTED
// EXECUTED: "provider": "numpy"
// EXECUTED: "macs": 24

// relu([1 - 9, 2 - 10 + 1, …]) and relu([10, 12 + 1, 14, 16 + 1])
// RUN: python -c "import numpy; print(numpy.load('%t.out/y.npy').tolist())" | filecheck %s --check-prefix VALUES
// VALUES: {{\[\[0.0, 0.0, 0.0, 0.0\], \[10.0, 13.0, 14.0, 17.0\]\]}}

// RUN: ranvier info %t.neff | filecheck %s --check-prefix INFO
// INFO: Target: {{.*}}inf2
// INFO: input {{.*}} x {{.*}} 2x3 {{.*}} float32
// INFO: output {{.*}} y {{.*}} 2x4 {{.*}} float32

// The passes that would run, as text that ranvier-opt takes.
// RUN: ranvier compile %t.onnx --print-pipeline | filecheck %s --check-prefix PIPELINE
// PIPELINE: legalize{target=inf2},merge-products,cast-bf16{mode=all}{{.*}}lower-nn-to-nc,keep-on-chip,double-buffer,allocate,schedule
