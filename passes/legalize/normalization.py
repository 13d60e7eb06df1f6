"""Normalizations by their statistics."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import shape_of
from ranvier.passes.legalize.decomposition import AnyDecomposition, Decomposition, Emitter


class DecomposeBatchNorm(Decomposition[nn.BatchNormOp]):
    """`batch_norm(x) -> x * k + (bias - mean * k)` with `k = scale / sqrt(variance + epsilon)`

    `k` and the shift are per channel, and constants if the statistics are.
    """

    def decompose(self, op: nn.BatchNormOp, emit: Emitter) -> SSAValue:
        epsilon = emit.scalar(op.get("epsilon"), op.variance)
        deviation = emit(nn.SqrtOp(emit(nn.AddOp(op.variance, epsilon))))
        k = emit(nn.DivOp(op.scale, deviation))
        shift = emit(nn.SubOp(op.bias, emit(nn.MulOp(op.mean, k))))
        channels = (*shape_of(op.scale), *(1,) * (len(shape_of(op.operand)) - 2))
        scaled = emit(nn.MulOp(op.operand, emit(nn.ReshapeOp(k, shape=channels))))
        return emit(nn.AddOp(scaled, emit(nn.ReshapeOp(shift, shape=channels))))


class DecomposeSoftmax(Decomposition[nn.SoftmaxOp]):
    """`softmax(x) -> e / reduce_sum(e)` with `e = exp(x - reduce_max(x))`"""

    def decompose(self, op: nn.SoftmaxOp, emit: Emitter) -> SSAValue:
        axes = (op.get("axis"),)
        largest = emit(nn.ReduceMaxOp(op.operand, axes=axes, keepdims=True))
        powers = emit(nn.ExpOp(emit(nn.SubOp(op.operand, largest))))
        total = emit(nn.ReduceSumOp(powers, axes=axes, keepdims=True))
        return emit(nn.DivOp(powers, total))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (DecomposeBatchNorm(), DecomposeSoftmax())
