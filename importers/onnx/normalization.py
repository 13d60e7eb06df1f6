"""Normalizations and softmax of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of
from ranvier.importers.batch_norm import import_own_statistics, moments
from ranvier.importers.onnx.node import Node, NotInNn, onnx_op
from ranvier.importers.semantics import normal_axis


@onnx_op("BatchNormalization")
def import_batch_norm(node: Node) -> Sequence[SSAValue]:
    training: int = node.attribute("training_mode", 0)
    if node.uses_output(1) and not training:  # before opset 14, and without a definition
        node.fail(Code.MODEL_UNSUPPORTED, "training mode is on; export the model for inference")
    mixed = len({element_of(operand) for operand in node.operands()}) > 1
    if mixed or node.attribute("spatial", 1) != 1 or node.rank() < 2:
        raise NotInNn
    epsilon = float(node.attribute("epsilon", 1e-5))
    if training:
        return by_own_statistics(node, epsilon)
    return [node.build(nn.BatchNormOp(*node.operands(), epsilon=epsilon))]


def by_own_statistics(node: Node, epsilon: float) -> Sequence[SSAValue]:
    """The result, and the running statistics where the node names them."""
    x, scale, bias, *running = node.operands()
    result = import_own_statistics(node.build, x, scale, bias, epsilon)
    if not node.uses_output(1):
        return [result]
    dtype = dtype_of(element_of(x))
    momentum: float = node.attribute("momentum", 0.9)
    old, new = (node.build_constant(np.array(k, dtype)) for k in (momentum, 1 - momentum))
    updated = [
        node.build(nn.AddOp(node.build(nn.MulOp(before, old)), node.build(nn.MulOp(current, new))))
        for before, current in zip(running, moments(node.build, x), strict=True)
    ]
    return [result, *updated]


@onnx_op("Softmax")
def import_softmax_1(node: Node) -> SSAValue:
    return by_rows(node, nn.SoftmaxOp)


def by_rows(node: Node, op: type[TensorOp]) -> SSAValue:
    """Before opset 13 all dimensions from `axis` on are one."""
    shape, axis = node.shape(), node.attribute("axis", 1)
    axis = len(shape) if axis == len(shape) else normal_axis(axis, len(shape))
    if axis == len(shape) - 1:
        return node.build(op(node.operand(0), axis=axis))
    matrix = (prod(shape[:axis]), prod(shape[axis:]))
    flat = node.build(nn.ReshapeOp(node.operand(0), shape=matrix))
    return node.build(nn.ReshapeOp(node.build(op(flat, axis=1)), shape=shape))


@onnx_op("Softmax", since=13)
def import_softmax(node: Node) -> SSAValue:
    axis = normal_axis(node.attribute("axis", -1), node.rank())
    return node.build(nn.SoftmaxOp(node.operand(0), axis=axis))


@onnx_op("LogSoftmax")
def import_log_softmax_1(node: Node) -> SSAValue:
    return by_rows(node, nn.LogSoftmaxOp)


@onnx_op("LogSoftmax", since=13)
def import_log_softmax(node: Node) -> SSAValue:
    axis = normal_axis(node.attribute("axis", -1), node.rank())
    return node.build(nn.LogSoftmaxOp(node.operand(0), axis=axis))


@onnx_op("Hardmax")
def import_hardmax_1(node: Node) -> SSAValue:
    return by_rows(node, nn.HardmaxOp)


@onnx_op("Hardmax", since=13)
def import_hardmax(node: Node) -> SSAValue:
    axis = normal_axis(node.attribute("axis", -1), node.rank())
    return node.build(nn.HardmaxOp(node.operand(0), axis=axis))


@onnx_op("LayerNormalization")
def import_layer_norm(node: Node) -> SSAValue:
    if node.uses_output(1) or node.uses_output(2) or not same_elements(node):
        raise NotInNn
    return rows(node, nn.LayerNormOp)


@onnx_op("RMSNormalization")
def import_rms_norm(node: Node) -> SSAValue:
    if not same_elements(node):
        raise NotInNn
    return rows(node, nn.RmsNormOp)


def rows(node: Node, op: type[TensorOp]) -> SSAValue:
    axis = normal_axis(node.attribute("axis", -1), node.rank())
    operands = [value for value in node.inputs if value is not None]
    return node.build(op(*operands, axis=axis, epsilon=float(node.attribute("epsilon", 1e-5))))


@onnx_op("InstanceNormalization")
def import_instance_norm(node: Node) -> SSAValue:
    return group_norm(node, node.operand(1), node.operand(2), node.shape()[1])


@onnx_op("GroupNormalization")
def import_group_norm_18(node: Node) -> SSAValue:
    """Scale and bias are per group: every channel gets a copy."""
    groups, channels = int(node.attribute("num_groups", 1)), node.shape()[1]
    factors: list[SSAValue] = []
    for factor in node.operands()[1:]:
        column = node.build(nn.ReshapeOp(factor, shape=(groups, 1)))
        spread = node.build(nn.BroadcastOp(column, shape=(groups, channels // groups)))
        factors.append(node.build(nn.ReshapeOp(spread, shape=(channels,))))
    return group_norm(node, factors[0], factors[1], groups)


@onnx_op("GroupNormalization", since=21)  # scale and bias became those of channels
def import_group_norm(node: Node) -> SSAValue:
    groups = int(node.attribute("num_groups", 1))
    return group_norm(node, node.operand(1), node.operand(2), groups)


def group_norm(node: Node, scale: SSAValue, bias: SSAValue, groups: int) -> SSAValue:
    epsilon = float(node.attribute("epsilon", 1e-5))
    return node.build(nn.GroupNormOp(node.operand(0), scale, bias, groups=groups, epsilon=epsilon))


@onnx_op("LpNormalization")
def import_lp_normalization(node: Node) -> SSAValue:
    axis = normal_axis(node.attribute("axis", -1), node.rank())
    return node.build(nn.LpNormalizeOp(node.operand(0), axis=axis, p=int(node.attribute("p", 2))))


@onnx_op("LRN")
def import_lrn(node: Node) -> SSAValue:
    return node.build(
        nn.LrnOp(
            node.operand(0),
            size=int(node.attribute("size", 1)),
            alpha=float(node.attribute("alpha", 1e-4)),
            beta=float(node.attribute("beta", 0.75)),
            bias=float(node.attribute("bias", 1.0)),
        )
    )


def same_elements(node: Node) -> bool:
    return len({element_of(value) for value in node.inputs if value is not None}) == 1
