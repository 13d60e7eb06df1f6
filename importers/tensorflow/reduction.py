"""Reductions of TensorFlow, whose axes are an operand."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp
from ranvier.importers.semantics import normal_axes, normal_axis
from ranvier.importers.tensorflow.elementwise import cast, number
from ranvier.importers.tensorflow.node import Handler, Node, tf_op

REDUCTIONS: dict[str, type[TensorOp]] = {
    "All": nn.ReduceMinOp,
    "Any": nn.ReduceMaxOp,
    "EuclideanNorm": nn.ReduceL2Op,
    "Max": nn.ReduceMaxOp,
    "Mean": nn.ReduceMeanOp,
    "Min": nn.ReduceMinOp,
    "Prod": nn.ReduceProdOp,
    "Sum": nn.ReduceSumOp,
}
PLACES: dict[str, type[TensorOp]] = {"ArgMax": nn.ArgMaxOp, "ArgMin": nn.ArgMinOp}
RUNNING: dict[str, type[TensorOp]] = {"Cumsum": nn.CumSumOp, "Cumprod": nn.CumProdOp}
INT64 = 9


def reduction(op: type[TensorOp]) -> Handler:
    def import_reduction(node: Node) -> SSAValue:
        axes = tuple(sorted(set(normal_axes(node.constant_ints(1), node.rank()))))
        keepdims = bool(node.attribute("keep_dims", False))
        return node.build(op(node.operand(0), axes=axes, keepdims=keepdims))

    return import_reduction


def place(op: type[TensorOp]) -> Handler:
    def import_place(node: Node) -> SSAValue:
        axis = normal_axis(int(node.scalar(1)), node.rank())
        found = node.build(op(node.operand(0), axis=axis, keepdims=False, last=False))
        return cast(node, found, node.element_attribute("output_type", INT64))

    return import_place


def running(op: type[TensorOp]) -> Handler:
    def import_running(node: Node) -> SSAValue:
        flags = {name: bool(node.attribute(name, False)) for name in ("exclusive", "reverse")}
        axis = normal_axis(int(node.scalar(1)), node.rank())
        return node.build(op(node.operand(0), axis=axis, result_types=None, **flags))

    return import_running


for op_type, reduce_op in REDUCTIONS.items():
    tf_op(op_type)(reduction(reduce_op))
for op_type, place_op in PLACES.items():
    tf_op(op_type)(place(place_op))
for op_type, running_op in RUNNING.items():
    tf_op(op_type)(running(running_op))


@tf_op("L2Loss")
def import_l2_loss(node: Node) -> SSAValue:
    """Half the sum of the squares."""
    axes = tuple(range(node.rank()))
    total = node.build(nn.ReduceSumSquareOp(node.operand(0), axes=axes, keepdims=False))
    return node.build(nn.MulOp(total, number(node, 0.5, total)))
