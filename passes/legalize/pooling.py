"""Pooling by simpler pooling, padding and reductions."""

from __future__ import annotations

from math import inf, prod
from typing import Any

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.types import dtype_of, element_of, shape_of
from ranvier.passes.legalize.decomposition import AnyDecomposition, Decomposition, Emitter


class GlobalAvgPool(Decomposition[nn.AvgPoolOp]):
    """`avg_pool(x) -> reduce_mean(x)` if one window covers each image"""

    def decompose(self, op: nn.AvgPoolOp, emit: Emitter) -> SSAValue | None:
        spatial = shape_of(op.operand)[2:]
        if ints(op.kernel) != spatial or any(ints(op.padding)):
            return None
        axes = tuple(range(2, 2 + len(spatial)))
        return emit(nn.ReduceMeanOp(op.operand, axes=axes, keepdims=True))


class GlobalMaxPool(Decomposition[nn.MaxPoolOp]):
    """`max_pool(x) -> reduce_max(x)` if one window covers each image"""

    def decompose(self, op: nn.MaxPoolOp, emit: Emitter) -> SSAValue | None:
        spatial = shape_of(op.operand)[2:]
        if ints(op.kernel) != spatial or any(ints(op.padding)):
            return None
        axes = tuple(range(2, 2 + len(spatial)))
        return emit(nn.ReduceMaxOp(op.operand, axes=axes, keepdims=True))


class PoolOfOneDimension(Decomposition[nn.MaxPoolOp | nn.AvgPoolOp]):
    """`pool(x of NxCxW) -> reshape(pool(x as NxCx1xW))`"""

    def decompose(self, op: nn.MaxPoolOp | nn.AvgPoolOp, emit: Emitter) -> SSAValue | None:
        shape = shape_of(op.operand)
        if len(shape) != 3:
            return None
        image = emit(nn.ReshapeOp(op.operand, shape=(*shape[:2], 1, shape[2])))
        low, high = ints(op.padding)
        properties: dict[str, Any] = {
            **op.properties,
            "kernel": (1, *ints(op.kernel)),
            "strides": (1, *ints(op.strides)),
            "padding": (0, low, 0, high),
            "dilations": (1, *ints(op.dilations)),
        }
        return emit(nn.ReshapeOp(emit(type(op)(image, **properties)), shape=shape_of(op.result)))


class PoolAxisByAxis(Decomposition[nn.MaxPoolOp | nn.AvgPoolOp]):
    """`pool(x of NxCxDxHxW) -> pool_d(pool_hw(x as Nx(C*D)xHxW) as NxCxDx(H'*W'))`

    The taps inside the image are a product of those of each axis, and so is their number.
    """

    def decompose(self, op: nn.MaxPoolOp | nn.AvgPoolOp, emit: Emitter) -> SSAValue | None:
        n, channels, depth, *plane = shape_of(op.operand)
        if not plane or sum(taps > 1 for taps in ints(op.kernel)) < 2:
            return None
        out = shape_of(op.result)
        planes = emit(nn.ReshapeOp(op.operand, shape=(n, channels * depth, *plane)))
        inner = _pool_along(op, slice(1, None), (), planes, emit)
        lines = emit(nn.ReshapeOp(inner, shape=(n, channels, depth, prod(out[3:]))))
        outer = _pool_along(op, slice(0, 1), (1,), lines, emit)
        return emit(nn.ReshapeOp(outer, shape=out))


def _pool_along(
    op: nn.MaxPoolOp | nn.AvgPoolOp,
    axes: slice,
    more: tuple[int, ...],
    x: SSAValue,
    emit: Emitter,
) -> SSAValue:
    """The pool over some of its axes only, and windows of one element along `more` of them."""
    rank, padding = len(ints(op.kernel)), ints(op.padding)
    none = (0,) * len(more)
    properties: dict[str, Any] = {
        **op.properties,
        "kernel": (*ints(op.kernel)[axes], *more),
        "strides": (*ints(op.strides)[axes], *more),
        "dilations": (*ints(op.dilations)[axes], *more),
        "padding": (*padding[:rank][axes], *none, *padding[rank:][axes], *none),
    }
    return emit(type(op)(x, **properties))


class LpPoolByMeans(Decomposition[nn.LpPoolOp]):
    """`lp_pool(x) -> (taps * avg_pool(|x| ** p)) ** (1 / p)`, padding counted as zeros"""

    def decompose(self, op: nn.LpPoolOp, emit: Emitter) -> SSAValue:
        x, p = op.operand, int(op.get("p"))
        powers = emit(nn.MulOp(x, x)) if p == 2 else emit(nn.AbsOp(x))
        if p > 2:
            powers = emit(nn.PowOp(powers, emit.scalar(p, x)))
        properties: dict[str, Any] = {k: v for k, v in op.properties.items() if k != "p"}
        mean = emit(nn.AvgPoolOp(powers, count_padding=True, **properties))
        total = emit(nn.MulOp(mean, emit.scalar(prod(ints(op.kernel)), mean)))
        if p == 1:
            return total
        return emit(nn.SqrtOp(total) if p == 2 else nn.PowOp(total, emit.scalar(1 / p, total)))


class AvgPoolCountingPadding(Decomposition[nn.AvgPoolOp]):
    """`avg_pool(x) -> avg_pool(x, count_padding) * (taps of a window / taps inside x)`"""

    def decompose(self, op: nn.AvgPoolOp, emit: Emitter) -> SSAValue | None:
        divisors = op.divisors()
        if op.get("count_padding") or not divisors.all():
            return None
        properties: dict[str, Any] = {**op.properties, "count_padding": True}
        pooled = emit(nn.AvgPoolOp(op.operand, **properties))
        taps = prod(ints(op.kernel))
        if (divisors == taps).all():
            return pooled
        factors = (taps / divisors).astype(dtype_of(element_of(pooled)))
        if factors.nbytes > nn.constant.DENSE_LIMIT:
            return None
        return emit(nn.MulOp(pooled, emit(nn.ConstantOp(factors))))


class PoolOfPadded(Decomposition[nn.MaxPoolOp | nn.AvgPoolOp]):
    """`max_pool(x, padding) -> max_pool(pad(x, -inf))`; `avg_pool` that counts padding: with 0"""

    def decompose(self, op: nn.MaxPoolOp | nn.AvgPoolOp, emit: Emitter) -> SSAValue | None:
        padding = ints(op.padding)
        average = isinstance(op, nn.AvgPoolOp)
        if not any(padding) or (average and not op.get("count_padding")):
            return None
        rank = len(padding) // 2
        margins: dict[str, Any] = {"low": (0, 0, *padding[:rank]), "high": (0, 0, *padding[rank:])}
        fill = 0.0 if average else -inf
        padded = emit(nn.PadOp(op.operand, mode="constant", value=fill, **margins))
        properties: dict[str, Any] = {**op.properties, "padding": (0,) * len(padding)}
        return emit(type(op)(padded, **properties))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (
    GlobalAvgPool(),
    GlobalMaxPool(),
    PoolOfOneDimension(),
    PoolAxisByAxis(),
    LpPoolByMeans(),
    AvgPoolCountingPadding(),
    PoolOfPadded(),
)
