"""Constants of ONNX, and ops that static shapes make constant."""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import dtype_of, element_of
from ranvier.importers.onnx.node import Node, number_of, onnx_op
from ranvier.importers.onnx.tensors import array_of, element_of_code

_PLAIN = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


@onnx_op("Constant")
def import_constant(node: Node) -> SSAValue:
    if node.has("value"):
        return node.build_constant(array_of(node.attribute("value"), node.folder))
    for name, dtype in _PLAIN.items():
        if node.has(name):
            return node.build_constant(np.array(node.attribute(name), dtype))
    return node.fail(Code.MODEL_UNSUPPORTED, "only constants of dense tensors and numbers are read")


@onnx_op("ConstantOfShape")
def import_constant_of_shape(node: Node) -> SSAValue:
    value: Array = np.zeros(1, np.float32)
    if node.has("value"):
        value = array_of(node.attribute("value"), node.folder)
    fill = np.asarray(number_of(value), value.dtype)
    return filled(node, fill, node.constant_ints(0) or ())


def filled(node: Node, value: Array, shape: Shape) -> SSAValue:
    """A constant of one value, as a broadcast: its bytes are never made."""
    return node.build(nn.BroadcastOp(node.build_constant(value), shape=shape))


@onnx_op("Shape")
def import_shape(node: Node) -> SSAValue:
    first, last = node.attribute("start", 0), node.attribute("end")
    return node.build_constant(np.array(node.shape()[slice(first, last)], np.int64))


@onnx_op("Size")
def import_size(node: Node) -> SSAValue:
    return node.build_constant(np.array(prod(node.shape()), np.int64))


@onnx_op("Range")
def import_range(node: Node) -> SSAValue:
    start, limit, delta = (node.scalar(position) for position in range(3))
    if not delta:
        node.fail(Code.NODE_INVALID, "the step of a range is not 0")
    count = max(0, int(np.ceil((limit - start) / delta)))
    dtype = dtype_of(element_of(node.operand(0)))
    return node.build_constant((start + np.arange(count) * delta).astype(dtype))


@onnx_op("EyeLike")
def import_eye_like(node: Node) -> SSAValue:
    """A constant of the operand's shape; its element type unless the node states another."""
    shape = node.shape()
    if len(shape) != 2:
        node.fail(Code.NODE_INVALID, f"it takes a matrix, got rank {len(shape)}")
    element = element_of(node.operand(0))
    if node.has("dtype"):
        element = element_of_code(node.attribute("dtype"))
    eye = np.eye(*shape, node.attribute("k", 0), dtype=dtype_of(element))
    return node.build_constant(eye)
