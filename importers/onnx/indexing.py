"""Ops of ONNX that pick elements by index."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.importers.onnx.node import Node, onnx_op
from ranvier.importers.semantics import normal_axis


@onnx_op("Gather")
def import_gather(node: Node) -> SSAValue:
    axis = normal_axis(node.attribute("axis", 0), node.rank())
    return node.build(nn.GatherOp(node.operand(0), node.operand(1), axis=axis))
