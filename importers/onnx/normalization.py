"""Batch normalization and softmax of ONNX."""

from __future__ import annotations

from math import prod

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.types import element_of
from ranvier.importers.onnx.node import Node, NotInNn, onnx_op
from ranvier.importers.semantics import normal_axis


@onnx_op("BatchNormalization")
def import_batch_norm(node: Node) -> SSAValue:
    if node.attribute("training_mode", 0) or node.uses_output(1):
        node.fail(Code.MODEL_UNSUPPORTED, "training mode is on; export the model for inference")
    mixed = len({element_of(operand) for operand in node.operands()}) > 1
    if mixed or node.attribute("spatial", 1) != 1 or node.rank() < 2:
        raise NotInNn
    epsilon = float(node.attribute("epsilon", 1e-5))
    return node.build(nn.BatchNormOp(*node.operands(), epsilon=epsilon))


@onnx_op("Softmax")
def import_softmax_1(node: Node) -> SSAValue:
    """Before opset 13 all dimensions from `axis` on are one."""
    shape = node.shape()
    axis = normal_axis(node.attribute("axis", 1), len(shape) + 1)
    if axis == len(shape) - 1:
        return node.build(nn.SoftmaxOp(node.operand(0), axis=axis))
    matrix = (prod(shape[:axis]), prod(shape[axis:]))
    flat = node.build(nn.ReshapeOp(node.operand(0), shape=matrix))
    return node.build(nn.ReshapeOp(node.build(nn.SoftmaxOp(flat, axis=1)), shape=shape))


@onnx_op("Softmax", since=13)
def import_softmax(node: Node) -> SSAValue:
    axis = normal_axis(node.attribute("axis", -1), node.rank())
    return node.build(nn.SoftmaxOp(node.operand(0), axis=axis))
