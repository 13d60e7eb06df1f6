"""Fold normalizations, scales and shifts by constants into the convolution before them.

Before: `%y = nn.conv %x, %w`, `%r = nn.batch_norm %y, …` with constant statistics.
After:  one `nn.conv %x, %w * k, shift`, where `k` and `shift` are constant expressions that
        `fold-constants` turns into weights.

Relies on `fold-constants` having run, so that statistics are constant sources. A convolution with
several readers stays as it is; a normalization without a convolution is left to `legalize`.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from ranvier.dialects import nn
from ranvier.dialects.interfaces import WIDE
from ranvier.dialects.nn.types import element_of, is_float, shape_of, size_of, type_of
from ranvier.passes.analysis.dataflow import constant_ops, tensor_blocks
from ranvier.passes.legalize.decomposition import Emitter
from ranvier.passes.rewriting.patterns import apply_patterns, fused_location


@dataclass(frozen=True)
class FoldBatchNormPass(ModulePass):
    """Fold batch_norm, and mul and add by per-channel constants, into convolutions."""

    name = "fold-batch-norm"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        fold_batch_norm(op)


def fold_batch_norm(module: ModuleOp) -> None:
    """Fold until no convolution is followed by a foldable op."""
    constants = {op for block in tensor_blocks(module) for op in constant_ops(block.ops)}
    kinds = (FoldBatchNormIntoConv, FoldScaleIntoConv, FoldShiftIntoConv)
    apply_patterns(module, [kind(constants) for kind in kinds])


@dataclass
class ConvFolding(RewritePattern):
    """What the foldings share: the ops that are known to compute constants."""

    constants: set[Operation]

    def is_constant(self, value: SSAValue) -> bool:
        return value.owner in self.constants

    def foldable_conv(self, value: SSAValue) -> nn.ConvOp | None:
        """The convolution of a value if nothing else reads it and its parameters are constants."""
        conv = value.owner
        if not isinstance(conv, nn.ConvOp) or not value.has_one_use():
            return None
        element = element_of(conv.result)
        if not is_float(element) or any(element_of(v) != element for v in conv.operands):
            return None
        return conv if all(self.is_constant(v) for v in conv.operands[1:]) else None

    def is_per_channel(self, constant: SSAValue, conv: nn.ConvOp) -> bool:
        """Whether a constant has one number per output channel of `NxCx…`, or one for all."""
        shape, result = shape_of(constant), shape_of(conv.result)
        if not self.is_constant(constant) or len(shape) > len(result):
            return False
        aligned = (1,) * (len(result) - len(shape)) + shape
        return aligned[1] in (1, result[1]) and all(
            size == 1 for axis, size in enumerate(aligned) if axis != 1
        )

    def replace_conv(
        self,
        op: Operation,
        conv: nn.ConvOp,
        weight: SSAValue,
        bias: SSAValue | None,
        emit: Emitter,
        rewriter: PatternRewriter,
    ) -> None:
        """Put one convolution in place of `conv` and of `op` after it."""
        operands = [conv.operand, weight, *(() if bias is None else (bias,))]
        folded = conv.rebuilt(*operands, result_types=[type_of(conv.result)])
        folded.location = fused_location(conv, op)
        self.constants.update(emit.ops)
        rewriter.replace(op, [*emit.ops, folded])
        rewriter.erase(conv)


class FoldBatchNormIntoConv(ConvFolding):
    """`batch_norm(conv(x, w) + b) -> conv(x, w * k) + (b - mean) * k + bias`
    with `k = scale / sqrt(variance + epsilon)`
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.BatchNormOp, rewriter: PatternRewriter, /) -> None:
        conv = self.foldable_conv(op.operand)
        if conv is None or not all(self.is_constant(v) for v in op.operands[1:]):
            return
        emit = Emitter()
        epsilon = emit.scalar(op.get("epsilon"), op.variance)
        deviation = emit(nn.SqrtOp(emit(nn.AddOp(op.variance, epsilon))))
        k = emit(nn.DivOp(op.scale, deviation))
        centred = emit(nn.NegOp(op.mean))
        if conv.bias is not None:
            centred = emit(nn.SubOp(conv.bias, op.mean))
        shift = emit(nn.AddOp(emit(nn.MulOp(centred, k)), op.bias))
        self.replace_conv(op, conv, scaled_weight(conv, k, emit), shift, emit, rewriter)


class FoldScaleIntoConv(ConvFolding):
    """`(conv(x, w) + b) * k -> conv(x, w * k) + b * k` for one factor per output channel

    A product that stays in f32 is kept: weights become narrow, and those of integers are exact.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.MulOp, rewriter: PatternRewriter, /) -> None:
        if WIDE in op.attributes:
            return
        for value, constant in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            conv = self.foldable_conv(value)
            if conv is None or not self.is_per_channel(constant, conv):
                continue
            emit = Emitter()
            k = per_channel(constant, conv, emit)
            shift = None if conv.bias is None else emit(nn.MulOp(conv.bias, k))
            self.replace_conv(op, conv, scaled_weight(conv, k, emit), shift, emit, rewriter)
            return


class FoldShiftIntoConv(ConvFolding):
    """`(conv(x, w) + b) + c -> conv(x, w) + (b + c)` for one addend per output channel; `-` too"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: nn.AddOp | nn.SubOp, rewriter: PatternRewriter, /) -> None:
        orders = ((op.lhs, op.rhs), (op.rhs, op.lhs))
        for value, constant in orders[:1] if isinstance(op, nn.SubOp) else orders:
            conv = self.foldable_conv(value)
            if conv is None or not self.is_per_channel(constant, conv):
                continue
            emit = Emitter()
            shift = per_channel(constant, conv, emit)
            if isinstance(op, nn.SubOp):
                shift = emit(nn.NegOp(shift))
            if conv.bias is not None:
                shift = emit(nn.AddOp(conv.bias, shift))
            self.replace_conv(op, conv, conv.weight, shift, emit, rewriter)
            return


def per_channel(constant: SSAValue, conv: nn.ConvOp, emit: Emitter) -> SSAValue:
    """The constant as a vector of one number per output channel."""
    channels = shape_of(conv.result)[1]
    vector = emit(nn.ReshapeOp(constant, shape=(size_of(constant),)))
    return emit(nn.BroadcastOp(vector, shape=(channels,)))


def scaled_weight(conv: nn.ConvOp, k: SSAValue, emit: Emitter) -> SSAValue:
    """`w * k`, one factor per output channel."""
    rank = len(shape_of(conv.weight))
    factors = emit(nn.ReshapeOp(k, shape=(shape_of(k)[0], *(1,) * (rank - 1))))
    return emit(nn.MulOp(conv.weight, factors))
