"""Elementwise ops of PyTorch."""

from __future__ import annotations

from math import inf

import numpy as np
from xdsl.dialects.builtin import i1
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, dtype_of, is_float
from ranvier.importers.torch.call import Call, Handler, torch_op

# The operand is cast to the element type of the result: integers become floats.
UNARY: dict[str, type[TensorOp]] = {
    "abs": nn.AbsOp,
    "acos": nn.AcosOp,
    "acosh": nn.AcoshOp,
    "asin": nn.AsinOp,
    "asinh": nn.AsinhOp,
    "atan": nn.AtanOp,
    "atanh": nn.AtanhOp,
    "cos": nn.CosOp,
    "cosh": nn.CoshOp,
    "erf": nn.ErfOp,
    "exp": nn.ExpOp,
    "hardswish": nn.HardSwishOp,
    "log": nn.LogOp,
    "neg": nn.NegOp,
    "reciprocal": nn.ReciprocalOp,
    "relu": nn.ReluOp,
    "rsqrt": nn.RsqrtOp,
    "sigmoid": nn.SigmoidOp,
    "sign": nn.SignOp,
    "silu": nn.SiluOp,
    "sin": nn.SinOp,
    "sinh": nn.SinhOp,
    "sqrt": nn.SqrtOp,
    "tan": nn.TanOp,
    "tanh": nn.TanhOp,
}
# Integers are what they are rounded to.
ROUNDING: dict[str, type[TensorOp]] = {"ceil": nn.CeilOp, "floor": nn.FloorOp, "round": nn.RoundOp}
# Both operands are cast to the element type of the result.
BINARY: dict[str, type[TensorOp]] = {
    "bitwise_and": nn.AndOp,
    "bitwise_or": nn.OrOp,
    "bitwise_xor": nn.XorOp,
    "bitwise_left_shift": nn.ShiftLeftOp,
    "bitwise_right_shift": nn.ShiftRightOp,
    "fmod": nn.FmodOp,
    "maximum": nn.MaxOp,
    "minimum": nn.MinOp,
    "mul": nn.MulOp,
    "multiply": nn.MulOp,
    "remainder": nn.ModOp,
    "__and__": nn.AndOp,
    "__or__": nn.OrOp,
    "__xor__": nn.XorOp,
    "__lshift__": nn.ShiftLeftOp,
    "__rshift__": nn.ShiftRightOp,
}
COMPARISONS: dict[str, type[TensorOp]] = {
    "eq": nn.EqualOp,
    "ge": nn.GreaterEqualOp,
    "greater": nn.GreaterOp,
    "greater_equal": nn.GreaterEqualOp,
    "gt": nn.GreaterOp,
    "le": nn.LessEqualOp,
    "less": nn.LessOp,
    "less_equal": nn.LessEqualOp,
    "lt": nn.LessOp,
}
LOGICAL: dict[str, type[TensorOp]] = {
    "logical_and": nn.AndOp,
    "logical_or": nn.OrOp,
    "logical_xor": nn.XorOp,
}
ALIASES = {
    "absolute": "abs",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctanh": "atanh",
    "negative": "neg",
    "sgn": "sign",
    "special_erf": "erf",
    "special_expit": "sigmoid",
}


def unary(op: type[TensorOp]) -> Handler:
    return lambda call: call.build(op(call.operand(first_name(call))))


def first_name(call: Call) -> str:
    """`self` has another name in a few schemas."""
    return next(iter(call.arguments))


def rounding(op: type[TensorOp]) -> Handler:
    def import_rounding(call: Call) -> SSAValue:
        if call.get("decimals", 0):
            call.refuse(f"it rounds to {call['decimals']} decimals")
        return call.build(op(call.tensor())) if call.is_float() else call.tensor()

    return import_rounding


def binary(op: type[TensorOp]) -> Handler:
    def import_binary(call: Call) -> SSAValue:
        first, second = list(call.arguments)[:2]
        chosen = nn.AndOp if op is nn.MulOp and call.element == i1 else op
        return call.build(chosen(call.operand(first), call.operand(second)))

    return import_binary


def comparison(op: type[TensorOp]) -> Handler:
    return lambda call: call.build(op(*call.promoted("self", "other")))


def logical(op: type[TensorOp]) -> Handler:
    """Both operands as truth values."""
    return lambda call: call.build(op(call.operand("self"), call.operand("other")))


for name, unary_op in UNARY.items():
    torch_op(name)(unary(unary_op))
for alias, name in ALIASES.items():
    torch_op(alias)(unary(UNARY[name]))
for name, rounding_op in ROUNDING.items():
    torch_op(name)(rounding(rounding_op))
for name, binary_op in BINARY.items():
    torch_op(name)(binary(binary_op))
for name, comparison_op in COMPARISONS.items():
    torch_op(name)(comparison(comparison_op))
for name, logical_op in LOGICAL.items():
    torch_op(name)(logical(logical_op))


# -- Arithmetic -------------------------------------------------------------------------------


def scaled(call: Call, name: str) -> SSAValue:
    """An operand times `alpha`, which is 1 unless stated."""
    value, alpha = call.operand(name), call.get("alpha", 1)
    return value if alpha == 1 else call.build(nn.MulOp(value, call.scalar(alpha)))


@torch_op("add")
def import_add(call: Call) -> SSAValue:
    return call.build(nn.AddOp(call.operand("self"), scaled(call, "other")))


@torch_op("sub", "subtract")
def import_sub(call: Call) -> SSAValue:
    return call.build(nn.SubOp(call.operand("self"), scaled(call, "other")))


@torch_op("rsub")
def import_rsub(call: Call) -> SSAValue:
    return call.build(nn.SubOp(call.operand("other"), scaled(call, "self")))


@torch_op("div", "divide", "true_divide", "floor_divide")
def import_div(call: Call) -> SSAValue:
    """Integers round toward zero in `nn`; floats are rounded by an op of their own."""
    floor_division = call.op == "floor_divide"
    mode = "floor" if floor_division else call.get("rounding_mode")
    lhs, rhs = call.operand("self"), call.operand("other")
    if mode is None or (mode == "trunc" and not is_float(call.element)):
        return call.build(nn.DivOp(lhs, rhs))
    if mode == "floor" and is_float(call.element):
        # As PyTorch has it: exact where x / y rounds up to an integer that it is below.
        remainder = call.build(nn.ModOp(lhs, rhs))
        quotient = call.build(nn.DivOp(call.build(nn.SubOp(lhs, remainder)), rhs))
        return call.build(nn.RoundOp(quotient))
    if mode == "floor":
        remainder = call.build(nn.ModOp(lhs, rhs))
        return call.build(nn.DivOp(call.build(nn.SubOp(lhs, remainder)), rhs))
    return truncated(call, call.build(nn.DivOp(lhs, rhs)))


@torch_op("trunc", "fix")
def import_trunc(call: Call) -> SSAValue:
    return truncated(call, call.tensor()) if call.is_float() else call.tensor()


def truncated(call: Call, value: SSAValue) -> SSAValue:
    """`sign(x) * floor(|x|)`"""
    whole = call.build(nn.FloorOp(call.build(nn.AbsOp(value))))
    return call.build(nn.MulOp(call.build(nn.SignOp(value)), whole))


@torch_op("pow", "float_power")
def import_pow(call: Call) -> SSAValue:
    exponent = call.arguments["exponent"]
    base = call.operand("self")
    if exponent == 2:
        return call.build(nn.MulOp(base, base))
    if not is_float(call.element) and (not isinstance(exponent, int) or exponent < 0):
        call.refuse("a power of integers has a negative or an unknown exponent")
    return call.build(nn.PowOp(base, call.operand("exponent")))


@torch_op("square")
def import_square(call: Call) -> SSAValue:
    return call.build(nn.MulOp(call.operand("self"), call.operand("self")))


@torch_op("bitwise_not", "logical_not")
def import_not(call: Call) -> SSAValue:
    ones = np.invert(np.zeros((), dtype_of(call.element)))
    if ones.dtype == np.bool_:
        return call.build(nn.NotOp(call.operand("self")))
    return call.build(nn.XorOp(call.tensor(), call.constant(ones)))


@torch_op("ne", "not_equal")
def import_ne(call: Call) -> SSAValue:
    return call.build(nn.NotOp(call.build(nn.EqualOp(*call.promoted("self", "other")))))


# -- Bounds and choices -----------------------------------------------------------------------


@torch_op("clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "relu6")
def import_clamp(call: Call) -> SSAValue:
    low, high = bounds(call)
    value = call.operand("self")
    if isinstance(low, SSAValue) or isinstance(high, SSAValue):
        value = value if low is None else call.build(nn.MaxOp(value, call.operand("min")))
        return value if high is None else call.build(nn.MinOp(value, call.operand("max")))
    if any(bound is not None and bound != bound for bound in (low, high)):
        call.refuse("a bound is not a number")
    if not is_float(call.element):
        low, high = (None if b in (None, inf, -inf) else int(b) for b in (low, high))
    return call.build(nn.ClampOp(value, low=low, high=high))


def bounds(call: Call) -> tuple[SSAValue | float | None, SSAValue | float | None]:
    if call.op == "relu6":
        return 0, 6
    given = call.arguments
    return given.get("min", given.get("min_val")), given.get("max", given.get("max_val"))


@torch_op("where")
def import_where(call: Call) -> SSAValue:
    if not {"self", "other"} <= call.arguments.keys():
        call.refuse("its result depends on values")
    condition = call.cast(call.tensor("condition"), i1)
    return call.build(nn.SelectOp(condition, call.operand("self"), call.operand("other")))


@torch_op("masked_fill")
def import_masked_fill(call: Call) -> SSAValue:
    return call.build(nn.SelectOp(call.tensor("mask"), call.operand("value"), call.operand("self")))


@torch_op("threshold")
def import_threshold(call: Call) -> SSAValue:
    above = call.build(nn.GreaterOp(call.tensor(), call.scalar(call["threshold"])))
    return call.build(nn.SelectOp(above, call.tensor(), call.scalar(call["value"])))


# -- Activations ------------------------------------------------------------------------------


@torch_op("gelu")
def import_gelu(call: Call) -> SSAValue:
    return call.build(nn.GeluOp(call.tensor(), approximate=str(call.get("approximate", "none"))))


@torch_op("leaky_relu")
def import_leaky_relu(call: Call) -> SSAValue:
    return call.build(nn.LeakyReluOp(call.tensor(), alpha=float(call["negative_slope"])))


@torch_op("elu")
def import_elu(call: Call) -> SSAValue:
    if (call["scale"], call["input_scale"]) != (1, 1):
        call.refuse(f"it is scaled by {call['scale']} and {call['input_scale']}")
    return call.build(nn.EluOp(call.tensor(), alpha=float(call["alpha"])))


@torch_op("hardsigmoid")
def import_hardsigmoid(call: Call) -> SSAValue:
    return call.build(nn.HardSigmoidOp(call.tensor(), alpha=1 / 6, beta=0.5))


@torch_op("softplus")
def import_softplus(call: Call) -> SSAValue:
    """`log(1 + exp(beta x)) / beta`; beyond the threshold, where that is `x` to within rounding."""
    beta, value = call["beta"], call.tensor()
    if beta == 1 and call["threshold"] >= 20:
        return call.build(nn.SoftplusOp(value))
    steep = call.build(nn.MulOp(value, call.scalar(beta)))
    soft = call.build(nn.DivOp(call.build(nn.SoftplusOp(steep)), call.scalar(beta)))
    linear = call.build(nn.GreaterOp(steep, call.scalar(call["threshold"])))
    return call.build(nn.SelectOp(linear, value, soft))


@torch_op("prelu", "_prelu_kernel")
def import_prelu(call: Call) -> SSAValue:
    """The slope is per channel, dimension 1."""
    slope, shape = call.tensor("weight"), call.shape()
    if call.op == "prelu" and len(shape) > 1 and call.rank("weight") == 1:
        slope = call.reshape(slope, (*call.shape("weight"), *(1,) * (len(shape) - 2)))
    return call.build(nn.PReluOp(call.tensor(), slope))


# -- Predicates and identities ----------------------------------------------------------------


@torch_op("isnan")
def import_isnan(call: Call) -> SSAValue:
    return call.build(nn.IsNanOp(call.tensor())) if call.is_float() else call.filled(False)


@torch_op("isinf", "isposinf", "isneginf")
def import_isinf(call: Call) -> SSAValue:
    if not call.is_float():
        return call.filled(False)
    negative, positive = call.op != "isposinf", call.op != "isneginf"
    return call.build(
        nn.IsInfOp(call.tensor(), result_types=None, negative=negative, positive=positive)
    )


@torch_op("alias", "clone", "contiguous", "detach", "detach_copy", "lift_fresh", "positive", "to")
@torch_op("lift_fresh_copy", "_to_copy", "_conj", "resolve_conj", "resolve_neg", "type_as")
@torch_op("conj", "alias_copy", "lift")
def import_same(call: Call) -> SSAValue:
    """The operand, maybe in another element type."""
    return call.operand("self")


@torch_op("copy")
def import_copy(call: Call) -> SSAValue:
    return call.broadcast(call.operand("src"), call.result_shape)


@torch_op("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout")
def import_dropout(call: Call) -> list[SSAValue | None]:
    if call.get("train", False) and call["p"] != 0:
        call.refuse("it is random in training mode")
    return [call.tensor("input"), *([None] if call.op == "native_dropout" else [])]
