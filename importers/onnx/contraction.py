"""Convolution and matrix products of ONNX."""

from __future__ import annotations

from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp
from ranvier.importers.einsum import import_equation
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


@onnx_op("ConvTranspose")
def import_conv_transpose(node: Node) -> SSAValue:
    window = window_of(node, node.shape(1)[2:])
    bias = node.optional(2)
    return node.build(
        nn.ConvTransposeOp(
            *(node.operand(0), node.operand(1), *([] if bias is None else [bias])),
            strides=window.strides,
            padding=cut_of(node, window),
            dilations=window.dilations,
            groups=int(node.attribute("group", 1)),
        )
    )


def cut_of(node: Node, window: Window) -> Shape:
    """What a transposed convolution cuts off: `pads`, less what `output_padding` adds after.

    A stated `output_shape`, and SAME, which stands for `size * stride`, decide it otherwise.
    """
    rank = len(window.size)
    extra = node.ints("output_padding") or (0,) * rank
    grown = [
        (size - 1) * stride + extent + more
        for size, stride, extent, more in zip(
            window.size, window.strides, window.extents(), extra, strict=True
        )
    ]
    automatic: str = node.attribute("auto_pad", "NOTSET")
    wanted = node.ints("output_shape")
    if wanted is None and automatic.startswith("SAME"):
        wanted = tuple(s * stride for s, stride in zip(window.size, window.strides, strict=True))
    if wanted is None:
        pads = padding_of(node, window) if automatic == "NOTSET" else (0,) * (2 * rank)
        return (*pads[:rank], *(high - more for high, more in zip(pads[rank:], extra, strict=True)))
    totals = [size - want for size, want in zip(grown, wanted[-rank:], strict=True)]
    smaller = [max(0, total) // 2 for total in totals]
    larger = [max(0, total) - less for total, less in zip(totals, smaller, strict=True)]
    lows = smaller if automatic == "SAME_UPPER" else larger
    highs = [total - low - more for total, low, more in zip(totals, lows, extra, strict=True)]
    return (*lows, *highs)


@onnx_op("Einsum")
def import_einsum(node: Node) -> SSAValue:
    return import_equation(node.build, node.attribute("equation", ""), *node.operands())


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
