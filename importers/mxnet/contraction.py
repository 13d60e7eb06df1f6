"""Convolutions and matrix products of MXNet."""

from __future__ import annotations

from math import prod, sqrt

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import shape_of
from ranvier.importers.mxnet.node import Node, mx_op

LAYOUTS = ("NCW", "NCHW", "NCDHW")
CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")


def channels_first(node: Node, value: SSAValue) -> SSAValue:
    """The value in the layout of `nn`, where the node's is channels-last."""
    if not channels_are_last(node):
        return value
    rank = len(shape_of(value))
    return node.transpose(value, (0, rank - 1, *range(1, rank - 1)))


def as_node(node: Node, value: SSAValue) -> SSAValue:
    """A value of the layout of `nn` in the node's."""
    if not channels_are_last(node):
        return value
    rank = len(shape_of(value))
    return node.transpose(value, (0, *range(2, rank), 1))


def channels_are_last(node: Node) -> bool:
    layout = node.text("layout", "None")
    if layout not in (*LAYOUTS, *CHANNELS_LAST, "None"):
        node.unsupported(f"layout is one of {', '.join(LAYOUTS + CHANNELS_LAST)}, got {layout}")
    return layout in CHANNELS_LAST


def symmetric(pads: Shape) -> Shape:
    return (*pads, *pads)


@mx_op("Convolution", "Convolution_v1")
def import_convolution(node: Node) -> SSAValue:
    kernel = node.ints("kernel")
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    bias = None if node.flag("no_bias") else node.operand(2)
    result = node.build(
        nn.ConvOp(
            channels_first(node, node.operand(0)),
            channels_first(node, node.operand(1)),
            *([] if bias is None else [bias]),
            strides=node.ints("stride", ones),
            padding=symmetric(node.ints("pad", zeros)),
            dilations=node.ints("dilate", ones),
            groups=node.integer("num_group", 1),
        )
    )
    return as_node(node, result)


@mx_op("Deconvolution")
def import_deconvolution(node: Node) -> SSAValue:
    kernel = node.ints("kernel")
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    strides, dilations = node.ints("stride", ones), node.ints("dilate", ones)
    operand = channels_first(node, node.operand(0))
    bias = None if node.flag("no_bias", True) else node.operand(2)
    lows, highs = node.ints("pad", zeros), node.ints("pad", zeros)
    extra = node.ints("adj", zeros)
    if target := node.ints("target_shape", ()):
        sizes = shape_of(operand)[2:]
        grown = [
            (size - 1) * stride + (k - 1) * dilation + 1
            for size, stride, k, dilation in zip(sizes, strides, kernel, dilations, strict=True)
        ]
        totals = [size - want for size, want in zip(grown, target, strict=True)]
        extra = tuple(total % 2 for total in totals)
        lows = highs = tuple((total + more) // 2 for total, more in zip(totals, extra, strict=True))
    result = node.build(
        nn.ConvTransposeOp(
            operand,
            channels_first(node, node.operand(1)),
            *([] if bias is None else [bias]),
            strides=strides,
            padding=(*lows, *(high - more for high, more in zip(highs, extra, strict=True))),
            dilations=dilations,
            groups=node.integer("num_group", 1),
        )
    )
    return as_node(node, result)


@mx_op("FullyConnected")
def import_fully_connected(node: Node) -> SSAValue:
    shape, weight = node.shape(), node.operand(1)
    leading = shape[:1] if node.flag("flatten", True) else shape[:-1]
    matrix = node.reshape(node.operand(0), (prod(leading), prod(shape[len(leading) :])))
    bias = None if node.flag("no_bias") else node.operand(2)
    product = node.build(
        nn.GemmOp(
            *(matrix, weight, *([] if bias is None else [bias])),
            alpha=1.0,
            beta=1.0,
            transpose_lhs=False,
            transpose_rhs=True,
        )
    )
    return node.reshape(product, (*leading, shape_of(weight)[0]))


@mx_op("dot")
def import_dot(node: Node) -> SSAValue:
    """The last dimension of the first operand with the first of the second."""
    lhs, rhs = node.operand(0), node.operand(1)
    if node.flag("transpose_a"):
        lhs = node.transpose(lhs, (*range(1, node.rank()), 0))
    if node.flag("transpose_b"):
        rank = len(shape_of(rhs))
        rhs = node.transpose(rhs, (rank - 1, *range(rank - 1)))
    outer, inner = shape_of(lhs)[:-1], shape_of(rhs)[1:]
    depth = shape_of(rhs)[0]
    product = node.build(
        nn.MatmulOp(
            node.reshape(lhs, (prod(outer), depth)), node.reshape(rhs, (depth, prod(inner)))
        )
    )
    return node.reshape(product, (*outer, *inner))


@mx_op("batch_dot", "_linalg_gemm2", "linalg_gemm2")
def import_batch_dot(node: Node) -> SSAValue:
    sides = [node.operand(0), node.operand(1)]
    for position, name in enumerate(("transpose_a", "transpose_b")):
        if node.flag(name):
            rank = len(shape_of(sides[position]))
            swapped = (*range(rank - 2), rank - 1, rank - 2)
            sides[position] = node.transpose(sides[position], swapped)
    product = node.build(nn.MatmulOp(*sides))
    alpha = node.number("alpha", 1.0)
    if alpha == 1.0:
        return product
    return node.build(nn.MulOp(product, node.constant(alpha, node.element())))


# -- Attention over interleaved projections -----------------------------------------------------


def heads_of(node: Node, position: int, parts: int, part: int) -> SSAValue:
    """One of the projections in `[length, batch, heads * parts * depth]`.

    The result is `[batch * heads, length, depth]`.
    """
    value, heads = node.operand(position), node.integer("heads")
    length, batch, width = shape_of(value)
    if width % (heads * parts):
        node.unsupported(f"{width} elements are no {parts} projections of {heads} heads")
    depth = width // (heads * parts)
    split = node.reshape(value, (length, batch * heads, parts, depth))
    taken = node.reshape(node.slice(split, 2, part, 1), (length, batch * heads, depth))
    return node.transpose(taken, (1, 0, 2))


def scores(node: Node, queries: SSAValue, keys: SSAValue) -> SSAValue:
    root = node.constant(sqrt(shape_of(queries)[-1]), node.element())
    scaled = node.build(nn.DivOp(queries, root))
    return node.build(nn.MatmulOp(scaled, node.transpose(keys, (0, 2, 1))))


def mixed(node: Node, weights: SSAValue, values: SSAValue) -> SSAValue:
    """Weighted values as `[length, batch, heads * depth]`."""
    product = node.build(nn.MatmulOp(weights, values))
    rows, length, depth = shape_of(product)
    heads = node.integer("heads")
    turned = node.transpose(product, (1, 0, 2))
    return node.reshape(turned, (length, rows // heads, heads * depth))


@mx_op("_contrib_interleaved_matmul_selfatt_qk")
def import_selfatt_qk(node: Node) -> SSAValue:
    return scores(node, heads_of(node, 0, 3, 0), heads_of(node, 0, 3, 1))


@mx_op("_contrib_interleaved_matmul_selfatt_valatt")
def import_selfatt_valatt(node: Node) -> SSAValue:
    return mixed(node, node.operand(1), heads_of(node, 0, 3, 2))


@mx_op("_contrib_interleaved_matmul_encdec_qk")
def import_encdec_qk(node: Node) -> SSAValue:
    return scores(node, heads_of(node, 0, 1, 0), heads_of(node, 1, 2, 0))


@mx_op("_contrib_interleaved_matmul_encdec_valatt")
def import_encdec_valatt(node: Node) -> SSAValue:
    return mixed(node, node.operand(1), heads_of(node, 0, 2, 1))
