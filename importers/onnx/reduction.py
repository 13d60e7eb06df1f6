"""Reductions of ONNX, and global pools, which reduce all spatial dimensions."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp
from ranvier.importers.onnx.node import Handler, Node, onnx_op
from ranvier.importers.semantics import normal_axes

# Axes are an attribute before these opsets, an operand from them on.
REDUCTIONS: dict[str, tuple[type[TensorOp], int]] = {
    "ReduceSum": (nn.ReduceSumOp, 13),
    "ReduceMean": (nn.ReduceMeanOp, 18),
    "ReduceMax": (nn.ReduceMaxOp, 18),
    "ReduceMin": (nn.ReduceMinOp, 18),
}
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


for op_type, (reduce_op, axes_since) in REDUCTIONS.items():
    onnx_op(op_type)(reduction(reduce_op, axes_since))
for op_type, reduce_op in GLOBAL_POOLS.items():
    onnx_op(op_type)(global_pool(reduce_op))
