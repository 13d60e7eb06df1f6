"""Sine, cosine and tangent of every float: the activation table ends at pi.

Turns are counted in i32 of 2**-32, which wrap around as angles do. `x = n * 2**s` with an integer
`n` below 2**31, and `2**s` is `w + f` of these units: `w` whole, `f` a fraction. `n * w` modulo
2**32 is exact in integers, `n * f` below 2**31 and near enough in f32: the angle is wrong by 2**-25
turns at most. The scale `s` depends on the size of `x`: each band of exponents has its own, and its
`w` and `f` are 64 bits of the binary expansion of `1 / (2 pi)` from another place on.
"""

from __future__ import annotations

from functools import cache
from math import pi
from typing import NamedTuple

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32, i32
from xdsl.ir import Attribute

from ranvier.backend.neuron.lowering.emitter import OnChip
from ranvier.backend.neuron.lowering.integer_math import IntegerMath
from ranvier.backend.neuron.lowering.tile_math import Into

FORMATS: dict[Attribute, tuple[int, int]] = {f32: (24, 128), bf16: (8, 128), f16: (11, 16)}
"""Bits of a significand, and the exponent that all numbers stay below."""
FIRST = 1
"""Exponent where bands begin: up to pi an angle is its own."""
PRECISION = 320
"""Bits of `1 / (2 pi)` that are computed; 128 + 64 are used."""
QUARTER = float(np.float32(pi / 2))
UNIT = 2 * pi / 2**32
"""Radians of one unit of i32."""


class Band(NamedTuple):
    """Numbers from 2**`exponent` on: `x * scale` is the integer `n` of the module's docstring."""

    exponent: int
    scale: float
    whole: int
    fraction: float


@cache
def turn_bits() -> int:
    """`2**PRECISION / (2 pi)`, by Machin's formula in integers."""
    one = 1 << (PRECISION + 32)

    def arctan_of_inverse(x: int) -> int:
        total, power, n = 0, one // x, 1
        while power:
            total += power // n if n % 4 == 1 else -(power // n)
            power, n = power // (x * x), n + 2
        return total

    number = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    return (one << PRECISION) // (2 * number)


@cache
def bands(element: Attribute) -> tuple[Band, ...]:
    """The bands that cover a float type: as wide as 31 bits let `n` be for its significand."""
    significand, end = FORMATS[element]
    found: list[Band] = []
    for exponent in range(FIRST, end, 32 - significand):
        shift = exponent - (significand - 1)  # x is n * 2**shift
        units = (turn_bits() << 64 >> (PRECISION - shift)) % (1 << 64)
        whole, fraction = divmod(units, 1 << 32)
        signed = whole - (1 << 32) if whole >> 31 else whole
        found.append(Band(exponent, 2.0**-shift, signed, fraction / 2**32))
    return tuple(found)


def turns(math: IntegerMath, x: OnChip, size: OnChip) -> OnChip:
    """The angle `x` of size `|x|` in units of 2**-32 turns."""
    first, *others = bands(x.element)
    chosen = [
        math.copy(column, math.e.sbuf(math.partitions, x.width, column.element))
        for column in columns_of(math, first)
    ]
    for band in others:
        inside = math.compare(size, "is_ge", 2.0**band.exponent)
        for tile, column in zip(chosen, columns_of(math, band), strict=True):
            math.replace(tile, column, inside)
    scale, whole, fraction = chosen
    n = math.pair("mult", x, scale, into=i32)
    return math.add(math.multiply(n, whole), math.pair("mult", n, fraction, into=i32))


def columns_of(math: IntegerMath, band: Band) -> tuple[OnChip, OnChip, OnChip]:
    return math.number(band.scale), math.pattern(band.whole), math.number(band.fraction)


class Angle:
    """A tile of angles, and what their functions share."""

    def __init__(self, math: IntegerMath, x: OnChip) -> None:
        self.math = math
        self.x = x
        self.size = math.function("abs", x)
        self.turns = turns(math, x, self.size)
        self.small = math.compare(self.size, "is_le", pi)

    def sine(self, into: Into = f32) -> OnChip:
        """Of the angle itself up to pi, of what is left of a turn beyond."""
        return self._sine_of(self.turns, self.x, into)

    def cosine(self, into: Into = f32) -> OnChip:
        """`sin(pi / 2 - |x|)` up to pi, the sine a quarter of a turn further on beyond.

        The difference is exact near `pi / 2`, so what f32 lacks of that is added after it.
        """
        further = self.math.add(self.turns, self.math.pattern(1 << 30))
        complement = self.math.scalar(self.size, ("mult", -1), ("add", QUARTER))
        complement = self.math.scalar(complement, ("add", pi / 2 - QUARTER))
        return self._sine_of(further, complement, into)

    def _sine_of(self, count: OnChip, direct: OnChip, into: Into) -> OnChip:
        math = self.math
        radians = math.scalar(count, ("mult", UNIT))
        math.replace(radians, direct, self.small)
        # Not a number where x is infinite: nothing else that is added here is not 0.
        radians = math.fused(self.x, ("mult", 0), "add", radians)
        return math.function("sin", radians, into=into)


def sine(math: IntegerMath, x: OnChip, out: OnChip) -> None:
    """The sine of every float."""
    Angle(math, x).sine(out)


def cosine(math: IntegerMath, x: OnChip, out: OnChip) -> None:
    """The cosine of every float."""
    Angle(math, x).cosine(out)


def tangent(math: IntegerMath, x: OnChip, out: OnChip) -> None:
    """`sin(x) / cos(x)`"""
    angle = Angle(math, x)
    math.pair("mult", angle.sine(), math.reciprocal(angle.cosine()), into=out)
