// RUN: ranvier-opt %s -p 'segment,lower-nn-to-nc{relayout=exact}' | filecheck %s
// RUN: not ranvier-opt %s -p 'segment,lower-nn-to-nc{relayout=slow}' 2>&1 | filecheck %s --check-prefix=INVALID

// An exact transpose is a DMA of single elements: it moves bytes, whatever they mean.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.dma dst = %{{.*}}[0:128][0][1:1500] src = %0[0][1:128, 128:5, 640:300]
// CHECK-NOT:   nc.transpose
// INVALID:     relayout of lower-nn-to-nc is fast or exact, got 'slow'
func.func @main(%x: tensor<300x640xbf16>, %y: tensor<640x700xbf16>) -> tensor<300x700xf32> {
  %0 = nn.matmul %x, %y : tensor<300x640xbf16>, tensor<640x700xbf16> -> tensor<300x700xf32>
  func.return %0 : tensor<300x700xf32>
}
