"""Reductions of MXNet."""

from __future__ import annotations

from math import prod

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, shape_of
from ranvier.importers.mxnet.node import Handler, Node, mx_op
from ranvier.importers.semantics import normal_axes


def axes_of(node: Node) -> tuple[int, ...]:
    """The reduced axes: none stated means all; `exclude` turns the choice round."""
    stated = normal_axes(node.ints("axis", ()), node.rank())
    if not stated:
        return tuple(range(node.rank()))
    if node.flag("exclude"):
        return tuple(axis for axis in range(node.rank()) if axis not in stated)
    return stated


def reduction(op: type[TensorOp]) -> Handler:
    return lambda node: reduced(node, op)


def reduced(node: Node, op: type[TensorOp]) -> SSAValue:
    result = node.build(op(node.operand(0), axes=axes_of(node), keepdims=node.flag("keepdims")))
    return at_least_one(node, result)


def at_least_one(node: Node, value: SSAValue) -> SSAValue:
    """MXNet's symbols have no scalars: a full reduction gives one element."""
    return node.reshape(value, shape_of(value) or (1,))


for names, op in {
    ("sum", "sum_axis"): nn.ReduceSumOp,
    ("mean",): nn.ReduceMeanOp,
    ("max", "max_axis"): nn.ReduceMaxOp,
    ("min", "min_axis"): nn.ReduceMinOp,
    ("prod",): nn.ReduceProdOp,
}.items():
    mx_op(*names)(reduction(op))


@mx_op("norm")
def import_norm(node: Node) -> SSAValue:
    order = node.integer("ord", 2)
    if order not in (1, 2):
        node.unsupported(f"ord is 1 or 2, got {order}")
    return reduced(node, nn.ReduceL1Op if order == 1 else nn.ReduceL2Op)


@mx_op("argmax")
def import_argmax(node: Node) -> SSAValue:
    return position(node, nn.ArgMaxOp)


@mx_op("argmin")
def import_argmin(node: Node) -> SSAValue:
    return position(node, nn.ArgMinOp)


def position(node: Node, op: type[TensorOp]) -> SSAValue:
    """MXNet gives positions in the operand's type; without an axis it looks at all elements."""
    value, keepdims = node.operand(0), node.flag("keepdims")
    if not node.has("axis"):
        value = node.reshape(value, (prod(node.shape()),))
        found = node.build(op(value, axis=0, keepdims=True, last=False))
        return node.cast(found, node.element())
    found = node.build(op(value, axis=node.axis(), keepdims=keepdims, last=False))
    return node.cast(at_least_one(node, found), node.element())
