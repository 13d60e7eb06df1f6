// RUN: ranvier-opt %s --verify-diagnostics --parsing-diagnostics --split-input-file | filecheck %s

// CHECK: @p has cores 0, 1, … in order, got [1]
nc.program @p on "inf2" {
  nc.core 1 {
  }
}

// -----

// CHECK: a loop runs at least once, got 0
nc.program @p on "inf2" {
  nc.core 0 {
    nc.loop 0 {
    }
  }
}

// -----

// CHECK: loops nest at most 4 deep
nc.program @p on "inf2" {
  nc.core 0 {
    nc.loop 2 { nc.loop 2 { nc.loop 2 { nc.loop 2 { nc.loop 2 {
    } } } } }
  }
}

// -----

// CHECK: a tensor is input, output or weight, not scratch
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.tensor scratch 0 : !nc.dram<4xf32>
  }
}

// -----

// CHECK: a weight has a symbol, an input or output has a number
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.tensor weight 0 : !nc.dram<4xf32>
  }
}

// -----

// CHECK: a tensor is in DRAM, got !nc.sbuf<4x4xf32>
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.tensor input 0 : !nc.sbuf<4x4xf32>
  }
}

// -----

// CHECK: address 100 starts no PSUM bank
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc at 100 : !nc.psum<4x4xf32>
  }
}

// -----

// CHECK: 2052 bytes per partition exceed a PSUM bank of 2048
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.psum<4x513xf32>
  }
}

// -----

// CHECK: 129 partitions exceed 128
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<129x4xf32>
  }
}

// -----

// CHECK: the machine has no i64; it has f32, bf16, f16, i32, i16, i8, ui8
nc.program @p on "inf2" {
  nc.core 0 {
    %t = nc.alloc : !nc.sbuf<12x4xi64>
  }
}
