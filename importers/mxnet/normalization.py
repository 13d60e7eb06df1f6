"""Normalizations and softmax of MXNet."""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, element_of, shape_of
from ranvier.importers.mxnet.node import Handler, Node, mx_op


@mx_op("BatchNorm", "BatchNorm_v1", "_contrib_SyncBatchNorm")
def import_batch_norm(node: Node) -> SSAValue:
    axis, element = node.axis(default=1), node.element()
    scale, bias, mean, variance = (node.cast(node.operand(i), element) for i in range(1, 5))
    if node.flag("fix_gamma", True):
        scale = node.constant(np.ones(shape_of(scale)), element)
    operand, rank = node.operand(0), node.rank()
    order = [axis if d == 1 else d - 1 if 1 < d <= axis else d for d in range(rank)]
    operand = node.transpose(operand, order)
    epsilon = node.number("eps", 1e-3)
    result = node.build(nn.BatchNormOp(operand, scale, bias, mean, variance, epsilon=epsilon))
    return node.transpose(result, np.argsort(order).tolist())


@mx_op("LayerNorm")
def import_layer_norm(node: Node) -> SSAValue:
    axis, rank = node.axis(default=-1), node.rank()
    order = [*(d for d in range(rank) if d != axis), axis]
    operand = node.transpose(node.operand(0), order)
    epsilon = node.number("eps", 1e-5)
    result = node.build(
        nn.LayerNormOp(*(operand, node.operand(1), node.operand(2)), axis=rank - 1, epsilon=epsilon)
    )
    return node.transpose(result, np.argsort(order).tolist())


@mx_op("InstanceNorm")
def import_instance_norm(node: Node) -> SSAValue:
    return group_norm(node, node.shape()[1], node.number("eps", 1e-3))


@mx_op("GroupNorm")
def import_group_norm(node: Node) -> SSAValue:
    return group_norm(node, node.integer("num_groups", 1), node.number("eps", 1e-5))


def group_norm(node: Node, groups: int, epsilon: float) -> SSAValue:
    """Factors are per group or per channel."""
    channels = node.shape()[1]
    factors: list[SSAValue] = []
    for factor in (node.operand(1), node.operand(2)):
        if shape_of(factor) == (groups,) != (channels,):
            column = node.reshape(factor, (groups, 1))
            factor = node.reshape(node.broadcast(column, (groups, channels // groups)), (channels,))
        factors.append(factor)
    return node.build(nn.GroupNormOp(node.operand(0), *factors, groups=groups, epsilon=epsilon))


@mx_op("LRN")
def import_lrn(node: Node) -> SSAValue:
    return node.build(
        nn.LrnOp(
            node.operand(0),
            size=node.integer("nsize"),
            alpha=node.number("alpha", 1e-4),
            beta=node.number("beta", 0.75),
            bias=node.number("knorm", 2.0),
        )
    )


@mx_op("L2Normalization")
def import_l2_normalization(node: Node) -> SSAValue:
    """`x / sqrt(sum(x * x) + eps)` over an instance, its channels or its spatial dimensions."""
    axes = {
        "instance": tuple(range(1, node.rank())),
        "channel": (1,),
        "spatial": tuple(range(2, node.rank())),
    }
    mode = node.text("mode", "instance")
    if mode not in axes:
        node.unsupported(f"mode is one of {', '.join(axes)}, got {mode}")
    value, element = node.operand(0), node.element()
    total = node.build(nn.ReduceSumSquareOp(value, axes=axes[mode], keepdims=True))
    safe = node.build(nn.AddOp(total, node.constant(node.number("eps", 1e-10), element)))
    return node.build(nn.DivOp(value, node.build(nn.SqrtOp(safe))))


# -- Softmax ----------------------------------------------------------------------------------

LOW = -6e4
"""Its exponential is 0 beside that of any logit, and half floats have it."""


def softmax(op: type[TensorOp], *, negative: bool = False) -> Handler:
    def import_softmax(node: Node) -> SSAValue:
        value, axis = node.operand(0), node.axis(default=-1)
        inside = within_length(node, axis) if node.flag("use_length") else None
        if negative:
            value = node.build(nn.NegOp(value))
        temperature = node.number("temperature", 1.0)
        if temperature != 1.0:
            value = node.build(nn.DivOp(value, node.constant(temperature, node.element())))
        if inside is not None:
            value = node.build(nn.SelectOp(inside, value, node.constant(LOW, node.element())))
        result = node.build(op(value, axis=axis))
        if inside is not None:
            zero = node.constant(0, node.element())
            result = node.build(nn.SelectOp(inside, result, zero))
        return node.cast(result, node.dtype()) if node.has("dtype") else result

    return import_softmax


def within_length(node: Node, axis: int) -> SSAValue:
    """Where elements of an axis stand before the length that the second operand has for them."""
    lengths, shape = node.operand(1), node.shape()
    steps = np.arange(shape[axis]).reshape(-1, *(1,) * (len(shape) - 1 - axis))
    column = node.reshape(lengths, (*shape[:axis], 1, *shape[axis + 1 :]))
    return node.build(nn.LessOp(node.constant(steps, element_of(lengths)), column))


mx_op("softmax")(softmax(nn.SoftmaxOp))
mx_op("log_softmax")(softmax(nn.LogSoftmaxOp))
mx_op("softmin")(softmax(nn.SoftmaxOp, negative=True))


@mx_op("SoftmaxOutput", "Softmax")
def import_softmax_output(node: Node) -> SSAValue:
    """The loss layer at inference: labels have no part in it."""
    value, rank = node.operand(0), node.rank()
    if node.flag("multi_output"):
        return node.build(nn.SoftmaxOp(value, axis=1))
    if node.flag("preserve_shape") or rank == 2:
        return node.build(nn.SoftmaxOp(value, axis=rank - 1))
    shape = node.shape()
    matrix = node.reshape(value, (shape[0], prod(shape[1:])))
    return node.reshape(node.build(nn.SoftmaxOp(matrix, axis=1)), shape)


@mx_op("SoftmaxActivation")
def import_softmax_activation(node: Node) -> SSAValue:
    axis = 1 if node.text("mode", "instance") == "channel" else node.rank() - 1
    return node.build(nn.SoftmaxOp(node.operand(0), axis=axis))


@mx_op("SequenceMask")
def import_sequence_mask(node: Node) -> SSAValue:
    """Steps from each sequence's length on become `value`; time is dimension 0 or 1."""
    if not node.flag("use_sequence_length"):
        return node.operand(0)
    axis, shape = node.integer("axis", 0), node.shape()
    if axis not in (0, 1):
        node.unsupported(f"axis is 0 or 1, got {axis}")
    steps = np.arange(shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
    lengths = node.operand(1)
    batch = shape_of(lengths)[0]
    column = node.reshape(lengths, (1, batch) if axis == 0 else (batch, 1))
    inside = node.build(nn.LessOp(node.constant(steps, element_of(lengths)), column))
    mask = node.reshape(inside, (*shape[:2], *(1,) * (len(shape) - 2)))
    fill = node.constant(node.number("value", 0.0), node.element())
    return node.build(nn.SelectOp(mask, node.operand(0), fill))
