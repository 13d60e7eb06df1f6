"""Elementwise ops of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from xdsl.ir import Attribute, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape, broadcast_shapes
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of, is_float, shape_of
from ranvier.importers.onnx.node import Node, NotInNn, aligned_operands, number_of, onnx_op
from ranvier.importers.onnx.tensors import element_of_code

ROWS: dict[str, type[TensorOp]] = {
    "Abs": nn.AbsOp,
    "Acos": nn.AcosOp,
    "Acosh": nn.AcoshOp,
    "Add": nn.AddOp,
    "And": nn.AndOp,
    "Asin": nn.AsinOp,
    "Asinh": nn.AsinhOp,
    "Atan": nn.AtanOp,
    "Atanh": nn.AtanhOp,
    "BitwiseAnd": nn.AndOp,
    "BitwiseOr": nn.OrOp,
    "BitwiseXor": nn.XorOp,
    "Ceil": nn.CeilOp,
    "Cos": nn.CosOp,
    "Cosh": nn.CoshOp,
    "Div": nn.DivOp,
    "Equal": nn.EqualOp,
    "Erf": nn.ErfOp,
    "Exp": nn.ExpOp,
    "Floor": nn.FloorOp,
    "Greater": nn.GreaterOp,
    "GreaterOrEqual": nn.GreaterEqualOp,
    "HardSwish": nn.HardSwishOp,
    "IsNaN": nn.IsNanOp,
    "Less": nn.LessOp,
    "LessOrEqual": nn.LessEqualOp,
    "Log": nn.LogOp,
    "Mul": nn.MulOp,
    "Neg": nn.NegOp,
    "Not": nn.NotOp,
    "Or": nn.OrOp,
    "Reciprocal": nn.ReciprocalOp,
    "Relu": nn.ReluOp,
    "Round": nn.RoundOp,
    "Sigmoid": nn.SigmoidOp,
    "Sign": nn.SignOp,
    "Sin": nn.SinOp,
    "Sinh": nn.SinhOp,
    "Softplus": nn.SoftplusOp,
    "Sqrt": nn.SqrtOp,
    "Sub": nn.SubOp,
    "Tan": nn.TanOp,
    "Tanh": nn.TanhOp,
    "Where": nn.SelectOp,
    "Xor": nn.XorOp,
}


# -- Settings ---------------------------------------------------------------------------------


@onnx_op("Elu")
def import_elu(node: Node) -> SSAValue:
    return node.build(nn.EluOp(node.operand(0), alpha=float(node.attribute("alpha", 1.0))))


@onnx_op("LeakyRelu")
def import_leaky_relu(node: Node) -> SSAValue:
    return node.build(nn.LeakyReluOp(node.operand(0), alpha=float(node.attribute("alpha", 0.01))))


@onnx_op("HardSigmoid")
def import_hard_sigmoid(node: Node) -> SSAValue:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    return node.build(nn.HardSigmoidOp(node.operand(0), alpha=float(alpha), beta=float(beta)))


@onnx_op("Gelu")
def import_gelu(node: Node) -> SSAValue:
    approximate: str = node.attribute("approximate", "none")
    return node.build(nn.GeluOp(node.operand(0), approximate=approximate))


@onnx_op("Swish")
def import_swish(node: Node) -> SSAValue:
    if node.attribute("alpha", 1.0) != 1.0:
        raise NotInNn
    return node.build(nn.SiluOp(node.operand(0)))


@onnx_op("PRelu")
def import_prelu(node: Node) -> SSAValue:
    """A slope per channel, as old models have it, stands before the spatial dimensions."""
    slope, shape = node.operand(1), node.shape()
    if node.shape(1) == shape[1:2] and shape[-1:] != shape[1:2] != (1,):
        slope = node.build(nn.ReshapeOp(slope, shape=(*shape[1:2], *(1,) * (len(shape) - 2))))
    return node.build(nn.PReluOp(node.operand(0), slope))


@onnx_op("IsInf")
def import_is_inf(node: Node) -> SSAValue:
    signs = {sign: bool(node.attribute(f"detect_{sign}", 1)) for sign in ("negative", "positive")}
    return node.build(nn.IsInfOp(node.operand(0), result_types=None, **signs))


@onnx_op("Cast")
def import_cast(node: Node) -> SSAValue:
    return cast(node, node.operand(0), element_of_code(node.attribute("to", 0)))


@onnx_op("CastLike")
def import_cast_like(node: Node) -> SSAValue:
    return cast(node, node.operand(0), element_of(node.operand(1)))


def cast(node: Node, value: SSAValue, element: Attribute) -> SSAValue:
    return value if element_of(value) == element else node.build(nn.CastOp(value, element))


@onnx_op("Clip")
def import_clip_6(node: Node) -> SSAValue:
    return clamp(node, node.attribute("min"), node.attribute("max"))


@onnx_op("Clip", since=11)  # bounds became operands
def import_clip(node: Node) -> SSAValue:
    bounds = [node.optional(1), node.optional(2)]
    known = [None if b is None else node.builder.constant_of(b) for b in bounds]
    if all(k is not None for b, k in zip(bounds, known, strict=True) if b is not None):
        return clamp(node, *(None if k is None else number_of(k) for k in known))
    low, high = bounds
    value = node.operand(0) if low is None else node.build(nn.MaxOp(node.operand(0), low))
    return value if high is None else node.build(nn.MinOp(value, high))


def clamp(node: Node, low: float | None, high: float | None) -> SSAValue:
    if low is None and high is None:
        return node.operand(0)
    return node.build(nn.ClampOp(node.operand(0), low=low, high=high))


# -- Operands ---------------------------------------------------------------------------------


@onnx_op("Pow")
def import_pow(node: Node) -> SSAValue:
    base, exponent = aligned_operands(node)
    if is_float(element_of(base)) or not is_float(element_of(exponent)):
        return node.build(nn.PowOp(base, cast(node, exponent, element_of(base))))
    # A fraction as exponent must not be rounded to the base's integers.
    power = node.build(nn.PowOp(cast(node, base, element_of(exponent)), exponent))
    return cast(node, power, element_of(base))


@onnx_op("Mod")
def import_mod(node: Node) -> SSAValue:
    op = nn.FmodOp if node.attribute("fmod", 0) else nn.ModOp
    return node.build(op(node.operand(0), node.operand(1)))


@onnx_op("BitShift")
def import_bit_shift(node: Node) -> SSAValue:
    op = nn.ShiftLeftOp if node.attribute("direction", "") == "LEFT" else nn.ShiftRightOp
    return node.build(op(node.operand(0), node.operand(1)))


@onnx_op("BitwiseNot")
def import_bitwise_not(node: Node) -> SSAValue:
    """All bits set, exclusive or."""
    operand = node.operand(0)
    ones = node.build_constant(np.invert(np.zeros((), dtype_of(element_of(operand)))))
    return node.build(nn.XorOp(operand, ones))


@onnx_op("Sum")
def import_sum(node: Node) -> SSAValue:
    return chain(node, nn.AddOp)


@onnx_op("Max")
def import_max(node: Node) -> SSAValue:
    return chain(node, nn.MaxOp)


@onnx_op("Min")
def import_min(node: Node) -> SSAValue:
    return chain(node, nn.MinOp)


@onnx_op("Mean")
def import_mean(node: Node) -> SSAValue:
    """Along a new axis; one operand stays as it is."""
    if len(node.inputs) == 1:
        return node.operand(0)
    shape = broadcast_shapes(*(shape_of(operand) for operand in node.operands()))
    rows = [
        node.build(nn.ReshapeOp(stretched(node, operand, shape), shape=(1, *shape)))
        for operand in node.operands()
    ]
    stack = node.build(nn.ConcatOp(*rows, axis=0))
    return node.build(nn.ReduceMeanOp(stack, axes=(0,), keepdims=False))


def stretched(node: Node, value: SSAValue, shape: Shape) -> SSAValue:
    return value if shape_of(value) == shape else node.build(nn.BroadcastOp(value, shape=shape))


def chain(node: Node, op: type[TensorOp]) -> SSAValue:
    """`op` over any number of operands, from the left; one operand stays as it is."""
    return reduce(lambda left, right: node.build(op(left, right)), node.operands())


# -- Identities -------------------------------------------------------------------------------


@onnx_op("Identity")
def import_identity(node: Node) -> SSAValue:
    return node.operand(0)


@onnx_op("Dropout")
def import_dropout_7(node: Node) -> Sequence[SSAValue]:
    return kept(node)


@onnx_op("Dropout", since=12)  # training_mode became an operand
def import_dropout(node: Node) -> Sequence[SSAValue]:
    if node.scalar(2) and node.scalar(1) != 0:
        raise NotInNn  # random
    return kept(node)


def kept(node: Node) -> Sequence[SSAValue]:
    """The operand unchanged, and a mask that keeps all of it."""
    if not node.uses_output(1):
        return [node.operand(0)]
    yes = node.build_constant(np.array(True))
    return [node.operand(0), node.build(nn.BroadcastOp(yes, shape=node.shape()))]
