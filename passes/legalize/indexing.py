"""Gathers whose indices are constants."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import dtype_of, element_of, shape_of
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
    constant_array,
    slice_along,
)

PIECES = 16
"""A gather of more runs of indices than this stays a gather."""


class GatherByConstant(Decomposition[nn.GatherOp]):
    """`gather(x, [3, 4, 5, 0]) -> concat(x[3:6], x[0:1])`, for a few runs of equal steps"""

    def decompose(self, op: nn.GatherOp, emit: Emitter) -> SSAValue | None:
        indices, axis = constant_array(op.indices), int(op.get("axis"))
        shape = shape_of(op.operand)
        if indices is None or not indices.size:
            return None
        runs = equal_steps([int(i) % shape[axis] for i in indices.reshape(-1)])
        if len(runs) > PIECES:
            return None
        parts = [emit(slice_along(op.operand, axis, *run)) for run in runs]
        joined = parts[0] if len(parts) == 1 else emit(nn.ConcatOp(*parts, axis=axis))
        return emit(nn.ReshapeOp(joined, shape=shape_of(op.result)))


def equal_steps(indices: list[int]) -> list[tuple[int, int, int]]:
    """Indices as runs of `start, count, step`; the step is 1 or more."""
    runs: list[tuple[int, int, int]] = []
    for index in indices:
        if runs:
            start, count, step = runs[-1]
            if count == 1 and index > start:
                runs[-1] = (start, 2, index - start)
                continue
            if count > 1 and index == start + count * step:
                runs[-1] = (start, count + 1, step)
                continue
        runs.append((index, 1, 1))
    return runs


class DecomposeOneHot(Decomposition[nn.OneHotOp]):
    """`one_hot(i) -> select(p == [0, 1, …], on, off)` with `p = select(i < 0, i + depth, i)`"""

    def decompose(self, op: nn.OneHotOp, emit: Emitter) -> SSAValue | None:
        axis, depth, indices = int(op.get("axis")), int(op.get("depth")), op.indices
        dtype = dtype_of(element_of(indices))
        if depth * dtype.itemsize > nn.constant.DENSE_LIMIT:
            return None
        shape = shape_of(indices)
        column = emit(nn.ReshapeOp(indices, shape=(*shape[:axis], 1, *shape[axis:])))
        negative = emit(nn.LessOp(column, emit.scalar(0, column)))
        from_end = emit(nn.AddOp(column, emit.scalar(depth, column)))
        place = emit(nn.SelectOp(negative, from_end, column))
        places = np.arange(depth, dtype=dtype).reshape(-1, *(1,) * (len(shape) - axis))
        equal = emit(nn.EqualOp(place, emit(nn.ConstantOp(places))))
        return emit(nn.SelectOp(equal, op.on, op.off))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (GatherByConstant(), DecomposeOneHot())
