"""Reductions of ONNX, and global pools, which reduce all spatial dimensions."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp
from ranvier.importers.onnx.node import Handler, Node, onnx_op
from ranvier.importers.semantics import normal_axes, normal_axis

# Axes are an attribute before these opsets, an operand from them on.
REDUCTIONS: dict[str, tuple[type[TensorOp], int]] = {
    "ReduceSum": (nn.ReduceSumOp, 13),
    "ReduceMean": (nn.ReduceMeanOp, 18),
    "ReduceMax": (nn.ReduceMaxOp, 18),
    "ReduceMin": (nn.ReduceMinOp, 18),
    "ReduceProd": (nn.ReduceProdOp, 18),
    "ReduceL1": (nn.ReduceL1Op, 18),
    "ReduceL2": (nn.ReduceL2Op, 18),
    "ReduceSumSquare": (nn.ReduceSumSquareOp, 18),
    "ReduceLogSumExp": (nn.ReduceLogSumExpOp, 18),
}
PLACES: dict[str, type[TensorOp]] = {"ArgMax": nn.ArgMaxOp, "ArgMin": nn.ArgMinOp}
RUNNING: dict[str, type[TensorOp]] = {"CumSum": nn.CumSumOp, "CumProd": nn.CumProdOp}
GLOBAL_POOLS: dict[str, type[TensorOp]] = {
    "GlobalAveragePool": nn.ReduceMeanOp,
    "GlobalMaxPool": nn.ReduceMaxOp,
}


def reduction(op: type[TensorOp], since: int) -> Handler:
    """No axes mean all of them, or none if `noop_with_empty_axes`."""

    def import_reduction(node: Node) -> SSAValue:
        axes = node.ints_at("axes", 1, since)
        if not axes and node.attribute("noop_with_empty_axes", 0):
            return node.operand(0)
        rank = node.rank()
        axes = normal_axes(axes, rank) if axes else tuple(range(rank))
        keepdims = bool(node.attribute("keepdims", 1))
        return node.build(op(node.operand(0), axes=axes, keepdims=keepdims))

    return import_reduction


def global_pool(op: type[TensorOp]) -> Handler:
    def import_global_pool(node: Node) -> SSAValue:
        spatial = tuple(range(2, node.rank()))
        return node.build(op(node.operand(0), axes=spatial, keepdims=True))

    return import_global_pool


def place(op: type[TensorOp]) -> Handler:
    def import_place(node: Node) -> SSAValue:
        return node.build(
            op(
                node.operand(0),
                axis=normal_axis(node.attribute("axis", 0), node.rank()),
                keepdims=bool(node.attribute("keepdims", 1)),
                last=bool(node.attribute("select_last_index", 0)),
            )
        )

    return import_place


def running(op: type[TensorOp]) -> Handler:
    def import_running(node: Node) -> SSAValue:
        return node.build(
            op(
                node.operand(0),
                axis=normal_axis(int(node.scalar(1)), node.rank()),
                exclusive=bool(node.attribute("exclusive", 0)),
                reverse=bool(node.attribute("reverse", 0)),
            )
        )

    return import_running


for op_type, (reduce_op, axes_since) in REDUCTIONS.items():
    onnx_op(op_type)(reduction(reduce_op, axes_since))
for op_type, reduce_op in GLOBAL_POOLS.items():
    onnx_op(op_type)(global_pool(reduce_op))
for op_type, place_op in PLACES.items():
    onnx_op(op_type)(place(place_op))
for op_type, running_op in RUNNING.items():
    onnx_op(op_type)(running(running_op))
