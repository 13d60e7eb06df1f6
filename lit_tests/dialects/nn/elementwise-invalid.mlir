// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: shapes do not broadcast: 4, 3
func.func @main(%x: tensor<4xf32>, %y: tensor<3xf32>) {
  %r = nn.add %x, %y : tensor<4xf32>, tensor<3xf32> -> tensor<4xf32>
  func.return
}

// -----

// CHECK: element types differ: tensor<4xf32> and tensor<4xbf16>
func.func @main(%x: tensor<4xf32>, %y: tensor<4xbf16>) {
  %r = nn.mul %x, %y : tensor<4xf32>, tensor<4xbf16> -> tensor<4xf32>
  func.return
}

// -----

// CHECK: nn.exp takes floats, got tensor<4xi64>
func.func @main(%x: tensor<4xi64>) {
  %r = nn.exp %x : tensor<4xi64>
  func.return
}

// -----

// CHECK: nn.less gives tensor<4xi1>, declared as tensor<4xf32>
func.func @main(%x: tensor<4xf32>) {
  %r = nn.less %x, %x : tensor<4xf32>
  func.return
}

// -----

// CHECK: nn.and takes integers or truth values, got f32
func.func @main(%x: tensor<4xf32>) {
  %r = nn.and %x, %x : tensor<4xf32>
  func.return
}

// -----

// CHECK: the condition is of truth values, got tensor<4xf32>
func.func @main(%x: tensor<4xf32>) {
  %r = nn.select %x, %x, %x : tensor<4xf32>
  func.return
}

// -----

// CHECK: approximate is none or tanh, got fast
func.func @main(%x: tensor<4xf32>) {
  %r = nn.gelu %x {approximate = "fast"} : tensor<4xf32>
  func.return
}

// -----

// CHECK: halves is even or down, got up
func.func @main(%x: tensor<4xf32>) {
  %r = nn.round %x {halves = "up"} : tensor<4xf32>
  func.return
}

// -----

// CHECK: nn.relu has a dynamic dimension in tensor<?xf32>
func.func @main(%x: tensor<?xf32>) {
  %r = nn.relu %x : tensor<?xf32>
  func.return
}

// -----

// CHECK: no tensor of nn holds i4
func.func @main(%x: tensor<4xf32>) {
  %r = nn.cast %x {to = i4} : tensor<4xf32> -> tensor<4xi4>
  func.return
}

// -----

// CHECK: one type for all operands and the result, or `->`
func.func @main(%x: tensor<4xf32>) {
  %r = nn.add %x, %x : tensor<4xf32>, tensor<4xf32>
  func.return
}
