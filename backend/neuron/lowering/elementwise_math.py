"""Functions of floats in several instructions, f32 between them.

Formulas are chosen so that results are near in relative terms as well, where the function is small
or steep: no difference of nearly equal numbers, no overflow before the result's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, pi
from typing import TypeAlias

from xdsl.dialects.builtin import f32, i32
from xdsl.ir import Operation

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.integer_math import IntegerMath
from ranvier.backend.neuron.lowering.periodic import cosine, sine, tangent
from ranvier.backend.neuron.lowering.pointwise import Operand, PointwiseLowering
from ranvier.backend.neuron.lowering.registry import register
from ranvier.backend.neuron.lowering.tile_math import Into, TileMath
from ranvier.dialects import nn

Function: TypeAlias = Callable[[IntegerMath, OnChip, OnChip], object]
"""Writes a function of its first tile into the second."""

WHOLE = 2.0**23
"""From here on every f32 is a whole number."""
LARGE = 2.0**30
"""From here on `sqrt(x * x + 1)` is `x` in f32."""


# -- Whole numbers ----------------------------------------------------------------------------


def bounded(math: TileMath, x: OnChip) -> OnChip:
    """`x` up to where fractions end: infinities have none either."""
    return math.scalar(x, ("max", -WHOLE), ("min", WHOLE))


def floor(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`x - x mod 1`"""
    math.pair("subtract", x, math.scalar(bounded(math, x), ("mod", 1)), into=out)


def ceil(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`x + -x mod 1`"""
    math.pair("add", x, math.scalar(bounded(math, x), ("mult", -1), ("mod", 1)), into=out)


def nearest(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`x - (x - integer(x))`: stores of integers round to nearest, halves to the even one."""
    near = bounded(math, x)
    excess = math.pair("subtract", near, math.copy(near, i32))
    math.pair("subtract", x, excess, into=out)


def nearest_or_lower(math: TileMath, x: OnChip, out: OnChip) -> None:
    """As `nearest`, but a half above `x` counts as a half below."""
    near = bounded(math, x)
    excess = math.pair("subtract", near, math.copy(near, i32))
    excess = math.fused(excess, ("is_equal", -0.5), "add", excess)
    math.pair("subtract", x, excess, into=out)


# -- Exponentials and logarithms --------------------------------------------------------------


def halves(math: TileMath, x: OnChip) -> tuple[OnChip, OnChip]:
    """`exp(x) / 2` and `exp(-x) / 2`, which overflow no earlier than they must."""
    results: list[OnChip] = []
    for scale in (0.5, -0.5):
        root = math.function("exp", x, scale=scale)
        results.append(math.fused(root, ("mult", 0.5), "mult", root))
    return results[0], results[1]


def cosh(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`exp(x) / 2 + exp(-x) / 2`"""
    math.pair("add", *halves(math, x), into=out)


def sinh(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`exp(x) / 2 - exp(-x) / 2`; near 0 `2 t / (1 - t * t)` with `t = tanh(x / 2)`"""
    far = math.pair("subtract", *halves(math, x))
    t = math.function("tanh", x, scale=0.5)
    rest = math.scalar(math.function("square", t), ("mult", -1), ("add", 1))
    near = math.fused(t, ("mult", 2), "mult", math.reciprocal(rest))
    is_near = math.compare(math.function("abs", x), "is_lt", 1)
    math.select(is_near, near, far, out)


def log_one_plus(math: TileMath, z: OnChip, into: Into) -> OnChip:
    """`log(1 + z)`: `log(u) * z / (u - 1)` with `u = 1 + z` rounded, and `z` where `u` is 1."""
    u = math.scalar(z, ("add", 1))
    capped = math.scalar(z, ("min", 2.0**25))  # from here on the quotient is 1
    step = math.scalar(math.scalar(capped, ("add", 1)), ("subtract", 1))
    ratio = math.pair("mult", capped, math.reciprocal(step))
    scaled = math.pair("mult", math.function("log", u), ratio)
    return math.select(math.compare(step, "is_equal", 0), z, scaled, into)


def log_of_twice(math: TileMath, x: OnChip, otherwise: OnChip, into: Into) -> OnChip:
    """`log(2 x)` of large `x`, without overflow."""
    doubled = math.scalar(math.function("log", x), ("add", log(2)))
    return math.select(math.compare(x, "is_ge", LARGE), doubled, otherwise, into)


def asinh(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`sign(x) * log(1 + a + a * a / (1 + sqrt(a * a + 1)))` with `a = |x|`"""
    a = math.function("abs", x)
    capped = math.scalar(a, ("min", LARGE))
    square = math.function("square", capped)
    root = math.function("sqrt", math.scalar(square, ("add", 1)))
    rest = math.pair("mult", square, math.reciprocal(math.scalar(root, ("add", 1))))
    size = log_one_plus(math, math.pair("add", capped, rest), f32)
    size = log_of_twice(math, a, size, f32)
    math.pair("mult", size, math.function("sign", x), into=out)


def acosh(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`log(1 + t + sqrt(t) * sqrt(t + 2))` with `t = x - 1`, NaN below 1"""
    t = math.scalar(math.scalar(x, ("min", LARGE)), ("subtract", 1))
    other = math.function("sqrt", math.scalar(t, ("add", 2)))
    roots = math.pair("mult", math.function("sqrt", t), other)
    near = log_one_plus(math, math.pair("add", t, roots), f32)
    log_of_twice(math, x, near, out)


def atanh(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`sign(x) / 2 * log(1 + 2 a / (1 - a))` with `a = |x|`"""
    a = math.function("abs", x)
    rest = math.reciprocal(math.scalar(a, ("mult", -1), ("add", 1)))
    size = log_one_plus(math, math.fused(a, ("mult", 2), "mult", rest), f32)
    math.fused(size, ("mult", 0.5), "mult", math.function("sign", x), into=out)


# -- Inverse functions of angles --------------------------------------------------------------


def arctan(math: TileMath, a: OnChip) -> OnChip:
    """Of numbers that are not negative: the table ends before `pi / 2`, so `pi / 2 - atan(1 / a)`
    above 1."""
    small = math.function("arctan", math.pair("min", a, math.reciprocal(a)))
    other = math.scalar(small, ("mult", -1), ("add", pi / 2))
    return math.replace(small, other, math.compare(a, "is_gt", 1))


def atan(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`sign(x) * atan(|x|)`"""
    angle = arctan(math, math.function("abs", x))
    math.pair("mult", angle, math.function("sign", x), into=out)


def asin(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`atan(x / sqrt((1 - x) * (1 + x)))`, NaN beyond 1"""
    below = math.scalar(x, ("mult", -1), ("add", 1))
    square = math.fused(x, ("add", 1), "mult", below)
    inverse = math.reciprocal(math.function("sqrt", square))
    angle = arctan(math, math.pair("mult", math.function("abs", x), inverse))
    math.pair("mult", angle, math.function("sign", x), into=out)


def acos(math: TileMath, x: OnChip, out: OnChip) -> None:
    """`2 * atan(sqrt((1 - x) / (1 + x)))`, NaN beyond 1"""
    below = math.scalar(x, ("mult", -1), ("add", 1))
    ratio = math.pair("mult", below, math.reciprocal(math.scalar(x, ("add", 1))))
    math.scalar(arctan(math, math.function("sqrt", ratio)), ("mult", 2), into=out)


FUNCTIONS: dict[type[Operation], tuple[Function, int]] = {
    nn.FloorOp: (floor, 4),
    nn.CeilOp: (ceil, 4),
    nn.RoundOp: (nearest, 4),
    nn.CoshOp: (cosh, 4),
    nn.SinhOp: (sinh, 6),
    nn.AsinhOp: (asinh, 8),
    nn.AcoshOp: (acosh, 8),
    nn.AtanhOp: (atanh, 8),
    nn.AtanOp: (atan, 4),
    nn.AsinOp: (asin, 4),
    nn.AcosOp: (acos, 4),
    nn.SinOp: (sine, 16),
    nn.CosOp: (cosine, 16),
    nn.TanOp: (tangent, 16),
}
"""With the number of tiles that are alive at once."""


def function_of(op: Operation) -> tuple[Function, int]:
    if isinstance(op, nn.RoundOp) and op.down:
        return nearest_or_lower, 4
    return FUNCTIONS[type(op)]


@register
class LowerFunction(PointwiseLowering[Operation]):
    """A function of one float."""

    ops = tuple(FUNCTIONS)

    def scratch(self, op: Operation, machine: Machine) -> int:
        return function_of(op)[1]

    def apply(self, op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        math = IntegerMath(e, out)
        function_of(op)[0](math, math.tile(operands[0]), out)
