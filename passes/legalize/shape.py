"""Movements by slices and concats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.types import shape_of
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
)
from ranvier.passes.legalize.indexing import concat_of_runs, equal_steps


class DecomposePad(Decomposition[nn.PadOp]):
    """`pad(x, reflect | edge | wrap) -> concat(runs of x)`, one dimension after another

    NumPy pads the places of a dimension; runs of equal steps among them are slices and repetitions.
    Cropping comes first.
    """

    def decompose(self, op: nn.PadOp, emit: Emitter) -> SSAValue | None:
        low, high, mode = ints(op.low), ints(op.high), op.mode.data
        if mode == "constant":
            return None
        x = _cropped(op.operand, low, high, emit)
        for axis, margins in enumerate(zip(low, high, strict=True)):
            before, after = (max(0, amount) for amount in margins)
            size = shape_of(x)[axis]
            if not before and not after:
                continue
            if not size:
                return None
            pad: Any = mode
            places = np.pad(np.arange(size), (before, after), mode=pad)
            x = concat_of_runs(x, axis, equal_steps(places.tolist()), emit)
        return x


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
        diagonal = emit(nn.ConstantOp(np.array(op.get("diagonal"), np.int64)))
        row = emit(nn.AddOp(places(rows, emit), diagonal))
        row, column = emit(nn.ReshapeOp(row, shape=(rows, 1))), places(columns, emit)
        compare = nn.GreaterEqualOp if op.get("upper") else nn.LessEqualOp
        kept = emit(compare(column, row))
        return emit(nn.SelectOp(kept, op.operand, emit.scalar(0, op.operand)))


def places(count: int, emit: Emitter) -> SSAValue:
    """`0, 1, 2, …` as an expression that folds, so that no long constant is written."""
    ones = emit(nn.BroadcastOp(emit(nn.ConstantOp(np.array(1, np.int64))), shape=(count,)))
    return emit(nn.CumSumOp(ones, axis=0, exclusive=True, reverse=False))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (DecomposePad(), DecomposeTrilu())
