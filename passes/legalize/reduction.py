"""Reductions by other reductions."""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.reduction import ReduceOp
from ranvier.dialects.nn.types import (
    NARROW_FLOATS,
    dtype_of,
    element_of,
    is_float,
    shape_of,
    size_of,
)
from ranvier.dialects.nn.types import widened as widened_array
from ranvier.passes.legalize.decomposition import AnyDecomposition, Decomposition, Emitter

AnyReduction = nn.ReduceSumOp | nn.ReduceMeanOp | nn.ReduceMaxOp | nn.ReduceMinOp


class DecomposeReduceMean(Decomposition[nn.ReduceMeanOp]):
    """`reduce_mean(x) -> reduce_sum(x) * (1 / n)`"""

    def decompose(self, op: nn.ReduceMeanOp, emit: Emitter) -> SSAValue | None:
        count = prod(shape_of(op.operand)[axis] for axis in ints(op.axes))
        if not count or not is_float(element_of(op.operand)):
            return None
        total = emit(nn.ReduceSumOp(op.operand, axes=op.axes, keepdims=op.keepdims))
        return emit(nn.MulOp(total, emit.scalar(1 / count, total)))


class FoldEmptyReduction(
    Decomposition[
        nn.ReduceSumOp
        | nn.ReduceMeanOp
        | nn.ReduceMaxOp
        | nn.ReduceMinOp
        | nn.ReduceProdOp
        | nn.ReduceL1Op
        | nn.ReduceL2Op
        | nn.ReduceSumSquareOp
        | nn.ReduceLogSumExpOp
    ]
):
    """A reduction of no elements is one number everywhere."""

    def decompose(self, op: ReduceOp, emit: Emitter) -> SSAValue | None:
        if size_of(op.operand) or not size_of(op.result):
            return None
        with np.errstate(all="ignore"):
            empty = np.zeros(shape_of(op.operand), dtype_of(element_of(op.operand)))
            number = op.evaluate(widened_array(empty)).reshape(-1)[0]
        return emit(nn.BroadcastOp(emit.scalar(number, op.result), shape=shape_of(op.result)))


class DecomposeReduceMin(Decomposition[nn.ReduceMinOp]):
    """`reduce_min(x) -> -reduce_max(-x)`"""

    def decompose(self, op: nn.ReduceMinOp, emit: Emitter) -> SSAValue | None:
        if not is_float(element_of(op.operand)):
            return None
        negated = emit(nn.NegOp(op.operand))
        return emit(nn.NegOp(emit(nn.ReduceMaxOp(negated, axes=op.axes, keepdims=op.keepdims))))


class ReduceAxisByAxis(
    Decomposition[nn.ReduceSumOp | nn.ReduceMeanOp | nn.ReduceMaxOp | nn.ReduceMinOp]
):
    """`reduce(x, [a, b]) -> reduce(reduce(x, [b]), [a])`, the last axis first"""

    def decompose(self, op: AnyReduction, emit: Emitter) -> SSAValue | None:
        axes = ints(op.axes)
        if len(axes) < 2:
            return None
        value: SSAValue = op.operand
        for axis in sorted(axes, reverse=True):
            value = emit(type(op)(value, axes=(axis,), keepdims=op.keepdims))
        return value


class ReduceLastAxis(
    Decomposition[nn.ReduceSumOp | nn.ReduceMeanOp | nn.ReduceMaxOp | nn.ReduceMinOp]
):
    """`reduce(x, [a]) -> reshape(reduce(transpose(x, a last), [last]))`"""

    def decompose(self, op: AnyReduction, emit: Emitter) -> SSAValue | None:
        axes, rank = ints(op.axes), len(shape_of(op.operand))
        if len(axes) != 1 or axes[0] == rank - 1:
            return None
        order = [axis for axis in range(rank) if axis != axes[0]]
        moved = emit(nn.TransposeOp(op.operand, permutation=(*order, axes[0])))
        reduced = emit(type(op)(moved, axes=(rank - 1,), keepdims=False))
        return (
            emit(nn.ReshapeOp(reduced, shape=shape_of(op.result)))
            if op.get("keepdims")
            else reduced
        )


# -- Sums of functions: in f32 where the elements are narrower, since only the result need fit ----


def widened(x: SSAValue, emit: Emitter) -> SSAValue:
    """A narrow float as f32."""
    return emit(nn.CastOp(x, f32)) if isinstance(element_of(x), NARROW_FLOATS) else x


def narrowed(result: SSAValue, op: ReduceOp, emit: Emitter) -> SSAValue:
    """A result in the element type that the op declares."""
    element = element_of(op.result)
    return result if element_of(result) == element else emit(nn.CastOp(result, element))


def summed(x: SSAValue, op: ReduceOp, emit: Emitter) -> SSAValue:
    return emit(nn.ReduceSumOp(x, axes=op.axes, keepdims=op.keepdims))


class DecomposeReduceL1(Decomposition[nn.ReduceL1Op]):
    """`reduce_l1(x) -> reduce_sum(|x|)`"""

    def decompose(self, op: nn.ReduceL1Op, emit: Emitter) -> SSAValue:
        size = emit(nn.AbsOp(widened(op.operand, emit)))
        return narrowed(summed(size, op, emit), op, emit)


class DecomposeReduceL2(Decomposition[nn.ReduceL2Op]):
    """`reduce_l2(x) -> sqrt(reduce_sum(x * x))`"""

    def decompose(self, op: nn.ReduceL2Op, emit: Emitter) -> SSAValue | None:
        if not is_float(element_of(op.operand)):
            return None
        x = widened(op.operand, emit)
        root = emit(nn.SqrtOp(summed(emit(nn.MulOp(x, x)), op, emit)))
        return narrowed(root, op, emit)


class DecomposeReduceSumSquare(Decomposition[nn.ReduceSumSquareOp]):
    """`reduce_sum_square(x) -> reduce_sum(x * x)`"""

    def decompose(self, op: nn.ReduceSumSquareOp, emit: Emitter) -> SSAValue:
        x = widened(op.operand, emit)
        return narrowed(summed(emit(nn.MulOp(x, x)), op, emit), op, emit)


class DecomposeReduceLogSumExp(Decomposition[nn.ReduceLogSumExpOp]):
    """`reduce_log_sum_exp(x) -> log(reduce_sum(exp(x - m))) + m` with `m = reduce_max(x)`, or the
    largest finite number where that is infinite"""

    def decompose(self, op: nn.ReduceLogSumExpOp, emit: Emitter) -> SSAValue | None:
        if not is_float(element_of(op.operand)):
            return None
        x = widened(op.operand, emit)
        largest = emit(nn.ReduceMaxOp(x, axes=op.axes, keepdims=True))
        top = float(np.finfo(dtype_of(element_of(x))).max)
        largest = emit(nn.ClampOp(largest, low=-top, high=top))
        powers = emit(nn.ExpOp(emit(nn.SubOp(x, largest))))
        total = emit(nn.ReduceSumOp(powers, axes=op.axes, keepdims=True))
        result = emit(nn.AddOp(emit(nn.LogOp(total)), largest))
        if shape_of(result) != shape_of(op.result):
            result = emit(nn.ReshapeOp(result, shape=shape_of(op.result)))
        return narrowed(result, op, emit)


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (
    FoldEmptyReduction(),
    DecomposeReduceL1(),
    DecomposeReduceL2(),
    DecomposeReduceSumSquare(),
    DecomposeReduceLogSumExp(),
    DecomposeReduceMean(),
    DecomposeReduceMin(),
    ReduceAxisByAxis(),
    ReduceLastAxis(),
)
