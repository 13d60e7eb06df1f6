"""Pools of ONNX over windows."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp, element_of, is_float
from ranvier.importers.onnx.contraction import padding_of, window_of
from ranvier.importers.onnx.node import Node, NotInNn, onnx_op
from ranvier.importers.semantics import Window, ceil_padding


@onnx_op("MaxPool")
def import_max_pool(node: Node) -> SSAValue:
    if node.uses_output(1) or not is_float(element_of(node.operand(0))):
        raise NotInNn
    window = window_of(node, ())
    padding = rounded(node, window, padding_of(node, window))
    return node.build(pool(nn.MaxPoolOp, node.operand(0), window, padding))


@onnx_op("AveragePool")
def import_average_pool(node: Node) -> SSAValue:
    window, operand = window_of(node, ()), node.operand(0)
    declared = padding_of(node, window)
    padding = rounded(node, window, declared)
    counts = bool(node.attribute("count_include_pad", 0))
    if counts and padding != declared:
        # Declared padding counts, what ceil_mode adds does not: only the former becomes elements.
        operand, rank = padded(node, declared), len(window.size)
        extra = (high - old for high, old in zip(padding[rank:], declared[rank:], strict=True))
        padding, counts = (*(0,) * rank, *extra), False
    return node.build(pool(nn.AvgPoolOp, operand, window, padding, count_padding=counts))


@onnx_op("LpPool")
def import_lp_pool(node: Node) -> SSAValue:
    window = window_of(node, ())
    padding = rounded(node, window, padding_of(node, window))
    return node.build(pool(nn.LpPoolOp, node.operand(0), window, padding, p=node.attribute("p", 2)))


def pool(
    op: type[TensorOp], operand: SSAValue, window: Window, padding: Shape, **settings: int
) -> TensorOp:
    return op(
        operand,
        kernel=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        padding=padding,
        result_types=None,
        **settings,
    )


def rounded(node: Node, window: Window, padding: Shape) -> Shape:
    return ceil_padding(window, padding) if node.attribute("ceil_mode", 0) else padding


def padded(node: Node, padding: Shape) -> SSAValue:
    """The operand with zeros around its spatial dimensions."""
    rank = len(padding) // 2
    low, high = (0, 0, *padding[:rank]), (0, 0, *padding[rank:])
    return node.build(nn.PadOp(node.operand(0), low=low, high=high, mode="constant", value=0.0))
