"""Ops of TensorFlow that static shapes make constant."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.shapes import Shape, broadcast_shapes
from ranvier.dialects.nn.types import dtype_of
from ranvier.importers.tensorflow.node import Node, tf_op

INT32 = 3


@tf_op("Shape")
def import_shape(node: Node) -> SSAValue:
    dtype = dtype_of(node.element_attribute("out_type", INT32))
    return node.build_constant(np.array(node.shape(), dtype))


@tf_op("ShapeN")
def import_shape_n(node: Node) -> Sequence[SSAValue]:
    dtype = dtype_of(node.element_attribute("out_type", INT32))
    shapes = [node.shape(position) for position in range(len(node.inputs))]
    return [node.build_constant(np.array(shape, dtype)) for shape in shapes]


@tf_op("Size")
def import_size(node: Node) -> SSAValue:
    dtype = dtype_of(node.element_attribute("out_type", INT32))
    return node.build_constant(np.array(prod(node.shape()), dtype))


@tf_op("Rank")
def import_rank(node: Node) -> SSAValue:
    return node.build_constant(np.array(node.rank(), np.int32))


@tf_op("BroadcastArgs")
def import_broadcast_args(node: Node) -> SSAValue:
    shape = broadcast_shapes(node.constant_ints(0), node.constant_ints(1))
    return node.build_constant(np.array(shape, dtype_of(node.element())))


@tf_op("Fill")
def import_fill(node: Node) -> SSAValue:
    return filled(node, node.operand(1), node.constant_ints(0))


def filled(node: Node, value: SSAValue, shape: Shape) -> SSAValue:
    """One value everywhere, as a broadcast: its bytes are never made."""
    if min(shape, default=0) < 0:
        node.fail(Code.NODE_INVALID, f"sizes are not negative, got {list(shape)}")
    return node.build(nn.BroadcastOp(value, shape=shape))


@tf_op("ZerosLike", "OnesLike")
def import_zeros_like(node: Node) -> SSAValue:
    one = node.op_type == "OnesLike"
    value = node.build_constant(np.array(one).astype(dtype_of(node.element())))
    return filled(node, value, node.shape())


@tf_op("Range")
def import_range(node: Node) -> SSAValue:
    start, limit, delta = (node.scalar(position) for position in range(3))
    if not delta:
        node.fail(Code.NODE_INVALID, "the step of a range is not 0")
    count = max(0, int(np.ceil((limit - start) / delta)))
    if count > 1 << 28:
        node.fail(Code.NODE_INVALID, f"a range of {count} elements")
    return node.build_constant((start + np.arange(count) * delta).astype(dtype_of(node.element())))


@tf_op("LinSpace")
def import_lin_space(node: Node) -> SSAValue:
    start, stop, count = (node.scalar(position) for position in range(3))
    if not 0 < count <= 1 << 28:
        node.fail(Code.NODE_INVALID, f"{count} elements")
    return node.build_constant(np.linspace(start, stop, count).astype(dtype_of(node.element())))


@tf_op("InvertPermutation")
def import_invert_permutation(node: Node) -> SSAValue:
    return node.build_constant(np.argsort(node.constant(0)).astype(dtype_of(node.element())))
