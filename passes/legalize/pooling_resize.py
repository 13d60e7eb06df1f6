"""Resampling by broadcasting, slices, gathers and matrix products."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.constant import DENSE_LIMIT
from ranvier.dialects.nn.types import shape_of
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
    slice_along,
)


class ResizeAxisByAxis(Decomposition[nn.ResizeOp]):
    """`resize(x) -> m @ x` for each resized axis, where `m` is `resize` of the identity

    Nearest takes elements as they are: by broadcasting where an axis grows by a whole factor, by a
    slice where steps are regular, else by a gather. What is read beyond the operand under
    `tf_crop_and_resize` comes out as 0, and `resize` of zeros has `outside` there.
    """

    def decompose(self, op: nn.ResizeOp, emit: Emitter) -> SSAValue | None:
        value: SSAValue = op.operand
        crops = op.coordinates.data == "tf_crop_and_resize"
        sizes = zip(shape_of(op.operand), shape_of(op.result), strict=True)
        growth = [new / old for old, new in sizes]
        for axis in sorted(range(len(growth)), key=lambda axis: growth[axis]):
            if crops and op.result_differs(axis):
                value = _multiplied(value, axis, op, emit)
            elif op.mode.data == "nearest":
                value = _taken(value, axis, op.nearest(axis), emit)
            elif op.result_differs(axis):
                value = _multiplied(value, axis, op, emit)
        if crops and op.get("outside", 0.0) and op.is_outside().any():
            value = emit(nn.AddOp(value, _outside(op, emit)))
        return value


def _taken(x: SSAValue, axis: int, places: Array, emit: Emitter) -> SSAValue:
    """The elements of an axis at `places`, which never decrease."""
    shape = shape_of(x)
    n, m = shape[axis], len(places)
    if m % n == 0 and np.array_equal(places, np.arange(m) // max(1, m // n)):
        if m == n:
            return x
        apart = (*shape[: axis + 1], 1, *shape[axis + 1 :])
        grid = (*shape[: axis + 1], m // n, *shape[axis + 1 :])
        spread = emit(nn.BroadcastOp(emit(nn.ReshapeOp(x, shape=apart)), shape=grid))
        return emit(nn.ReshapeOp(spread, shape=(*shape[:axis], m, *shape[axis + 1 :])))
    steps = set(np.diff(places).tolist()) or {1}
    if len(steps) == 1 and min(steps) > 0:
        return emit(slice_along(x, axis, int(places[0]), m, int(steps.pop())))
    most = DENSE_LIMIT // 4
    parts = [
        emit(nn.GatherOp(x, emit(nn.ConstantOp(part.astype(np.int32))), axis=axis))
        for part in np.split(places, range(most, m, most))
    ]
    return emit(nn.ConcatOp(*parts, axis=axis)) if len(parts) > 1 else parts[0]


def _multiplied(x: SSAValue, axis: int, op: nn.ResizeOp, emit: Emitter) -> SSAValue:
    """The axis times the matrix of its resampling, which is a constant."""
    shape, rank = shape_of(x), len(shape_of(x))
    n, m = shape[axis], shape_of(op.result)[axis]
    roi = op.get("roi")
    properties: dict[str, Any] = {
        **op.properties,
        "shape": (m, n),
        "scales": (op.get("scales")[axis], 1.0),
        "roi": None if roi is None else (roi[axis], 0.0, roi[rank + axis], 1.0),
        "outside": 0.0,
    }
    matrix = emit(nn.ResizeOp(_identity(n, x, emit), **properties))
    if axis == rank - 1:
        rows = emit(nn.ReshapeOp(x, shape=(prod(shape[:-1]), n)))
        product = emit(nn.MatmulOp(rows, emit(nn.TransposeOp(matrix, permutation=(1, 0)))))
    else:
        columns = emit(nn.ReshapeOp(x, shape=(prod(shape[:axis]), n, prod(shape[axis + 1 :]))))
        product = emit(nn.MatmulOp(matrix, columns))
    return emit(nn.ReshapeOp(product, shape=(*shape[:axis], m, *shape[axis + 1 :])))


def _identity(n: int, like: SSAValue, emit: Emitter) -> SSAValue:
    ones = emit(nn.BroadcastOp(emit.scalar(1.0, like), shape=(n, n)))
    lower = emit(nn.TriluOp(ones, upper=False, diagonal=0))
    return emit(nn.TriluOp(lower, upper=True, diagonal=0))


def _outside(op: nn.ResizeOp, emit: Emitter) -> SSAValue:
    """`outside` where an element is read beyond the operand, else 0; a constant."""
    axes = range(len(shape_of(op.result)))
    resized = [op.result_differs(axis) for axis in axes]
    sizes = zip(shape_of(op.operand), shape_of(op.result), resized, strict=True)
    shapes = [(old, new) if differs else (1, 1) for old, new, differs in sizes]
    zeros = emit(nn.BroadcastOp(emit.scalar(0.0, op.operand), shape=[old for old, _ in shapes]))
    properties: dict[str, Any] = {**op.properties, "shape": [new for _, new in shapes]}
    return emit(nn.ResizeOp(zeros, **properties))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (ResizeAxisByAxis(),)
