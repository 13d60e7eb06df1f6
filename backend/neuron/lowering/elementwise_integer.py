"""Elementwise ops on integers: exact, modulo the size of the type, as NumPy has them.

Integers narrower than i32 are computed as i32, most of them in f32, which is exact for them, and
keep their low bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from xdsl.dialects.builtin import i8, i16, i32
from xdsl.ir import Attribute, Operation

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import machine_element, scalar_of
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.integer_math import BITS, SIGN, IntegerMath
from ranvier.backend.neuron.lowering.pointwise import Operand
from ranvier.dialects import nn
from ranvier.dialects.nc.types import ui8
from ranvier.dialects.nn.types import element_of

INTEGERS: tuple[Attribute, ...] = (i32, i16, i8, ui8)

Rule: TypeAlias = Callable[[IntegerMath, Operation, Sequence[OnChip], OnChip], None]
"""Writes an op on tiles into the last one."""

BIT_OPS: dict[type[Operation], str] = {
    nn.AndOp: "bitwise_and",
    nn.OrOp: "bitwise_or",
    nn.XorOp: "bitwise_xor",
}
COMPARISONS: dict[type[Operation], str] = {
    nn.EqualOp: "is_equal",
    nn.LessOp: "is_lt",
    nn.LessEqualOp: "is_le",
    nn.GreaterOp: "is_gt",
    nn.GreaterEqualOp: "is_ge",
}


def apply_to_integers(op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
    """Emit an op of `RULES` on one tile."""
    element = machine_element(element_of(op.operands[0]))
    math = IntegerMath(e, out, small=element != i32 and not isinstance(op, nn.MulOp | nn.PowOp))
    tiles = [math.tile(operand, element) for operand in operands]
    if type(op) in BIT_OPS:
        math.pair(BIT_OPS[type(op)], *tiles, into=out)
        return
    RULES[type(op)](math, op, [math.widened(tile) for tile in tiles], out)


def scratch_of_integers(op: Operation, machine: Machine) -> int:
    """Tiles of 4 bytes an element that a rule needs at once, beside operands and result."""
    wide = machine.pool_clock is None and element_of(op.operands[0]) in (i32, i16)
    match op:
        case nn.DivOp() | nn.ModOp() | nn.FmodOp():
            return 20 if wide else 10
        case nn.MulOp() | nn.PowOp():
            return 16 if wide else 6
        case nn.AndOp() | nn.OrOp() | nn.XorOp():
            return 2
        case _:
            return 8


# -- Rules ------------------------------------------------------------------------------------


def add(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    math.wrapped(math.add(*tiles, into=math.target(out)), out)


def subtract(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    math.wrapped(math.subtract(*tiles, into=math.target(out)), out)


def multiply(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    math.wrapped(math.multiply(*tiles, into=math.target(out)), out)


def negate(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    zero = math.number(0, i32)
    math.wrapped(math.subtract(zero, tiles[0], into=math.target(out)), out)


def magnitude(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    (x,) = tiles
    opposite = math.subtract(math.number(0, i32), x)
    negative = math.compare(x, "is_lt", 0)
    math.wrapped(math.select(negative, opposite, x, math.target(out)), out)


def sign(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    (x,) = tiles
    math.pair("subtract", math.compare(x, "is_gt", 0), math.compare(x, "is_lt", 0), into=out)


def larger(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    x, y = tiles
    _chosen(math, math.compared("is_ge", x, y), x, y, out)


def smaller(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    x, y = tiles
    _chosen(math, math.compared("is_le", x, y), x, y, out)


def relu(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    (x,) = tiles
    kept = math.mask(math.compare(x, "is_gt", 0))
    math.wrapped(math.pair("bitwise_and", x, kept, into=math.target(out)), out)


def clamp(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    """Bounds beyond i32 are no bounds."""
    assert isinstance(op, nn.ClampOp)
    (value,) = tiles
    for name, order in (("low", "is_ge"), ("high", "is_le")):
        if (bound := op.get(name)) is not None and SIGN <= bound < -SIGN:
            limit = math.pattern(int(bound))
            value = math.select(math.compared(order, value, limit), value, limit, i32)
    math.wrapped(value, out)


def comparison(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    math.compared(COMPARISONS[type(op)], *tiles, into=out)


def quotient(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    _unless_zero(math, math.quotient(*tiles), tiles[1], out)


def floor_remainder(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    """With the sign of the divisor."""
    x, y = tiles
    _, rest = math.divided(x, y)
    other = math.pair("mult", math.function("sign", rest), math.function("sign", y))
    moved = math.add(rest, y)
    _unless_zero(math, math.select(math.compare(other, "is_lt", 0), moved, rest, i32), y, out)


def remainder(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    """With the sign of the dividend: by one divisor nearer to it, where it is of the other."""
    x, y = tiles
    _, rest = math.divided(x, y)
    beyond = math.pair("mult", math.function("sign", rest), math.function("sign", x))
    same = math.pair("mult", math.function("sign", rest), math.function("sign", y))
    away = math.select(
        math.compare(same, "is_lt", 0), math.add(rest, y), math.subtract(rest, y), i32
    )
    _unless_zero(math, math.select(math.compare(beyond, "is_lt", 0), away, rest, i32), y, out)


def shift_left(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    math.wrapped(math.pair("logical_shift_left", *tiles, into=math.target(out)), out)


def shift_right(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    """Negative numbers are inverted before and after, so that ones come in for zeros."""
    x, amount = tiles
    inverted = math.mask(math.compare(x, "is_lt", 0))
    bits = math.pair("bitwise_xor", x, inverted, into=i32)
    bits = math.pair("logical_shift_right", bits, amount, into=i32)
    math.wrapped(math.pair("bitwise_xor", bits, inverted, into=math.target(out)), out)


def power(math: IntegerMath, op: Operation, tiles: Sequence[OnChip], out: OnChip) -> None:
    """By squaring, bit by bit of the exponent; to a negative power only 1 and -1 are not 0."""
    base, exponent = tiles
    known = scalar_of(op.operands[1])
    bits = BITS[out.element] if known is None or known < 0 else int(known).bit_length()
    result = math.copy(math.number(1, i32), math.e.sbuf(math.partitions, out.width, i32))
    square = base
    for bit in range(bits):
        product = math.multiply(result, square)
        math.replace(result, product, math.copy(math.bits(exponent, bit, 1), ui8))
        if bit + 1 < bits:
            square = math.multiply(square, square)
    if known is None or known < 0:
        # A unit to the power of -y is what it is to the power of y modulo 2**32.
        unit = math.compare(math.function("abs", base), "is_equal", 1)
        other = math.compare(unit, "is_equal", 0)
        negative = math.compare(exponent, "is_lt", 0)
        vanished = math.pair("logical_and", negative, other, into=ui8)
        math.replace(result, math.number(0, i32), vanished)
    math.wrapped(result, out)


def _chosen(math: IntegerMath, where: OnChip, yes: OnChip, no: OnChip, out: OnChip) -> None:
    math.wrapped(math.select(where, yes, no, math.target(out)), out)


def _unless_zero(math: IntegerMath, value: OnChip, divisor: OnChip, out: OnChip) -> None:
    """The value, or 0 where the divisor is 0."""
    kept = math.mask(math.compare(divisor, "not_equal", 0))
    math.wrapped(math.pair("bitwise_and", value, kept, into=math.target(out)), out)


RULES: dict[type[Operation], Rule] = {
    nn.AddOp: add,
    nn.SubOp: subtract,
    nn.MulOp: multiply,
    nn.NegOp: negate,
    nn.AbsOp: magnitude,
    nn.SignOp: sign,
    nn.MaxOp: larger,
    nn.MinOp: smaller,
    nn.ReluOp: relu,
    nn.ClampOp: clamp,
    nn.DivOp: quotient,
    nn.ModOp: floor_remainder,
    nn.FmodOp: remainder,
    nn.ShiftLeftOp: shift_left,
    nn.ShiftRightOp: shift_right,
    nn.PowOp: power,
    **dict.fromkeys(COMPARISONS, comparison),
}
