"""Elementwise ops of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import inf

import numpy as np
from xdsl.ir import Attribute, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of, is_float
from ranvier.importers.tensorflow.node import Node, enter_rows, tf_op
from ranvier.importers.tensorflow.values import Value

ROWS: dict[str, type[TensorOp]] = {
    "Abs": nn.AbsOp,
    "Acos": nn.AcosOp,
    "Acosh": nn.AcoshOp,
    "Add": nn.AddOp,
    "AddV2": nn.AddOp,
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
    "FloorMod": nn.ModOp,
    "Greater": nn.GreaterOp,
    "GreaterEqual": nn.GreaterEqualOp,
    "Inv": nn.ReciprocalOp,
    "IsNan": nn.IsNanOp,
    "LeftShift": nn.ShiftLeftOp,
    "Less": nn.LessOp,
    "LessEqual": nn.LessEqualOp,
    "Log": nn.LogOp,
    "LogicalAnd": nn.AndOp,
    "LogicalNot": nn.NotOp,
    "LogicalOr": nn.OrOp,
    "Maximum": nn.MaxOp,
    "Minimum": nn.MinOp,
    "Mod": nn.FmodOp,
    "Mul": nn.MulOp,
    "Neg": nn.NegOp,
    "Pow": nn.PowOp,
    "RealDiv": nn.DivOp,
    "Reciprocal": nn.ReciprocalOp,
    "Relu": nn.ReluOp,
    "RightShift": nn.ShiftRightOp,
    "Rint": nn.RoundOp,
    "Round": nn.RoundOp,
    "Rsqrt": nn.RsqrtOp,
    "SelectV2": nn.SelectOp,
    "Sigmoid": nn.SigmoidOp,
    "Sign": nn.SignOp,
    "Sin": nn.SinOp,
    "Sinh": nn.SinhOp,
    "Softplus": nn.SoftplusOp,
    "Sqrt": nn.SqrtOp,
    "Sub": nn.SubOp,
    "Tan": nn.TanOp,
    "Tanh": nn.TanhOp,
    "TruncateDiv": nn.DivOp,
    "TruncateMod": nn.FmodOp,
}
enter_rows(ROWS)

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


# -- Settings ---------------------------------------------------------------------------------


@tf_op("Elu")
def import_elu(node: Node) -> SSAValue:
    return node.build(nn.EluOp(node.operand(0), alpha=1.0))


@tf_op("LeakyRelu")
def import_leaky_relu(node: Node) -> SSAValue:
    return node.build(nn.LeakyReluOp(node.operand(0), alpha=float(node.attribute("alpha", 0.2))))


@tf_op("Relu6")
def import_relu6(node: Node) -> SSAValue:
    return node.build(nn.ClampOp(node.operand(0), low=0.0, high=6.0))


@tf_op("ClipByValue")
def import_clip(node: Node) -> SSAValue:
    low = node.build(nn.MaxOp(node.operand(0), node.operand(1)))
    return node.build(nn.MinOp(low, node.operand(2)))


@tf_op("Cast")
def import_cast(node: Node) -> SSAValue:
    return cast(node, node.operand(0), node.element_attribute("DstT"))


def cast(node: Node, value: SSAValue, element: Attribute) -> SSAValue:
    return value if element_of(value) == element else node.build(nn.CastOp(value, element))


@tf_op("BiasAdd", "BiasAddV1")
def import_bias_add(node: Node) -> SSAValue:
    bias = node.operand(1)
    if node.attribute("data_format", "NHWC").startswith("NC") and node.rank() > 2:
        ones = (1,) * (node.rank() - 2)
        bias = node.build(nn.ReshapeOp(bias, shape=(*node.shape(1), *ones)))
    return node.build(nn.AddOp(node.operand(0), bias))


@tf_op("AddN", "AccumulateNV2")
def import_add_n(node: Node) -> SSAValue:
    return reduce(lambda left, right: node.build(nn.AddOp(left, right)), node.operands())


@tf_op("Select")
def import_select(node: Node) -> SSAValue:
    """A condition of one dimension chooses rows."""
    condition, ones = node.operand(0), (1,) * (len(node.shape(1)) - 1)
    if node.rank() == 1 and ones:
        condition = node.build(nn.ReshapeOp(condition, shape=(*node.shape(), *ones)))
    return node.build(nn.SelectOp(condition, node.operand(1), node.operand(2)))


@tf_op("IsInf")
def import_is_inf(node: Node) -> SSAValue:
    return node.build(nn.IsInfOp(node.operand(0), negative=True, positive=True))


# -- Formulas: what TensorFlow names and others write out -------------------------------------


def number(node: Node, value: float, like: SSAValue) -> SSAValue:
    """A scalar of the element type of a tensor."""
    return node.build_constant(np.array(value).astype(dtype_of(element_of(like))))


@tf_op("Square")
def import_square(node: Node) -> SSAValue:
    return node.build(nn.MulOp(node.operand(0), node.operand(0)))


@tf_op("SquaredDifference")
def import_squared_difference(node: Node) -> SSAValue:
    difference = node.build(nn.SubOp(node.operand(0), node.operand(1)))
    return node.build(nn.MulOp(difference, difference))


@tf_op("NotEqual")
def import_not_equal(node: Node) -> SSAValue:
    return node.build(nn.NotOp(node.build(nn.EqualOp(node.operand(0), node.operand(1)))))


@tf_op("Invert")
def import_invert(node: Node) -> SSAValue:
    """All bits set, exclusive or."""
    ones = np.invert(np.zeros((), dtype_of(node.element())))
    return node.build(nn.XorOp(node.operand(0), node.build_constant(ones)))


@tf_op("IsFinite")
def import_is_finite(node: Node) -> SSAValue:
    """Smaller than infinity in magnitude; NaN is not."""
    magnitude = node.build(nn.AbsOp(node.operand(0)))
    return node.build(nn.LessOp(magnitude, number(node, inf, magnitude)))


@tf_op("Erfc")
def import_erfc(node: Node) -> SSAValue:
    """`1 - erf(x)`"""
    erf = node.build(nn.ErfOp(node.operand(0)))
    return node.build(nn.SubOp(number(node, 1, erf), erf))


@tf_op("Log1p")
def import_log1p(node: Node) -> SSAValue:
    x = node.operand(0)
    return node.build(nn.LogOp(node.build(nn.AddOp(x, number(node, 1, x)))))


@tf_op("Expm1")
def import_expm1(node: Node) -> SSAValue:
    power = node.build(nn.ExpOp(node.operand(0)))
    return node.build(nn.SubOp(power, number(node, 1, power)))


@tf_op("Selu")
def import_selu(node: Node) -> SSAValue:
    elu = node.build(nn.EluOp(node.operand(0), alpha=SELU_ALPHA))
    return node.build(nn.MulOp(elu, number(node, SELU_SCALE, elu)))


@tf_op("Softsign")
def import_softsign(node: Node) -> SSAValue:
    """`x / (|x| + 1)`"""
    x = node.operand(0)
    total = node.build(nn.AddOp(node.build(nn.AbsOp(x)), number(node, 1, x)))
    return node.build(nn.DivOp(x, total))


@tf_op("FloorDiv")
def import_floor_div(node: Node) -> SSAValue:
    """Of integers, what the floored remainder leaves divides exactly."""
    x, y = node.operand(0), node.operand(1)
    if is_float(element_of(x)):
        return node.build(nn.FloorOp(node.build(nn.DivOp(x, y))))
    rest = node.build(nn.ModOp(x, y))
    return node.build(nn.DivOp(node.build(nn.SubOp(x, rest)), y))


@tf_op("DivNoNan")
def import_div_no_nan(node: Node) -> SSAValue:
    """0 where the divisor is 0."""
    return without_zeros(node, node.operand(1), lambda y: nn.DivOp(node.operand(0), y))


@tf_op("MulNoNan")
def import_mul_no_nan(node: Node) -> SSAValue:
    """0 where the second factor is 0, whatever the first."""
    x, y = node.operand(0), node.operand(1)
    zero = number(node, 0, y)
    product = node.build(nn.MulOp(x, y))
    return node.build(nn.SelectOp(node.build(nn.EqualOp(y, zero)), zero, product))


@tf_op("Xdivy")
def import_xdivy(node: Node) -> SSAValue:
    return zero_of_zero(node, node.build(nn.DivOp(node.operand(0), node.operand(1))))


@tf_op("Xlogy")
def import_xlogy(node: Node) -> SSAValue:
    logarithm = node.build(nn.LogOp(node.operand(1)))
    return zero_of_zero(node, node.build(nn.MulOp(node.operand(0), logarithm)))


def zero_of_zero(node: Node, value: SSAValue) -> SSAValue:
    """0 where the first operand is 0."""
    x, zero = node.operand(0), number(node, 0, node.operand(0))
    return node.build(nn.SelectOp(node.build(nn.EqualOp(x, zero)), zero, value))


def without_zeros(node: Node, value: SSAValue, op: Callable[[SSAValue], TensorOp]) -> SSAValue:
    """An op on 1 in place of 0, and 0 where it was 0."""
    zero, one = number(node, 0, value), number(node, 1, value)
    is_zero = node.build(nn.EqualOp(value, zero))
    result = node.build(op(node.build(nn.SelectOp(is_zero, one, value))))
    return node.build(nn.SelectOp(is_zero, zero, result))


# -- Identities -------------------------------------------------------------------------------


@tf_op(
    "Identity",
    "StopGradient",
    "PreventGradient",
    "Snapshot",
    "CheckNumerics",
    "PlaceholderWithDefault",
    "Enter",
    "RefEnter",
    "LoopCond",
    "NextIteration",
)
def import_identity(node: Node) -> Value:
    return node.inputs[0]


@tf_op("EnsureShape")
def import_ensure_shape(node: Node) -> SSAValue:
    return node.operand(0)


@tf_op("IdentityN")
def import_identity_n(node: Node) -> Sequence[Value]:
    return node.inputs
