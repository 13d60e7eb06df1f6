"""Piecewise functions, remainders and powers of floats, f32 between their instructions."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan

from xdsl.dialects.builtin import f32

from ranvier.backend.neuron.lowering.elementwise import NumberLowering
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.pointwise import Immediate, Operand, PointwiseLowering
from ranvier.backend.neuron.lowering.registry import register
from ranvier.backend.neuron.lowering.tile_math import TileMath
from ranvier.dialects import nn
from ranvier.dialects.nc.types import ui8

GATE = ("max", 0.0), ("min", 1.0)
"""Steps of a clip to 0 and 1."""


@register
class LowerHardSigmoid(PointwiseLowering[nn.HardSigmoidOp]):
    """`clip(alpha * x + beta, 0, 1)`"""

    ops = (nn.HardSigmoidOp,)

    def apply(
        self, op: nn.HardSigmoidOp, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        math = TileMath(e, out)
        line = ("mult", op.get("alpha")), ("add", op.get("beta"))
        math.scalar(math.scalar(math.tile(operands[0]), *line), *GATE, into=out)


@register
class LowerHardSwish(PointwiseLowering[nn.HardSwishOp]):
    """`x * clip(x / 6 + 1/2, 0, 1)`"""

    ops = (nn.HardSwishOp,)

    def apply(
        self, op: nn.HardSwishOp, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        math = TileMath(e, out)
        x = math.tile(operands[0])
        gate = math.scalar(math.scalar(x, ("mult", 1 / 6), ("add", 0.5)), *GATE)
        math.pair("mult", x, gate, into=out)


@register
class LowerLeakyRelu(PointwiseLowering[nn.LeakyReluOp]):
    """`max(x, alpha * x)` for slopes from 0 to 1, else `max(x, 0) + alpha * min(x, 0)`"""

    ops = (nn.LeakyReluOp,)

    def apply(
        self, op: nn.LeakyReluOp, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        math, alpha = TileMath(e, out), float(op.get("alpha"))
        x = math.tile(operands[0])
        if 0 <= alpha <= 1:
            math.fused(x, ("mult", alpha), "max", x, into=out)
        else:
            above(math, x, math.scalar(x, ("min", 0), ("mult", alpha)), out)


@register
class LowerPRelu(PointwiseLowering[nn.PReluOp]):
    """`max(x, 0) + slope * min(x, 0)`"""

    ops = (nn.PReluOp,)

    def apply(self, op: nn.PReluOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        math = TileMath(e, out)
        x, slope = (math.tile(operand) for operand in operands)
        above(math, x, math.fused(x, ("min", 0), "mult", slope), out)


@register
class LowerElu(PointwiseLowering[nn.EluOp]):
    """`max(x, 0) + 2 alpha t / (1 - t)` with `t = tanh(min(x, 0) / 2)`: exact near 0 as well"""

    ops = (nn.EluOp,)

    def apply(self, op: nn.EluOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        math = TileMath(e, out)
        x = math.tile(operands[0])
        t = math.function("tanh", math.scalar(x, ("min", 0)), scale=0.5)
        rest = math.reciprocal(math.scalar(t, ("mult", -1), ("add", 1)))
        above(math, x, math.fused(t, ("mult", 2 * op.get("alpha")), "mult", rest), out)


def above(math: TileMath, x: OnChip, below: OnChip, out: OnChip) -> None:
    """`max(x, 0) + below`"""
    math.fused(x, ("max", 0), "add", below, into=out)


@register
class LowerFmod(NumberLowering[nn.FmodOp]):
    """`sign(x) * (|x| mod |y|)`"""

    ops = (nn.FmodOp,)

    def on_floats(
        self, op: nn.FmodOp, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        math = TileMath(e, out)
        x, y = (math.tile(operand) for operand in operands)
        size = math.pair("mod", math.function("abs", x), math.function("abs", y))
        math.pair("mult", size, math.function("sign", x), into=out)


@register
class LowerPow(NumberLowering[nn.PowOp]):
    """Products and roots for exponents that are such, the power of the general purpose engine, or
    `exp(y log x)` on a core without it."""

    ops = (nn.PowOp,)
    scratch_of_floats = 10

    def on_floats(self, op: nn.PowOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        math = TileMath(e, out)
        x, exponent = math.tile(operands[0]), operands[1]
        if isinstance(exponent, Immediate) and product(math, x, exponent.value, out):
            return
        if e.machine.pool_clock is not None:
            math.pair("pow", x, math.tile(exponent), into=out, engine="pool")
        else:
            power(math, x, math.tile(exponent), out)


def product(math: TileMath, x: OnChip, exponent: float, out: OnChip) -> bool:
    """Emit a power that is a few products and roots; whether it is."""
    if exponent not in (1, 2, 3, 4, 0.5, -0.5, -1, -2):
        return False
    match exponent:
        case 1:
            math.copy(x, out)
        case 2:
            math.pair("mult", x, x, into=out)
        case 3:
            math.pair("mult", math.pair("mult", x, x), x, into=out)
        case 4:
            square = math.pair("mult", x, x)
            math.pair("mult", square, square, into=out)
        case 0.5:
            math.function("sqrt", x, into=out)
        case -0.5:
            math.function("rsqrt", x, into=out)
        case -1:
            math.reciprocal(x, into=out)
        case _:
            math.reciprocal(math.pair("mult", x, x), into=out)
    return True


def power(math: TileMath, x: OnChip, y: OnChip, out: OnChip) -> None:
    """`exp(y log |x|)`, negative where `x` is and `y` is odd, NaN where `x` is and `y` has a
    fraction."""
    size = math.function("abs", x)
    result = math.function("exp", math.pair("mult", y, math.function("log", size)), into=f32)
    result = math.copy(result, math.e.sbuf(math.partitions, out.width, f32))
    negative = math.compare(x, "is_lt", 0)
    odd = math.compare(math.scalar(y, ("mod", 2)), "is_equal", 1)
    opposite = math.scalar(result, ("mult", -1))
    math.replace(result, opposite, math.pair("logical_and", negative, odd, into=ui8))
    broken = math.compare(math.scalar(y, ("mod", 1)), "is_gt", 0)
    finite = math.compare(x, "is_gt", -inf)
    undefined = math.pair(
        "logical_and", math.pair("mult", negative, finite, into=ui8), broken, into=ui8
    )
    math.replace(result, math.number(nan), undefined)
    one = math.pair(
        "logical_or", math.compare(y, "is_equal", 0), math.compare(x, "is_equal", 1), into=ui8
    )
    math.select(one, math.number(1), result, out)
