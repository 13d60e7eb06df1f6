"""Reductions by other reductions."""

from __future__ import annotations

from math import prod

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.types import element_of, is_float, shape_of
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


class DecomposeReduceL1(Decomposition[nn.ReduceL1Op]):
    """`reduce_l1(x) -> reduce_sum(|x|)`"""

    def decompose(self, op: nn.ReduceL1Op, emit: Emitter) -> SSAValue:
        return emit(nn.ReduceSumOp(emit(nn.AbsOp(op.operand)), axes=op.axes, keepdims=op.keepdims))


class DecomposeReduceL2(Decomposition[nn.ReduceL2Op]):
    """`reduce_l2(x) -> sqrt(reduce_sum(x * x))`"""

    def decompose(self, op: nn.ReduceL2Op, emit: Emitter) -> SSAValue | None:
        if not is_float(element_of(op.operand)):
            return None
        square = emit(nn.MulOp(op.operand, op.operand))
        return emit(nn.SqrtOp(emit(nn.ReduceSumOp(square, axes=op.axes, keepdims=op.keepdims))))


class DecomposeReduceSumSquare(Decomposition[nn.ReduceSumSquareOp]):
    """`reduce_sum_square(x) -> reduce_sum(x * x)`"""

    def decompose(self, op: nn.ReduceSumSquareOp, emit: Emitter) -> SSAValue:
        square = emit(nn.MulOp(op.operand, op.operand))
        return emit(nn.ReduceSumOp(square, axes=op.axes, keepdims=op.keepdims))


class DecomposeReduceLogSumExp(Decomposition[nn.ReduceLogSumExpOp]):
    """`reduce_log_sum_exp(x) -> log(reduce_sum(exp(x - m))) + m` with `m = reduce_max(x)`"""

    def decompose(self, op: nn.ReduceLogSumExpOp, emit: Emitter) -> SSAValue:
        largest = emit(nn.ReduceMaxOp(op.operand, axes=op.axes, keepdims=True))
        powers = emit(nn.ExpOp(emit(nn.SubOp(op.operand, largest))))
        total = emit(nn.ReduceSumOp(powers, axes=op.axes, keepdims=True))
        result = emit(nn.AddOp(emit(nn.LogOp(total)), largest))
        return emit(nn.ReshapeOp(result, shape=shape_of(op.result)))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (
    DecomposeReduceL1(),
    DecomposeReduceL2(),
    DecomposeReduceSumSquare(),
    DecomposeReduceLogSumExp(),
    DecomposeReduceMean(),
    DecomposeReduceMin(),
    ReduceAxisByAxis(),
    ReduceLastAxis(),
)
