"""Convolution and matrix products of TensorFlow. Filters are HWIO, those of `nn` are OIHW."""

from __future__ import annotations

from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import shape_of
from ranvier.importers.einsum import import_equation
from ranvier.importers.semantics import Window
from ranvier.importers.tensorflow.layout import Layout, layout_of, padding_of, spatial_shape
from ranvier.importers.tensorflow.node import Node, NotInNn, tf_op
from ranvier.importers.tensorflow.shape import reshape, transpose

# -- Convolutions -----------------------------------------------------------------------------


@tf_op("Conv2D", "Conv3D")
def import_conv(node: Node) -> SSAValue:
    layout, weight = layout_of(node, node.rank()), node.operand(1)
    *_, inputs, outputs = node.shape(1)
    window = window_of(node, layout, node.shape(1)[:-2])
    rank = len(window.size)
    x = layout.to_nn(node, node.operand(0))
    channels = shape_of(x)[1]
    if not inputs or channels % inputs or outputs % (channels // inputs):
        raise VerifyException(f"{channels} channels do not fit a filter of {list(node.shape(1))}")
    kernel = transpose(node, weight, (rank + 1, rank, *range(rank)))
    return convolution(node, layout, window, x, kernel, channels // inputs)


@tf_op("DepthwiseConv2dNative")
def import_depthwise(node: Node) -> SSAValue:
    """Each channel has a number of filters of its own; their results stay together."""
    layout, (high, wide, channels, times) = layout_of(node, 4), node.shape(1)
    window = window_of(node, layout, (high, wide))
    kernel = transpose(node, node.operand(1), (2, 3, 0, 1))
    kernel = reshape(node, kernel, (channels * times, 1, high, wide))
    x = layout.to_nn(node, node.operand(0))
    return convolution(node, layout, window, x, kernel, channels)


def window_of(node: Node, layout: Layout, kernel: Shape, size: Shape | None = None) -> Window:
    ones = (1,) * layout.rank
    return Window(
        spatial_shape(node, layout) if size is None else size,
        kernel,
        layout.spatial(node.ints("strides") or ones),
        layout.spatial(node.ints("dilations") or ones),
    )


def convolution(
    node: Node, layout: Layout, window: Window, x: SSAValue, kernel: SSAValue, groups: int
) -> SSAValue:
    result = nn.ConvOp(
        x,
        kernel,
        strides=window.strides,
        padding=padding_of(node, window, layout),
        dilations=window.dilations,
        groups=groups,
    )
    return layout.from_nn(node, node.build(result))


@tf_op("Conv2DBackpropInput", "Conv3DBackpropInputV2")
def import_conv_transpose(node: Node) -> SSAValue:
    """Operands are the shape of the result, the filter of the convolution, and the tensor.

    The result is as large as the convolution's operand was: what its windows do not reach is cut
    off after, or grown by a negative cut.
    """
    sizes, layout = node.constant_ints(0), layout_of(node, len(node.shape(2)))
    wanted = layout.sizes(sizes) if len(sizes) == layout.rank else tuple(sizes)
    window = window_of(node, layout, node.shape(1)[:-2], wanted)
    rank, given = len(wanted), spatial_shape(node, layout, 2)
    lows = padding_of(node, window, layout)[:rank]
    grown = [
        (n - 1) * s + e for n, s, e in zip(given, window.strides, window.extents(), strict=True)
    ]
    highs = [g - low - n for g, low, n in zip(grown, lows, wanted, strict=True)]
    kernel = transpose(node, node.operand(1), (rank + 1, rank, *range(rank)))
    x = layout.to_nn(node, node.operand(2))
    if shape_of(x)[1] != shape_of(kernel)[0]:
        raise NotInNn  # in groups
    result = nn.ConvTransposeOp(
        x,
        kernel,
        strides=window.strides,
        padding=(*lows, *highs),
        dilations=window.dilations,
        groups=1,
    )
    return layout.from_nn(node, node.build(result))


# -- Products ---------------------------------------------------------------------------------


@tf_op("MatMul")
def import_matmul(node: Node) -> SSAValue:
    lhs, rhs = node.operand(0), node.operand(1)
    flags = [bool(node.attribute(f"transpose_{side}", False)) for side in "ab"]
    if not any(flags):
        return node.build(nn.MatmulOp(lhs, rhs))
    transposed = {"transpose_lhs": flags[0], "transpose_rhs": flags[1]}
    return node.build(nn.GemmOp(lhs, rhs, result_types=None, alpha=1.0, beta=1.0, **transposed))


@tf_op("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def import_batch_matmul(node: Node) -> SSAValue:
    lhs, rhs = (adjoint(node, position, side) for position, side in enumerate("xy"))
    return node.build(nn.MatmulOp(lhs, rhs))


def adjoint(node: Node, position: int, side: str) -> SSAValue:
    value, rank = node.operand(position), len(node.shape(position))
    if not node.attribute(f"adj_{side}", False):
        return value
    return transpose(node, value, (*range(rank - 2), rank - 1, rank - 2))


@tf_op("Einsum")
def import_einsum(node: Node) -> SSAValue:
    return import_equation(node.build, node.attribute("equation", ""), *node.operands())
