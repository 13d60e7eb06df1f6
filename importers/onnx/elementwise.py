"""Elementwise ops of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from xdsl.ir import Attribute, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, element_of, is_float
from ranvier.importers.onnx.node import Node, NotInNn, number_of, onnx_op
from ranvier.importers.onnx.tensors import element_of_code

ROWS: dict[str, type[TensorOp]] = {
    "Abs": nn.AbsOp,
    "Add": nn.AddOp,
    "And": nn.AndOp,
    "BitwiseAnd": nn.AndOp,
    "BitwiseOr": nn.OrOp,
    "Ceil": nn.CeilOp,
    "Cos": nn.CosOp,
    "Div": nn.DivOp,
    "Equal": nn.EqualOp,
    "Erf": nn.ErfOp,
    "Exp": nn.ExpOp,
    "Floor": nn.FloorOp,
    "Greater": nn.GreaterOp,
    "GreaterOrEqual": nn.GreaterEqualOp,
    "HardSwish": nn.HardSwishOp,
    "Less": nn.LessOp,
    "LessOrEqual": nn.LessEqualOp,
    "Log": nn.LogOp,
    "Mul": nn.MulOp,
    "Neg": nn.NegOp,
    "Not": nn.NotOp,
    "Or": nn.OrOp,
    "Reciprocal": nn.ReciprocalOp,
    "Relu": nn.ReluOp,
    "Sigmoid": nn.SigmoidOp,
    "Sin": nn.SinOp,
    "Softplus": nn.SoftplusOp,
    "Sqrt": nn.SqrtOp,
    "Sub": nn.SubOp,
    "Tanh": nn.TanhOp,
    "Where": nn.SelectOp,
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
    base, exponent = node.operand(0), node.operand(1)
    if is_float(element_of(exponent)) and not is_float(element_of(base)):
        raise NotInNn  # a fraction as exponent must not be rounded to the base's integers
    return node.build(nn.PowOp(base, cast(node, exponent, element_of(base))))


@onnx_op("Sum")
def import_sum(node: Node) -> SSAValue:
    return chain(node, nn.AddOp)


@onnx_op("Max")
def import_max(node: Node) -> SSAValue:
    return chain(node, nn.MaxOp)


@onnx_op("Min")
def import_min(node: Node) -> SSAValue:
    return chain(node, nn.MinOp)


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
