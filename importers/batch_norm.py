"""Batch normalization by the statistics of its own operand, as weights are standardised."""

from __future__ import annotations

from math import prod

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import shape_of
from ranvier.importers.einsum import Build


def import_own_statistics(
    build: Build, x: SSAValue, scale: SSAValue, bias: SSAValue, epsilon: float
) -> SSAValue:
    """Group normalization with a channel per group, of all images of a batch as if they were one.

    Raises VerifyException for an operand without channels.
    """
    shape = shape_of(x)
    batch, channels, *_ = (*shape, 0, 0)
    if not channels or batch == 1:
        return build(nn.GroupNormOp(x, scale, bias, groups=channels, epsilon=epsilon))
    swap = (1, 0, *range(2, len(shape)))
    swapped = build(nn.TransposeOp(x, permutation=swap))
    one = build(nn.ReshapeOp(swapped, shape=(1, channels, prod(shape) // channels)))
    normal = build(nn.GroupNormOp(one, scale, bias, groups=channels, epsilon=epsilon))
    back = build(nn.ReshapeOp(normal, shape=shape_of(swapped)))
    return build(nn.TransposeOp(back, permutation=swap))


def moments(build: Build, x: SSAValue) -> tuple[SSAValue, SSAValue]:
    """Mean and variance of each channel."""
    axes = [axis for axis in range(len(shape_of(x))) if axis != 1]
    mean = build(nn.ReduceMeanOp(x, axes=axes, keepdims=True))
    centred = build(nn.SubOp(x, mean))
    square = build(nn.MulOp(centred, centred))
    flat = build(nn.ReshapeOp(mean, shape=shape_of(x)[1:2]))
    return flat, build(nn.ReduceMeanOp(square, axes=axes, keepdims=False))
