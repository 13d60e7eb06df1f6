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
    AvgPoolCountingPadding(),
    PoolOfPadded(),
)
