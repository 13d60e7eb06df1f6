"""Exact arithmetic of i32 on tiles, modulo 2**32.

The vector engine computes in f32, which holds integers up to 2**24. The pool engine adds,
subtracts and multiplies i32 as integers; a core without it works on limbs of few bits, whose sums
and products f32 holds. What the vector engine does with bit patterns is exact everywhere. Narrower
integers come as i32, and go back by `wrapped`.
"""

from __future__ import annotations

from functools import reduce

from xdsl.dialects.builtin import i8, i16, i32
from xdsl.ir import Attribute

from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.tile_math import Into, TileMath
from ranvier.dialects.nc.types import ui8

SIGN = -(2**31)
"""The sign bit of i32."""
BITS: dict[Attribute, int] = {i8: 8, ui8: 8, i16: 16, i32: 32}
LIMB = 11
"""Bits of a limb of a product: three products of two limbs and a carry stay below 2**24."""


class IntegerMath(TileMath):
    """`small` says that values and results stay below 2**24, so that f32 is exact."""

    def __init__(self, e: Emitter, like: OnChip, *, small: bool = False) -> None:
        super().__init__(e, like)
        self.small = small
        self.native = e.machine.pool_clock is not None

    def add(self, lhs: OnChip, rhs: OnChip, into: Into = i32) -> OnChip:
        """`lhs + rhs`"""
        return self._linear("add", lhs, rhs, into)

    def subtract(self, lhs: OnChip, rhs: OnChip, into: Into = i32) -> OnChip:
        """`lhs - rhs`"""
        return self._linear("subtract", lhs, rhs, into)

    def _linear(self, op: str, lhs: OnChip, rhs: OnChip, into: Into) -> OnChip:
        """Halves of 16 bits; the carry of the lower is what stands above its 16 bits."""
        if self.small or self.native:
            return self.pair(op, lhs, rhs, into=into, engine=None if self.small else "pool")
        low = self.pair(op, self.bits(lhs, 0, 16), self.bits(rhs, 0, 16), into=i32)
        high = self.pair(op, self.bits(lhs, 16, 16), self.bits(rhs, 16, 16), into=i32)
        high = self.pair("add", high, self.bits(low, 16, 16), into=i32)
        high = self.scalar(high, ("logical_shift_left", 16), into=i32)
        return self.pair("bitwise_or", high, self.bits(low, 0, 16), into=into)

    def multiply(self, lhs: OnChip, rhs: OnChip, into: Into = i32) -> OnChip:
        """`lhs * rhs`: the columns of a long multiplication, from the lowest on."""
        if self.small or self.native:
            return self.pair("mult", lhs, rhs, into=into, engine=None if self.small else "pool")
        mine, other = (
            [self.bits(value, first, min(LIMB, 32 - first)) for first in (0, LIMB, 2 * LIMB)]
            for value in (lhs, rhs)
        )
        low = self.pair("mult", mine[0], other[0], into=i32)
        middle = self._sum(
            self.pair("mult", mine[0], other[1], into=i32),
            self.pair("mult", mine[1], other[0], into=i32),
            self.bits(low, LIMB, 32 - LIMB),
        )
        high = self._sum(
            self.pair("mult", mine[0], other[2], into=i32),
            self.pair("mult", mine[1], other[1], into=i32),
            self.pair("mult", mine[2], other[0], into=i32),
            self.bits(middle, LIMB, 32 - LIMB),
        )
        middle = self.scalar(self.bits(middle, 0, LIMB), ("logical_shift_left", LIMB), into=i32)
        high = self.scalar(high, ("logical_shift_left", 2 * LIMB), into=i32)
        low = self.pair("bitwise_or", self.bits(low, 0, LIMB), middle, into=i32)
        return self.pair("bitwise_or", low, high, into=into)

    def _sum(self, *terms: OnChip) -> OnChip:
        return reduce(lambda x, y: self.pair("add", x, y, into=i32), terms)

    def bits(self, value: OnChip, first: int, count: int) -> OnChip:
        """`count` bits from `first` on as a number that is not negative."""
        steps = [("logical_shift_right", first)] if first else []
        if first + count < 32:
            steps.append(("bitwise_and", (1 << count) - 1))
        return self.scalar(value, *steps, into=i32) if steps else value

    def difference(self, lhs: OnChip, rhs: OnChip) -> OnChip:
        """A number of f32 with the sign of `lhs - rhs`, 0 if they are equal.

        Differences of halves are exact, and rounding their sum keeps its sign.
        """
        if self.small:
            return self.pair("subtract", lhs, rhs)
        high = self.pair("subtract", self._upper(lhs), self._upper(rhs))
        low = self.pair("subtract", self.bits(lhs, 0, 16), self.bits(rhs, 0, 16))
        return self.fused(high, ("mult", 65536), "add", low)

    def _upper(self, value: OnChip) -> OnChip:
        """The upper 16 bits, moved so that their order is that of the signed numbers."""
        steps = ("bitwise_xor", SIGN), ("logical_shift_right", 16)
        return self.scalar(value, *steps, into=i32)

    def compared(self, op: str, lhs: OnChip, rhs: OnChip, into: Into = ui8) -> OnChip:
        """Truth values of a comparison."""
        if self.small:
            return self.pair(op, lhs, rhs, into=into)
        if op in ("is_equal", "not_equal"):
            differing = self.pair("bitwise_xor", lhs, rhs, into=i32)
            return self.scalar(differing, (op, 0), into=into)
        return self.scalar(self.difference(lhs, rhs), (op, 0), into=into)

    def mask(self, where: OnChip) -> OnChip:
        """All bits where a truth value holds, else none."""
        return self.scalar(where, ("mult", -1), into=i32)

    def divided(self, lhs: OnChip, rhs: OnChip) -> tuple[OnChip, OnChip]:
        """The quotient rounded to nearest and the remainder, of at most half the divisor.

        The f32 quotient is wrong by at most 2**-22 of itself, so what remains is below 2**31; one
        more step on the remainder is exact. A divisor of 0 gives any numbers.
        """
        inverse = self.reciprocal(rhs)
        quotient = self.pair("mult", lhs, inverse, into=i32)
        remainder = self.subtract(lhs, self.multiply(quotient, rhs))
        more = self.pair("mult", remainder, inverse, into=i32)
        return self.add(quotient, more), self.subtract(remainder, self.multiply(more, rhs))

    def quotient(self, lhs: OnChip, rhs: OnChip, into: Into = i32) -> OnChip:
        """Toward zero: nearer to it where the remainder has the other sign than the dividend.

        Any number for a divisor of 0."""
        nearest, rest = self.divided(lhs, rhs)
        sign = self.function("sign", rest)
        beyond = self.pair("mult", sign, self.function("sign", lhs))
        step = self.pair("mult", sign, self.function("sign", rhs))
        correction = self.pair("mult", self.compare(beyond, "is_lt", 0), step, into=i32)
        return self.add(nearest, correction, into)

    def root(self, value: OnChip) -> OnChip:
        """The square root without its fraction: that of f32, corrected by what it leaves over."""
        near = self.function("sqrt", value, into=i32)
        rest = self.subtract(value, self.multiply(near, near))
        twice = self.pair("add", near, near, into=i32)
        correction = self.pair(
            "subtract", self.pair("is_gt", rest, twice), self.compare(rest, "is_lt", 0)
        )
        return self.pair("add", near, correction, into=i32)

    def target(self, out: OnChip) -> Into:
        """Where an i32 goes that `wrapped` will put into `out`."""
        return out if out.element == i32 else i32

    def wrapped(self, value: OnChip, out: OnChip) -> OnChip:
        """An i32 in the type of `out`: its low bits."""
        if value is out:
            return out
        if out.element == i32:
            return self.copy(value, out)
        bits = BITS[out.element]
        low = ("bitwise_and", (1 << bits) - 1)
        if out.element == ui8:
            return self.copy(self.scalar(value, low, into=i32), out)
        half = 1 << (bits - 1)
        moved = self.scalar(value, low, ("bitwise_xor", half), into=i32)
        return self.scalar(moved, ("subtract", half), into=out)

    def widened(self, value: OnChip) -> OnChip:
        """An integer as i32."""
        return value if value.element == i32 else self.copy(value, i32)
