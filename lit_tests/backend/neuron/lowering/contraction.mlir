// RUN: ranvier-opt %s -p 'segment,lower-nn-to-nc' --split-input-file | filecheck %s

// Packed: with 3 channels all 27 taps share the partitions, so one matmul does a 3x3 convolution.
// One DMA per kernel row spreads them: channels and columns of the kernel are its outer strides.
// CHECK-LABEL: nc.core 0
// CHECK:       %[[PADDED:.*]] = nc.alloc : !nc.dram<192xbf16>
// CHECK:       nc.dma dst = %[[TAPS:.*]][0:9][0][1:36] src = %[[PADDED]][0][64:3, 1:3, 8:6, 1:6]
// CHECK-NEXT:  nc.dma dst = %[[TAPS]][9:9][0][1:36] src = %[[PADDED]][8][64:3, 1:3, 8:6, 1:6]
// CHECK-NEXT:  nc.dma dst = %[[TAPS]][18:9][0][1:36] src = %[[PADDED]][16][64:3, 1:3, 8:6, 1:6]
// CHECK:       nc.matmul dst = %{{.*}}[0:8][0][1:36] stationary = %{{.*}}[0:27][0][1:8] moving = %[[TAPS]][0:27][0][1:36]
// CHECK-NOT:   nc.matmul
nn.weight @w : tensor<8x3x3x3xbf16> seed 1
func.func @main(%x: tensor<1x3x6x6xbf16>) -> tensor<1x8x6x6xf32> {
  %w = nn.load_weight @w : tensor<8x3x3x3xbf16>
  %0 = nn.conv %x, %w {strides = array<i64: 1, 1>, padding = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, groups = 1 : i64} : tensor<1x3x6x6xbf16>, tensor<8x3x3x3xbf16> -> tensor<1x8x6x6xf32>
  func.return %0 : tensor<1x8x6x6xf32>
}

// -----

// Direct: the image is loaded once, into a margin of zeros; each tap reads it shifted by an access
// pattern. Taps are a loop, not nine matmuls, and only its first turn starts the sum.
// CHECK-LABEL: nc.core 0
// CHECK:       %[[IMAGE:.*]] = nc.alloc : !nc.sbuf<128x64xbf16>
// CHECK-NEXT:  nc.memset dst = %[[IMAGE]][0:128][0][1:64] {value = 0.000000e+00 : f64}
// CHECK-NEXT:  nc.dma dst = %[[IMAGE]][0:128][9][8:6, 1:6] src = %0[0][1:4608]
// CHECK:       nc.loop 3 {
// CHECK-NEXT:    nc.loop 3 {
// CHECK-NEXT:      nc.matmul dst = %{{.*}} stationary = %{{.*}}[0:128][0 + i0*12 + i1*4][1:4] moving = %[[IMAGE]][0:128][0 + i0*8 + i1*1][8:6, 1:6] {first_at = array<i64: 0, 1>}
// CHECK-NOT:   nc.dma dst = %[[IMAGE]]
// CHECK-NOT:   nc.matmul
nn.weight @w : tensor<4x128x3x3xbf16> seed 1
func.func @main(%x: tensor<1x128x6x6xbf16>) -> tensor<1x4x6x6xf32> {
  %w = nn.load_weight @w : tensor<4x128x3x3xbf16>
  %0 = nn.conv %x, %w {strides = array<i64: 1, 1>, padding = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, groups = 1 : i64} : tensor<1x128x6x6xbf16>, tensor<4x128x3x3xbf16> -> tensor<1x4x6x6xf32>
  func.return %0 : tensor<1x4x6x6xf32>
}

// -----

// With 64 channels a second copy of the image, shifted by a column, fills the array: a matmul sums
// two taps, and the third of a kernel row alone.
// CHECK-LABEL: nc.core 0
// CHECK:       %[[IMAGE:.*]] = nc.alloc : !nc.sbuf<128x64xbf16>
// CHECK-NEXT:  nc.memset dst = %[[IMAGE]][0:128][0][1:64] {value = 0.000000e+00 : f64}
// CHECK-NEXT:  nc.dma dst = %[[IMAGE]][0:64][9][8:6, 1:6] src = %0[0][1:2304]
// CHECK-NEXT:  nc.dma dst = %[[IMAGE]][64:64][8][8:6, 1:6] src = %0[0][1:2304]
// CHECK:       nc.loop 3 {
// CHECK-NEXT:    nc.matmul dst = %{{.*}} stationary = %{{.*}}[0:128][0 + i0*8][1:4] moving = %[[IMAGE]][0:128][0 + i0*8][8:6, 1:6] {first_at = array<i64: 0>}
// CHECK-NEXT:    nc.matmul dst = %{{.*}} stationary = %{{.*}}[0:64][4 + i0*8][1:4] moving = %[[IMAGE]][0:64][2 + i0*8][8:6, 1:6]
// CHECK-NOT:   nc.matmul
nn.weight @w : tensor<4x64x3x3xbf16> seed 1
func.func @main(%x: tensor<1x64x6x6xbf16>) -> tensor<1x4x6x6xf32> {
  %w = nn.load_weight @w : tensor<4x64x3x3xbf16>
  %0 = nn.conv %x, %w {strides = array<i64: 1, 1>, padding = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, groups = 1 : i64} : tensor<1x64x6x6xbf16>, tensor<4x64x3x3xbf16> -> tensor<1x4x6x6xf32>
  func.return %0 : tensor<1x4x6x6xf32>
}

// -----

// Bias, relu and the cast leave PSUM with the sum, in one activation.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.matmul
// CHECK-NEXT:  %[[OUT:.*]] = nc.alloc : !nc.sbuf<64x36xbf16>
// CHECK-NEXT:  nc.activation dst = %[[OUT]][0:64][0][1:36] src = %{{.*}} bias = %{{.*}}[0:64][0][1:1] {func = "relu", scale = 1.000000e+00 : f64}
// CHECK-NEXT:  nc.dma dst = %1[0][1:2304] src = %[[OUT]]
nn.weight @w : tensor<64x64x1x1xbf16> seed 1
nn.weight @b : tensor<64xf32> seed 2
func.func @main(%x: tensor<1x64x6x6xbf16>) -> tensor<1x64x6x6xbf16> {
  %w = nn.load_weight @w : tensor<64x64x1x1xbf16>
  %b = nn.load_weight @b : tensor<64xf32>
  %0 = nn.conv %x, %w, %b {strides = array<i64: 1, 1>, padding = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, groups = 1 : i64} : tensor<1x64x6x6xbf16>, tensor<64x64x1x1xbf16>, tensor<64xf32> -> tensor<1x64x6x6xf32>
  %1 = nn.cast %0 {to = bf16} : tensor<1x64x6x6xf32> -> tensor<1x64x6x6xbf16>
  %2 = nn.relu %1 : tensor<1x64x6x6xbf16>
  func.return %2 : tensor<1x64x6x6xbf16>
}

// -----

// A chain of elementwise ops runs on the tile where it is: only the last result is stored.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.activation {{.*}} {func = "copy"
// CHECK:       nc.tensor_tensor dst = %[[SUM:[0-9]+]]{{.*}} {op = "add"}
// CHECK:       nc.activation dst = %[[OUT:[0-9]+]]{{.*}} src = %[[SUM]]{{.*}} {func = "tanh"
// CHECK-NEXT:  nc.dma dst = %2[0][1:2304] src = %[[OUT]]
// CHECK-NOT:   nc.dma
nn.weight @w : tensor<64x64x1x1xbf16> seed 1
func.func @main(%x: tensor<1x64x6x6xbf16>, %y: tensor<1x64x6x6xf32>) -> tensor<1x64x6x6xf32> {
  %w = nn.load_weight @w : tensor<64x64x1x1xbf16>
  %0 = nn.conv %x, %w {strides = array<i64: 1, 1>, padding = array<i64: 0, 0, 0, 0>, dilations = array<i64: 1, 1>, groups = 1 : i64} : tensor<1x64x6x6xbf16>, tensor<64x64x1x1xbf16> -> tensor<1x64x6x6xf32>
  %1 = nn.add %0, %y : tensor<1x64x6x6xf32>
  %2 = nn.tanh %1 : tensor<1x64x6x6xf32>
  func.return %2 : tensor<1x64x6x6xf32>
}

// -----

// A large product is loops over tiles of the result around one over the contracted dimension. The
// left side comes with that dimension inside its rows: the array transposes it, block by block.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.loop 2 {
// CHECK-NEXT:    %[[ROWS:.*]] = nc.alloc : !nc.sbuf<128x640xbf16>
// CHECK-NEXT:    nc.dma dst = %[[ROWS]][0:128][0 + i0*0][1:640] src = %0[0 + i0*81920][1:81920]
// CHECK-NEXT:    nc.loop 5 {
// CHECK-NEXT:      %[[BANK:.*]] = nc.alloc : !nc.psum<128x128xf32>
// CHECK-NEXT:      nc.transpose dst = %[[BANK]][0:128][0 + i0*0 + i1*0][1:128] src = %[[ROWS]][0:128][0 + i0*0 + i1*128][1:128]
// CHECK-NEXT:      nc.activation dst = %[[LEFT:.*]][0:128][0 + i0*128 + i1*300][300:1, 1:128] src = %[[BANK]]{{.*}} {func = "copy"
// CHECK:       nc.transpose
// CHECK:       nc.loop 2 {
// CHECK-NEXT:    nc.alloc : !nc.sbuf<128x1750xbf16>
// CHECK-NEXT:    nc.dma dst = %[[RIGHT:.*]][0:128][0 + i0*0][1:1750] src = %1[0 + i0*350][700:128, 89600:5, 1:350]
// CHECK-NEXT:    nc.loop 3 {
// CHECK-NEXT:      nc.alloc : !nc.psum<100x350xf32>
// CHECK-NEXT:      nc.loop 5 {
// CHECK-NEXT:        nc.matmul {{.*}} stationary = %[[LEFT]][0:128][0 + i0*0 + i1*100 + i2*300][1:100] moving = %[[RIGHT]][0:128][0 + i0*0 + i1*0 + i2*350][1:350] {first_at = array<i64: 2>}
// CHECK-NEXT:      }
// CHECK:           nc.dma dst = %2[0 + i0*350 + i1*70000][700:100, 1:350]
// CHECK-NOT:   nc.matmul
func.func @main(%x: tensor<300x640xbf16>, %y: tensor<640x700xbf16>) -> tensor<300x700xf32> {
  %0 = nn.matmul %x, %y : tensor<300x640xbf16>, tensor<640x700xbf16> -> tensor<300x700xf32>
  func.return %0 : tensor<300x700xf32>
}

// -----

// A remainder of the contracted dimension adds to the sum that the full block started.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.matmul {{.*}} stationary = %[[L:.*]][0:128][0][1:64] moving = %[[R:.*]][0:128][0][1:32] {first_at = array<i64>}
// CHECK-NEXT:  nc.matmul {{.*}} stationary = %[[L]][0:72][64][1:64] moving = %[[R]][0:72][32][1:32]{{$}}
func.func @main(%x: tensor<64x200xbf16>, %y: tensor<200x32xbf16>) -> tensor<64x32xf32> {
  %0 = nn.matmul %x, %y : tensor<64x200xbf16>, tensor<200x32xbf16> -> tensor<64x32xf32>
  func.return %0 : tensor<64x32xf32>
}

// -----

// A batch on the left only is more rows: one matmul.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.matmul dst = %{{.*}}[0:20][0][1:3] stationary = %{{.*}}[0:8][0][1:20]
// CHECK-NOT:   nc.matmul
func.func @main(%x: tensor<4x5x8xbf16>, %y: tensor<8x3xbf16>) -> tensor<4x5x3xf32> {
  %0 = nn.matmul %x, %y : tensor<4x5x8xbf16>, tensor<8x3xbf16> -> tensor<4x5x3xf32>
  func.return %0 : tensor<4x5x3xf32>
}

// -----

// A depthwise convolution has nothing to contract: the vector engine adds a scaled image per tap.
// CHECK-LABEL: nc.core 0
// CHECK-NOT:   nc.matmul
// CHECK:       nc.loop 3 {
// CHECK-NEXT:    nc.loop 3 {
// CHECK-NEXT:      nc.scalar_tensor_tensor {{.*}} operand0 = %{{.*}}[0:64][0 + i0*3 + i1*1][1:1] {op0 = "mult", op1 = "add"}
nn.weight @w : tensor<64x1x3x3xbf16> seed 1
func.func @main(%x: tensor<1x64x6x6xbf16>) -> tensor<1x64x6x6xf32> {
  %w = nn.load_weight @w : tensor<64x1x3x3xbf16>
  %0 = nn.conv %x, %w {strides = array<i64: 1, 1>, padding = array<i64: 1, 1, 1, 1>, dilations = array<i64: 1, 1>, groups = 64 : i64} : tensor<1x64x6x6xbf16>, tensor<64x1x3x3xbf16> -> tensor<1x64x6x6xf32>
  func.return %0 : tensor<1x64x6x6xf32>
}

// -----

// A transposed convolution of stride 2 along the columns is two of stride 1: one with the tap between
// the others, one with those two, here in one matmul. Their results lie two apart.
// CHECK-LABEL: nc.core 0
// CHECK:       nc.matmul {{.*}} moving = %{{.*}}[0:64][0][1:25] {first_at = array<i64>}
// CHECK:       nc.dma dst = %1[0][2:100] src
// CHECK:       nc.matmul {{.*}} moving = %{{.*}}[0:128][0][6:5, 1:5] {first_at = array<i64>}
// CHECK:       nc.dma dst = %1[1][2:100] src
// CHECK-NOT:   nc.matmul
nn.weight @w : tensor<64x4x1x3xbf16> seed 1
func.func @main(%x: tensor<1x64x5x5xbf16>) -> tensor<1x4x5x10xf32> {
  %w = nn.load_weight @w : tensor<64x4x1x3xbf16>
  %0 = nn.conv_transpose %x, %w {strides = array<i64: 1, 2>, padding = array<i64: 0, 1, 0, 0>, dilations = array<i64: 1, 1>, groups = 1 : i64} : tensor<1x64x5x5xbf16>, tensor<64x4x1x3xbf16> -> tensor<1x4x5x10xf32>
  func.return %0 : tensor<1x4x5x10xf32>
}
