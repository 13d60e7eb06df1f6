"""Movements by slices and concats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.types import shape_of
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
    slice_along,
)


class DecomposePad(Decomposition[nn.PadOp]):
    """`pad(x, reflect | edge | wrap) -> concat(x's own slices, x)`, one dimension after another

    Cropping is a slice, and comes first.
    """

    def decompose(self, op: nn.PadOp, emit: Emitter) -> SSAValue | None:
        low, high, mode = ints(op.low), ints(op.high), op.mode.data
        if mode == "constant":
            return None
        x = _cropped(op.operand, low, high, emit)
        for axis, (before, after) in enumerate(zip(low, high, strict=True)):
            size = shape_of(x)[axis]
            if max(before, after) > (size - 1 if mode == "reflect" else size) and mode != "edge":
                return None
            if size == 0 and max(before, after) > 0:
                return None
            parts = [
                *([emit(margin(x, axis, mode, before, last=False))] if before > 0 else []),
                x,
                *([emit(margin(x, axis, mode, after, last=True))] if after > 0 else []),
            ]
            if mode == "edge":
                parts = _repeated(parts, before, after)
            if len(parts) > 1:
                x = emit(nn.ConcatOp(*parts, axis=axis))
        return x


def margin(x: SSAValue, axis: int, mode: str, amount: int, *, last: bool) -> nn.SliceOp:
    """What stands before (or after) `x` along an axis; for `edge` one element of it."""
    size = shape_of(x)[axis]
    match mode, last:
        case "reflect", False:
            start, count, step = amount, amount, -1
        case "reflect", _:
            start, count, step = size - 2, amount, -1
        case "wrap", False:
            start, count, step = size - amount, amount, 1
        case "wrap", _:
            start, count, step = 0, amount, 1
        case _:
            start, count, step = (size - 1 if last else 0), 1, 1
    return slice_along(x, axis, start, count, step)


def _repeated(parts: Sequence[SSAValue], before: int, after: int) -> list[SSAValue]:
    first = [parts[0]] * before if before > 0 else []
    last = [parts[-1]] * after if after > 0 else []
    return [*first, parts[1 if before > 0 else 0], *last]


def _cropped(x: SSAValue, low: Sequence[int], high: Sequence[int], emit: Emitter) -> SSAValue:
    if min((*low, *high), default=0) >= 0:
        return x
    starts = [max(0, -amount) for amount in low]
    sizes = [
        size - start - max(0, -amount)
        for size, start, amount in zip(shape_of(x), starts, high, strict=True)
    ]
    return emit(nn.SliceOp(x, starts=starts, sizes=sizes, steps=[1] * len(sizes)))


class DecomposeTrilu(Decomposition[nn.TriluOp]):
    """`trilu(x) -> select(column - row >= diagonal, x, 0)`, or `<=` for the lower triangle"""

    def decompose(self, op: nn.TriluOp, emit: Emitter) -> SSAValue | None:
        rows, columns = shape_of(op.operand)[-2:]
        if 4 * max(rows, columns) > nn.constant.DENSE_LIMIT:
            return None
        diagonal = int(op.get("diagonal"))
        row = emit(nn.ConstantOp(np.arange(rows, dtype=np.int32)[:, None] + diagonal))
        column = emit(nn.ConstantOp(np.arange(columns, dtype=np.int32)))
        compare = nn.GreaterEqualOp if op.get("upper") else nn.LessEqualOp
        kept = emit(compare(column, row))
        return emit(nn.SelectOp(kept, op.operand, emit.scalar(0, op.operand)))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (DecomposePad(), DecomposeTrilu())
