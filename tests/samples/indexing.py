"""Elements by index: constants lower as slices, others stay on the host."""

from __future__ import annotations

from typing import Any

from xdsl.dialects.builtin import bf16, f32, i32, i64
from xdsl.ir import Attribute

from ranvier.dialects import nn
from samples import BOTH, Array, Operand, Sample, const
from samples.oracles import by_onnx

Shape = tuple[int, ...]


def gathered(x: Array, indices: Array, *, axis: int) -> Array:
    return by_onnx("Gather", x, indices.astype("int64"), axis=axis)


def gather(
    shape: Shape, indices: Operand, axis: int, element: Attribute = f32, **kw: Any
) -> Sample:
    return Sample(nn.GatherOp, (Operand(shape, element), indices), gathered, {"axis": axis}, **kw)


SAMPLES = [
    gather((129, 5), const(Operand((4,), i64, -129, 128)), 0),
    gather((3, 7), const(Operand((2, 2), i32, 0, 6)), 1, bf16),
    gather((2, 5, 3), const(Operand((), i64, 3, 3)), 1),
    gather((17, 3), Operand((8, 5), i64, -17, 16), 0, host=BOTH),
    gather((4, 9), Operand((3,), i32, 0, 8), 1, host=BOTH),
    # More runs of indices than slices are worth.
    gather((40, 2), const(Operand((65,), i64, 0, 39)), 0, host=BOTH),
]
