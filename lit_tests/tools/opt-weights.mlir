// RUN: rm -rf %t && mkdir -p %t/elsewhere
// RUN: python -c "import numpy as np; from safetensors.numpy import save_file; save_file({'w': np.arange(4, dtype=np.float32)}, r'%t/elsewhere/net.safetensors')"
// RUN: ranvier-opt %s -p 'simplify-shapes' | filecheck %s
// RUN: not ranvier-opt %s -p 'simplify-shapes' --verify-execution 2>&1 | filecheck %s --check-prefix=MISSING
// RUN: ranvier-opt %s -p 'simplify-shapes' --verify-execution --weights %t/elsewhere | filecheck %s

// Bytes are read only when they are needed: passes do not, execution does. Paths start at the folder
// of the file, or at that of --weights.
// CHECK:   nn.weight @w : tensor<4xf32> from "net.safetensors" key "w"
// MISSING: ranvier-opt: {{.*}}net.safetensors: no such weights file {{.*}}[RV0117]
nn.weight @w : tensor<4xf32> from "net.safetensors" key "w"
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = nn.load_weight @w : tensor<4xf32>
  %1 = nn.add %x, %0 : tensor<4xf32>
  func.return %1 : tensor<4xf32>
}
