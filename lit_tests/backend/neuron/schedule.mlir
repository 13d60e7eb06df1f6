// RUN: ranvier-opt %s -p 'allocate,schedule' --split-input-file | filecheck %s

// A wait follows from bytes: the activation waits for the load of its operand, the store for the
// activation. Loads, stores and copies inside DRAM have queues of their own.
// CHECK-LABEL: nc.program @chain
// CHECK:         nc.dma {{.*}} {queue = 0 : i64}{{$}}
// CHECK:         nc.activation {{.*}} wait(q0 >= 1)
// CHECK:         nc.dma dst = %{{.*}} src = %{{.*}} {queue = 8 : i64} wait(act >= 1)
// CHECK:         nc.dma {{.*}} {queue = 12 : i64}{{$}}
nc.program @chain on "inf2" {
  nc.core 0 {
    %in = nc.tensor input 0 : !nc.dram<1280xf32>
    %out = nc.tensor output 0 : !nc.dram<1280xf32>
    %more = nc.tensor output 1 : !nc.dram<1280xf32>
    %0 = nc.alloc : !nc.sbuf<128x10xf32>
    nc.dma dst = %0[0:128][0][1:10] src = %in[0][1:1280]
    %1 = nc.alloc : !nc.sbuf<128x10xf32>
    nc.activation dst = %1[0:128][0][1:10] src = %0[0:128][0][1:10] {func = "exp", scale = 1.0 : f64}
    nc.dma dst = %out[0][1:1280] src = %1[0:128][0][1:10]
    nc.dma dst = %more[0][1:1280] src = %in[0][1:1280]
  }
}

// -----

// A stream keeps its own order: two ops of one engine need no wait for each other.
// CHECK-LABEL: nc.program @one_engine
// CHECK-NOT:     wait
nc.program @one_engine on "inf2" {
  nc.core 0 {
    %0 = nc.alloc : !nc.sbuf<128x10xf32>
    nc.memset dst = %0[0:128][0][1:10] {value = 0.0 : f64}
    nc.copy dst = %0[0:128][5][1:5] src = %0[0:128][0][1:5]
  }
}

// -----

// In a loop the count grows with the turn: turn i0 of the activation waits for load i0 + 1, and the
// load of turn i0 for the activation of the turn before, which still reads the buffer.
// CHECK-LABEL: nc.program @loop
// CHECK:         nc.loop 3 {
// CHECK:           nc.dma {{.*}} {queue = 0 : i64} wait(act >= 0 + i0*1)
// CHECK:           nc.activation {{.*}} wait(q0 >= 1 + i0*1
// CHECK:           nc.dma {{.*}} {queue = 8 : i64} wait(act >= 1 + i0*1)
nc.program @loop on "inf2" {
  nc.core 0 {
    %in = nc.tensor input 0 : !nc.dram<3840xf32>
    %out = nc.tensor output 0 : !nc.dram<3840xf32>
    nc.loop 3 {
      %0 = nc.alloc : !nc.sbuf<128x10xf32>
      nc.dma dst = %0[0:128][0 + i0*0][1:10] src = %in[0 + i0*1280][1:1280]
      %1 = nc.alloc : !nc.sbuf<128x10xf32>
      nc.activation dst = %1[0:128][0 + i0*0][1:10] src = %0[0:128][0 + i0*0][1:10] {func = "exp", scale = 1.0 : f64}
      nc.dma dst = %out[0 + i0*1280][1:1280] src = %1[0:128][0 + i0*0][1:10]
    }
  }
}

// -----

// Without a program there is nothing to schedule.
// CHECK-LABEL: func.func @main
// CHECK-NEXT:    nn.relu
func.func @main(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nn.relu %x : tensor<4x8xf32>
  func.return %0 : tensor<4x8xf32>
}
