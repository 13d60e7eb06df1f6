"""Quantised ops of ONNX, as the arithmetic on their integers that they stand for.

`nn` has no quantised types: integers are cast to f32, which holds those of 8 and 16 bits, less
their zero points, and multiplied there. So do products: bf16 holds 8 bits less a zero point, and
sums are of f32, exact up to 2^24. Rounding takes place in f32 (`WIDE`), whatever `cast-bf16` does.
"""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import UnitAttr, f32
from xdsl.ir import Attribute, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import WIDE
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of, i32, shape_of, ui8
from ranvier.importers.onnx.contraction import padding_of, window_of
from ranvier.importers.onnx.node import Node, NotInNn, onnx_op
from ranvier.importers.onnx.tensors import element_of_code
from ranvier.importers.semantics import normal_axis


@onnx_op("QuantizeLinear")
def import_quantize(node: Node) -> SSAValue:
    scale, zero = parameters(node, 1), node.optional(2)
    element = ui8 if zero is None else element_of(zero)
    if code := node.attribute("output_dtype", 0):
        element = element_of_code(code)
    x, offset = floats(node, node.operand(0)), parameters(node, 2)
    return quantized(node, wide(node, nn.DivOp(x, required(scale))), offset, element)


@onnx_op("DequantizeLinear")
def import_dequantize(node: Node) -> SSAValue:
    result = element_of(node.operand(1))
    if code := node.attribute("output_dtype", 0):
        result = element_of_code(code)
    centred = less(node, node.operand(0), parameters(node, 2))
    scaled = node.build(nn.MulOp(centred, required(parameters(node, 1))))
    return scaled if result == f32 else node.build(nn.CastOp(scaled, result))


@onnx_op("MatMulInteger")
def import_matmul_integer(node: Node) -> SSAValue:
    product = nn.MatmulOp(
        less(node, node.operand(0), of_rows(node, 2)), less(node, node.operand(1), node.optional(3))
    )
    return node.build(nn.CastOp(node.build(product), i32))


@onnx_op("ConvInteger")
def import_conv_integer(node: Node) -> SSAValue:
    sums = convolution(node, 0, 1, zeros=(2, 3))
    return node.build(nn.CastOp(sums, i32))


@onnx_op("QLinearMatMul")
def import_qlinear_matmul(node: Node) -> SSAValue:
    """Operands are `a`, its scale and zero point, those of `b`, and those of the result."""
    product = nn.MatmulOp(
        less(node, node.operand(0), of_rows(node, 2)), less(node, node.operand(3), node.optional(5))
    )
    scale = wide(node, nn.MulOp(required(of_rows(node, 1)), floats(node, node.operand(4))))
    return requantized(node, node.build(product), scale, 6)


@onnx_op("QLinearConv")
def import_qlinear_conv(node: Node) -> SSAValue:
    """Operands as of QLinearMatMul, and a bias at the scale of the sums."""
    sums = convolution(node, 0, 3, zeros=(2, 5), bias=8)
    of_weight = per_output(node, floats(node, node.operand(4)), len(shape_of(sums)), 1)
    scale = wide(node, nn.MulOp(floats(node, node.operand(1)), of_weight))
    return requantized(node, sums, scale, 6)


# -- Of onnxruntime's domain, which its quantizer writes --------------------------------------

MICROSOFT = "com.microsoft"


@onnx_op("QLinearAdd", domain=MICROSOFT)
def import_qlinear_add(node: Node) -> SSAValue:
    total = wide(node, nn.AddOp(dequantized(node, 0), dequantized(node, 3)))
    return at_scale(node, total, 6)


@onnx_op("QLinearMul", domain=MICROSOFT)
def import_qlinear_mul(node: Node) -> SSAValue:
    product = wide(node, nn.MulOp(dequantized(node, 0), dequantized(node, 3)))
    return at_scale(node, product, 6)


@onnx_op("QLinearSigmoid", domain=MICROSOFT)
def import_qlinear_sigmoid(node: Node) -> SSAValue:
    return at_scale(node, wide(node, nn.SigmoidOp(dequantized(node, 0))), 3)


@onnx_op("QLinearGlobalAveragePool", domain=MICROSOFT)
def import_qlinear_global_average_pool(node: Node) -> SSAValue:
    rank = node.rank()
    axes = range(1, rank - 1) if node.attribute("channels_last", 0) else range(2, rank)
    mean = nn.ReduceMeanOp(dequantized(node, 0), axes=list(axes), keepdims=True)
    return at_scale(node, wide(node, mean), 3)


@onnx_op("QLinearConcat", domain=MICROSOFT)
def import_qlinear_concat(node: Node) -> SSAValue:
    """The result's scale and zero point come first."""
    parts = [dequantized(node, place) for place in range(2, len(node.inputs), 3)]
    axis = normal_axis(node.attribute("axis", 0), len(node.shape(2)))
    return at_scale(node, wide(node, nn.ConcatOp(*parts, axis=axis)), 0)


@onnx_op("QGemm", domain=MICROSOFT)
def import_qgemm(node: Node) -> SSAValue:
    """The sums are of integers; without a scale of the result it is of floats."""
    addend = node.optional(6)
    sums = nn.GemmOp(
        less(node, node.operand(0), node.optional(2)),
        less(node, node.operand(3), node.optional(5)),
        *([] if addend is None else [floats(node, addend)]),
        alpha=1.0,
        beta=1.0,
        transpose_lhs=bool(node.attribute("transA", 0)),
        transpose_rhs=bool(node.attribute("transB", 0)),
    )
    alpha = node.build_constant(np.array(node.attribute("alpha", 1.0), np.float32))
    scale = wide(node, nn.MulOp(floats(node, node.operand(1)), floats(node, node.operand(4))))
    total = wide(node, nn.MulOp(node.build(sums), wide(node, nn.MulOp(scale, alpha))))
    return total if node.optional(7) is None else at_scale(node, total, 7)


def dequantized(node: Node, position: int) -> SSAValue:
    """Three operands as floats: integers, their scale and their zero point."""
    centred = less(node, node.operand(position), node.optional(position + 2))
    return wide(node, nn.MulOp(centred, floats(node, node.operand(position + 1))))


def at_scale(node: Node, value: SSAValue, position: int) -> SSAValue:
    """Floats as integers at the scale and zero point of two operands."""
    scaled = wide(node, nn.DivOp(value, floats(node, node.operand(position))))
    zero = node.optional(position + 1)
    offset = None if zero is None else floats(node, zero)
    element = ui8 if zero is None else element_of(zero)
    return quantized(node, scaled, offset, element)


# -- Parts ------------------------------------------------------------------------------------


def convolution(
    node: Node, image: int, weight: int, *, zeros: tuple[int, int], bias: int | None = None
) -> SSAValue:
    """The sums of a convolution of integers, as floats; a padded element is the zero point."""
    rank, offset = len(node.shape(weight)), node.optional(zeros[1])
    kernel = less(
        node, node.operand(weight), None if offset is None else per_output(node, offset, rank, 0)
    )
    window = window_of(node, node.shape(weight)[2:])
    added = None if bias is None else node.optional(bias)
    return node.build(
        nn.ConvOp(
            less(node, node.operand(image), node.optional(zeros[0])),
            kernel,
            *([] if added is None else [floats(node, added)]),
            strides=window.strides,
            padding=padding_of(node, window),
            dilations=window.dilations,
            groups=int(node.attribute("group", 1)),
        )
    )


def requantized(node: Node, sums: SSAValue, scale: SSAValue, position: int) -> SSAValue:
    """Sums of products at a scale, at the scale and zero point that two operands give."""
    result, zero = floats(node, node.operand(position)), node.operand(position + 1)
    ratio = wide(node, nn.DivOp(scale, result))
    return quantized(node, wide(node, nn.MulOp(sums, ratio)), floats(node, zero), element_of(zero))


def quantized(node: Node, scaled: SSAValue, zero: SSAValue | None, element: Attribute) -> SSAValue:
    """`round(scaled) + zero`, bounded by the integers of an element type."""
    if (dtype := dtype_of(element)).kind not in "iu":
        raise NotInNn
    whole = wide(node, nn.RoundOp(scaled))
    if zero is not None:
        whole = wide(node, nn.AddOp(whole, zero))
    info = np.iinfo(dtype)
    bounded = wide(node, nn.ClampOp(whole, low=float(info.min), high=float(info.max)))
    return node.build(nn.CastOp(bounded, element))


def parameters(node: Node, position: int) -> SSAValue | None:
    """A scale or a zero point as floats that broadcast: one, or one per index of an axis."""
    if (value := node.optional(position)) is None:
        return None
    shape, rank = shape_of(value), node.rank()
    if len(shape) > 1 or node.attribute("block_size", 0):
        raise NotInNn  # one per block
    if shape in ((), (1,)):
        return reshaped(node, floats(node, value), ())
    axis = normal_axis(node.attribute("axis", 1), rank)
    return reshaped(node, floats(node, value), (*shape, *(1,) * (rank - axis - 1)))


def of_rows(node: Node, position: int) -> SSAValue | None:
    """A parameter of the first matrix, one per row if it has more than one."""
    if (value := node.optional(position)) is None:
        return None
    value, shape = floats(node, value), shape_of(value)
    return reshaped(node, value, (*shape, 1)) if len(shape) == 1 and shape != (1,) else value


def per_output(node: Node, value: SSAValue, rank: int, axis: int) -> SSAValue:
    """A parameter of a kernel, one per output channel if it has more than one."""
    shape = shape_of(value)
    return reshaped(node, value, (*shape, *(1,) * (rank - axis - 1))) if shape else value


def less(node: Node, value: SSAValue, zero: SSAValue | None) -> SSAValue:
    """Integers less their zero point, as floats."""
    centred = floats(node, value)
    return centred if zero is None else wide(node, nn.SubOp(centred, floats(node, zero)))


def floats(node: Node, value: SSAValue) -> SSAValue:
    return value if element_of(value) == f32 else node.build(nn.CastOp(value, f32))


def reshaped(node: Node, value: SSAValue, shape: tuple[int, ...]) -> SSAValue:
    return value if shape_of(value) == shape else node.build(nn.ReshapeOp(value, shape=shape))


def wide(node: Node, op: TensorOp) -> SSAValue:
    """Append an op that no cast makes narrow: its result is rounded to whole numbers."""
    op.attributes[WIDE] = UnitAttr()
    return node.build(op)


def required(value: SSAValue | None) -> SSAValue:
    if value is None:
        raise NotInNn
    return value
