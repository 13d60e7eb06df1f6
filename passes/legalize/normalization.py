"""Normalizations by their statistics."""

from __future__ import annotations

from math import prod

import ml_dtypes
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import dtype_of, element_of, shape_of, tensor
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


class DecomposeHardmax(Decomposition[nn.HardmaxOp]):
    """`hardmax(x) -> one_hot(arg_max(x))`"""

    def decompose(self, op: nn.HardmaxOp, emit: Emitter) -> SSAValue:
        axis, shape = int(op.get("axis")), shape_of(op.operand)
        place = tensor((*shape[:axis], *shape[axis + 1 :]), i32)
        best = nn.ArgMaxOp(op.operand, axis=axis, keepdims=False, last=False, result_types=[place])
        on, off = (emit.scalar(value, op.operand) for value in (1, 0))
        return emit(nn.OneHotOp(emit(best), on, off, axis=axis, depth=shape[axis]))


class DecomposeLogSoftmax(Decomposition[nn.LogSoftmaxOp]):
    """`log_softmax(x) -> y - log(reduce_sum(exp(y)))` with `y = x - reduce_max(x)`"""

    def decompose(self, op: nn.LogSoftmaxOp, emit: Emitter) -> SSAValue:
        axes = (op.get("axis"),)
        largest = emit(nn.ReduceMaxOp(op.operand, axes=axes, keepdims=True))
        below = emit(nn.SubOp(op.operand, largest))
        total = emit(nn.ReduceSumOp(emit(nn.ExpOp(below)), axes=axes, keepdims=True))
        return emit(nn.SubOp(below, emit(nn.LogOp(total))))


class DecomposeLayerNorm(Decomposition[nn.LayerNormOp]):
    """`layer_norm(x) -> c * rsqrt(reduce_mean(c * c) + epsilon) * scale + bias` with
    `c = x - reduce_mean(x)`
    """

    def decompose(self, op: nn.LayerNormOp, emit: Emitter) -> SSAValue:
        centred = _centred(op.operand, op.axes(), emit)
        normal = _by_deviation(centred, op.axes(), op.get("epsilon"), emit)
        scaled = emit(nn.MulOp(normal, op.scale))
        return scaled if op.bias is None else emit(nn.AddOp(scaled, op.bias))


class DecomposeRmsNorm(Decomposition[nn.RmsNormOp]):
    """`rms_norm(x) -> x * rsqrt(reduce_mean(x * x) + epsilon) * scale`"""

    def decompose(self, op: nn.RmsNormOp, emit: Emitter) -> SSAValue:
        normal = _by_deviation(op.operand, op.axes(), op.get("epsilon"), emit)
        return emit(nn.MulOp(normal, op.scale))


class DecomposeGroupNorm(Decomposition[nn.GroupNormOp]):
    """`group_norm(x) -> reshape(c * rsqrt(reduce_mean(c * c) + epsilon)) * scale + bias` with
    `c = r - reduce_mean(r)`, where `r` is `x` with one row per group
    """

    def decompose(self, op: nn.GroupNormOp, emit: Emitter) -> SSAValue:
        shape, groups = shape_of(op.operand), int(op.get("groups"))
        rows = (shape[0], groups, prod(shape[1:]) // groups)
        centred = _centred(emit(nn.ReshapeOp(op.operand, shape=rows)), (2,), emit)
        normal = _by_deviation(centred, (2,), op.get("epsilon"), emit)
        channels = (shape[1], *(1,) * (len(shape) - 2))
        scale = emit(nn.ReshapeOp(op.scale, shape=channels))
        scaled = emit(nn.MulOp(emit(nn.ReshapeOp(normal, shape=shape)), scale))
        return emit(nn.AddOp(scaled, emit(nn.ReshapeOp(op.bias, shape=channels))))


class DecomposeLpNormalize(Decomposition[nn.LpNormalizeOp]):
    """`lp_normalize(x) -> x / max(norm(x), tiny)`, where a norm that is not 0 is above `tiny`"""

    def decompose(self, op: nn.LpNormalizeOp, emit: Emitter) -> SSAValue:
        reduction = nn.ReduceL1Op if op.get("p") == 1 else nn.ReduceL2Op
        norm = emit(reduction(op.operand, axes=(op.get("axis"),), keepdims=True))
        tiny = float(ml_dtypes.finfo(dtype_of(element_of(norm))).tiny)
        return emit(nn.DivOp(op.operand, emit(nn.MaxOp(norm, emit.scalar(tiny, norm)))))


class DecomposeLrn(Decomposition[nn.LrnOp]):
    """`lrn(x) -> x * (bias + alpha * avg_pool(x * x)) ** -beta`, the pool over channels"""

    def decompose(self, op: nn.LrnOp, emit: Emitter) -> SSAValue:
        x, shape, size = op.operand, shape_of(op.operand), int(op.get("size"))
        before = (size - 1) // 2
        image = (shape[0], 1, shape[1], prod(shape[2:]))
        pooled = emit(
            nn.AvgPoolOp(
                emit(nn.ReshapeOp(emit(nn.MulOp(x, x)), shape=image)),
                kernel=(size, 1),
                strides=(1, 1),
                padding=(before, 0, size - 1 - before, 0),
                dilations=(1, 1),
                count_padding=True,
            )
        )
        mean = emit(nn.ReshapeOp(pooled, shape=shape))
        mean = emit(nn.MulOp(mean, emit.scalar(op.get("alpha"), x)))
        base = emit(nn.AddOp(mean, emit.scalar(op.get("bias"), x)))
        return emit(nn.MulOp(x, emit(nn.PowOp(base, emit.scalar(-op.get("beta"), x)))))


def _centred(x: SSAValue, axes: tuple[int, ...], emit: Emitter) -> SSAValue:
    return emit(nn.SubOp(x, emit(nn.ReduceMeanOp(x, axes=axes, keepdims=True))))


def _by_deviation(x: SSAValue, axes: tuple[int, ...], epsilon: float, emit: Emitter) -> SSAValue:
    """`x * rsqrt(reduce_mean(x * x) + epsilon)`"""
    square = emit(nn.ReduceMeanOp(emit(nn.MulOp(x, x)), axes=axes, keepdims=True))
    shifted = emit(nn.AddOp(square, emit.scalar(epsilon, square)))
    return emit(nn.MulOp(x, emit(nn.RsqrtOp(shifted))))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (
    DecomposeBatchNorm(),
    DecomposeSoftmax(),
    DecomposeLogSoftmax(),
    DecomposeHardmax(),
    DecomposeLayerNorm(),
    DecomposeRmsNorm(),
    DecomposeGroupNorm(),
    DecomposeLpNormalize(),
    DecomposeLrn(),
)
