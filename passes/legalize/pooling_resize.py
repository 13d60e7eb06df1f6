"""Resampling by broadcasting, slices and matrix products."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import dtype_of, element_of, shape_of
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
    slice_along,
)

SETTINGS = ("antialias", "exclude_outside")


class ResizeByNearest(Decomposition[nn.ResizeOp]):
    """`resize(x, nearest) -> reshape(broadcast(x as ...nx1... to ...nxf...))`, or a slice

    Where a dimension grows by a whole factor `f`, or every few elements are taken of it.
    """

    def decompose(self, op: nn.ResizeOp, emit: Emitter) -> SSAValue | None:
        if op.mode.data != "nearest" or op.coordinates.data == "tf_crop_and_resize":
            return None
        value: SSAValue | None = op.operand
        for axis in range(len(shape_of(op.result))):
            if value is None:
                return None
            value = _taken(value, axis, op.nearest(axis), emit)
        return value


def _taken(x: SSAValue, axis: int, places: Array, emit: Emitter) -> SSAValue | None:
    """The elements of an axis at `places`, or None if they have no regular steps."""
    shape = shape_of(x)
    n, m = shape[axis], len(places)
    if n and m % n == 0 and np.array_equal(places, np.arange(m) // (m // n)):
        if m == n:
            return x
        apart = (*shape[: axis + 1], 1, *shape[axis + 1 :])
        grid = (*shape[: axis + 1], m // n, *shape[axis + 1 :])
        spread = emit(nn.BroadcastOp(emit(nn.ReshapeOp(x, shape=apart)), shape=grid))
        return emit(nn.ReshapeOp(spread, shape=(*shape[:axis], m, *shape[axis + 1 :])))
    steps = set(np.diff(places).tolist()) or {1}
    if len(steps) != 1 or min(steps) < 1 or not m:
        return None
    return emit(slice_along(x, axis, int(places[0]), m, int(steps.pop())))


class ResizeByProducts(Decomposition[nn.ResizeOp]):
    """`resize(x, linear) -> matmul(x, w)` for each resized axis, that axis last

    `w = max(1 - |place - element|, 0)` of the places, which end at the edge, is a constant.
    """

    def decompose(self, op: nn.ResizeOp, emit: Emitter) -> SSAValue | None:
        usual = op.coordinates.data != "tf_crop_and_resize"
        if op.mode.data != "linear" or not usual or any(op.get(name) for name in SETTINGS):
            return None
        if 4 * max(shape_of(op.operand) + shape_of(op.result)) > nn.constant.DENSE_LIMIT:
            return None
        value: SSAValue = op.operand
        for axis in range(len(shape_of(op.result))):
            if op.result_differs(axis):
                value = _interpolated(value, axis, op.places(axis), emit)
        return value


def _interpolated(x: SSAValue, axis: int, places: Array, emit: Emitter) -> SSAValue:
    rank, n, dtype = len(shape_of(x)), shape_of(x)[axis], dtype_of(element_of(x))
    elements = emit(nn.ConstantOp(np.arange(n).reshape(n, 1).astype(dtype)))
    inside = emit(nn.ConstantOp(places.clip(0, n - 1).astype(dtype)))
    distance = emit(nn.AbsOp(emit(nn.SubOp(inside, elements))))
    weights = emit(nn.ReluOp(emit(nn.SubOp(emit.scalar(1, distance), distance))))
    order = (*(d for d in range(rank) if d != axis), axis)
    if axis == rank - 1:
        return emit(nn.MatmulOp(x, weights))
    product = emit(nn.MatmulOp(emit(nn.TransposeOp(x, permutation=order)), weights))
    back = [order.index(d) for d in range(rank)]
    return emit(nn.TransposeOp(product, permutation=back))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (ResizeByNearest(), ResizeByProducts())
