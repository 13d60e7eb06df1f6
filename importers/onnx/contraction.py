"""Convolution and matrix products of ONNX."""

from __future__ import annotations

from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp
from ranvier.importers.onnx.node import Node, onnx_op
from ranvier.importers.semantics import AutoPad, Window, automatic_padding

ROWS: dict[str, type[TensorOp]] = {"MatMul": nn.MatmulOp}


@onnx_op("Conv")
def import_conv(node: Node) -> SSAValue:
    window = window_of(node, node.shape(1)[2:])
    bias = node.optional(2)
    return node.build(
        nn.ConvOp(
            *(node.operand(0), node.operand(1), *([] if bias is None else [bias])),
            strides=window.strides,
            padding=padding_of(node, window),
            dilations=window.dilations,
            groups=int(node.attribute("group", 1)),
        )
    )


@onnx_op("Gemm")
def import_gemm(node: Node) -> SSAValue:
    addend = node.optional(2)
    return node.build(
        nn.GemmOp(
            *(node.operand(0), node.operand(1), *([] if addend is None else [addend])),
            alpha=float(node.attribute("alpha", 1.0)),
            beta=float(node.attribute("beta", 1.0)),
            transpose_lhs=bool(node.attribute("transA", 0)),
            transpose_rhs=bool(node.attribute("transB", 0)),
        )
    )


def window_of(node: Node, kernel: Shape) -> Window:
    """The geometry that the attributes of a convolution or a pool describe."""
    ones = (1,) * (node.rank() - 2)
    return Window(
        node.shape()[2:],
        node.ints("kernel_shape") or kernel,
        node.ints("strides") or ones,
        node.ints("dilations") or ones,
    )


def padding_of(node: Node, window: Window) -> Shape:
    """Explicit `pads`, or those that `auto_pad` stands for."""
    automatic: str = node.attribute("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        pads = node.ints("pads") or (0,) * (2 * len(window.size))
        if len(pads) != 2 * len(window.size):
            raise VerifyException(f"{len(window.size)} dimensions take twice as many pads: {pads}")
        return pads
    if automatic not in AutoPad.__members__:
        raise VerifyException(f"auto_pad is NOTSET or {', '.join(AutoPad.__members__)}")
    return automatic_padding(window, AutoPad(automatic))
