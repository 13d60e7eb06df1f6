"""Constants of MXNet."""

from __future__ import annotations

from math import ceil

import numpy as np
from xdsl.ir import Attribute, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.importers.mxnet.node import Node, mx_op

LARGEST = 1 << 26
"""Elements of a range that a symbol may ask for."""


def filled(node: Node, shape: Shape, value: float) -> SSAValue:
    """A size of 0 is one that MXNet would infer, as in initial states; 1 broadcasts to any."""
    shape = tuple(size or 1 for size in shape)
    scalar = node.constant(value, node.dtype(default="float32"))
    return node.broadcast(scalar, shape)


@mx_op("_zeros", "_zeros_without_dtype")
def import_zeros(node: Node) -> SSAValue:
    return filled(node, node.ints("shape"), 0.0)


@mx_op("_ones")
def import_ones(node: Node) -> SSAValue:
    return filled(node, node.ints("shape"), 1.0)


@mx_op("_full")
def import_full(node: Node) -> SSAValue:
    return filled(node, node.ints("shape"), node.number("value"))


@mx_op("zeros_like")
def import_zeros_like(node: Node) -> SSAValue:
    return node.broadcast(node.constant(0, node.element()), node.shape())


@mx_op("ones_like")
def import_ones_like(node: Node) -> SSAValue:
    return node.broadcast(node.constant(1, node.element()), node.shape())


@mx_op("_arange")
def import_arange(node: Node) -> SSAValue:
    start, stop, step = (
        node.number("start", 0.0),
        node.number("stop", None),
        node.number("step", 1.0),
    )
    if stop is None:
        start, stop = 0.0, start
    if step == 0:
        node.unsupported("the step is 0")
    count = max(0, ceil((stop - start) / step))
    return ramp(node, start, step, count, node.dtype(default="float32"))


def ramp(node: Node, start: float, step: float, count: int, element: Attribute) -> SSAValue:
    """`count` values, each of them `repeat` times."""
    if count * node.integer("repeat", 1) > LARGEST:
        node.unsupported(f"{count} values exceed {LARGEST}")
    values = np.repeat(start + step * np.arange(count, dtype=np.float64), node.integer("repeat", 1))
    return node.constant(values, element)


@mx_op("_contrib_arange_like")
def import_arange_like(node: Node) -> SSAValue:
    start, step = node.number("start", 0.0), node.number("step", 1.0)
    shape, repeat = node.shape(), node.integer("repeat", 1)
    if node.has("axis"):
        count = shape[node.axis()]
        return ramp(node, start, step, ceil(count / repeat), node.element())
    count = int(np.prod(shape, dtype=np.int64))
    return node.reshape(ramp(node, start, step, ceil(count / repeat), node.element()), shape)


@mx_op("shape_array")
def import_shape_array(node: Node) -> SSAValue:
    return node.build(nn.ConstantOp(np.array(node.shape(), np.int64)))
