"""Elementwise ops on integers of every width, over all of their values, and casts.

Oracles compute in i64, where nothing of 32 bits overflows, and keep the low bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32, i1, i8, i16, i32, i64
from xdsl.ir import Attribute

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, dtype_of, ui8
from samples import BOTH, Array, Operand, Oracle, Sample, const

WIDTHS = (i32, i16, i8, ui8)


def bounds(element: Attribute) -> tuple[int, int]:
    info = np.iinfo(dtype_of(element))
    return int(info.min), int(info.max)


def everywhere(element: Attribute, *shape: int) -> Operand:
    """Any value of a type."""
    low, high = bounds(element)
    return Operand(shape, element, low, high)


def near_zero(element: Attribute, *shape: int) -> Operand:
    """Small numbers, zero and negative ones among them."""
    return Operand(shape, element, max(-9, bounds(element)[0]), 9)


def in_64_bits(function: Oracle) -> Oracle:
    """A function of i64 whose result keeps the low bits of the operand's type."""

    def oracle(x: Array, *others: Array, **properties: Any) -> Array:
        wide = (array.astype(np.int64) for array in (x, *others))
        return np.asarray(function(*wide, **properties)).astype(x.dtype)

    return oracle


def quotient(x: Array, y: Array) -> Array:
    """Toward zero; by zero it is 0."""
    return np.trunc(x / np.where(y == 0, np.inf, y)).astype(np.int64)


def remainder(x: Array, y: Array) -> Array:
    """Of division toward minus infinity; by zero it is 0."""
    return np.where(y == 0, 0, x - y * np.floor(x / np.where(y == 0, 1, y)).astype(np.int64))


def remainder_toward_zero(x: Array, y: Array) -> Array:
    return np.where(y == 0, 0, x - y * quotient(x, y))


def power(x: Array, y: Array) -> Array:
    """By repeated multiplication modulo 2**64; `1 / x` to a negative power, toward zero."""
    result = np.ones_like(x)
    for step in range(16):
        result = np.where(step < np.abs(y), result * x, result)
    return np.where((y < 0) & (np.abs(x) != 1), 0, result)


def unary(op: type[TensorOp], oracle: Oracle, **properties: int) -> Iterable[Sample]:
    for number, element in enumerate(WIDTHS):
        operand = everywhere(element, 3 + number, 129)
        yield Sample(op, (operand,), in_64_bits(oracle), properties)


def binary(op: type[TensorOp], oracle: Oracle) -> Iterable[Sample]:
    """Of i32 equal shapes, a row of small numbers, a constant, a column; one form of each other."""
    oracle = in_64_bits(oracle)
    seven = const(Operand((), i32, values=(7,)))
    for lhs, rhs in (
        (everywhere(i32, 3, 65), everywhere(i32, 3, 65)),
        (everywhere(i32, 5, 33), near_zero(i32, 33)),
        (everywhere(i32, 7, 9), seven),
        (near_zero(i32, 8, 5), near_zero(i32, 8, 1)),
        (everywhere(i16, 3, 65), everywhere(i16, 3, 65)),
        (everywhere(i8, 5, 33), everywhere(i8, 33)),
        (everywhere(ui8, 7, 9), near_zero(ui8, 7, 1)),
    ):
        yield Sample(op, (lhs, rhs), oracle)


def comparison(op: type[TensorOp], oracle: Oracle) -> Iterable[Sample]:
    """Of neighbours that f32 does not tell apart, and of the ends of each type."""
    for element in WIDTHS:
        low, high = bounds(element)
        levels = [low, low + 1, 0, 1, high - 1, high]
        if element == i32:
            levels += [1 << 24, (1 << 24) + 1, -(1 << 30), -(1 << 30) - 1]
        operand = Operand((5, 33), element, values=tuple(map(float, levels)))
        yield Sample(op, (operand, operand), oracle)
    one = const(Operand((), i32, values=(1,)))
    yield Sample(op, (near_zero(i32, 7, 9), one), oracle)


def shift(op: type[TensorOp], oracle: Oracle) -> Iterable[Sample]:
    for element, bits in ((i32, 32), (i16, 16), (i8, 8), (ui8, 8)):
        amounts = Operand((3, 33), element, 0, bits - 1)
        yield Sample(op, (everywhere(element, 3, 33), amounts), in_64_bits(oracle))
        three = const(Operand((), element, values=(3,)))
        yield Sample(op, (everywhere(element, 129), three), in_64_bits(oracle))


def of_i64(
    op: type[TensorOp], oracle: Oracle, operands: int, host: tuple[str, ...], **properties: int
) -> Sample:
    """On i64, which the machine holds as i32 where the values are proven to fit."""
    given = tuple(Operand((3, 5), i64, -9, 9) for _ in range(operands))
    return Sample(op, given, oracle, properties, host=host)


def saturated(dtype: Any) -> Oracle:
    """Toward zero, and no further than a type goes."""
    info = np.iinfo(dtype)
    return lambda x: np.clip(np.trunc(x), info.min, info.max)


def cast(source: Attribute, to: Attribute, oracle: Oracle, operand: Operand) -> Sample:
    return Sample(nn.CastOp, (operand,), lambda x, **_: oracle(x), {"to": to})


def casts() -> Iterable[Sample]:
    for number, to in enumerate(WIDTHS):
        dtype = dtype_of(to)
        for source in (f32, bf16, f16):
            operand = Operand((3 + number, 33), source, -300.0, 300.0)
            yield cast(source, to, saturated(dtype), operand)
        for source in WIDTHS:
            if source != to:
                operand = everywhere(source, 3 + number, 33)
                yield cast(source, to, lambda x, dtype=dtype: x.astype(dtype), operand)
        yield cast(to, f32, np.asarray, near_zero(to, 3 + number, 33))
        yield cast(to, i1, lambda x: x != 0, near_zero(to, 3 + number, 33))
        yield cast(i1, to, np.asarray, Operand((3 + number, 33), i1))
    halves = Operand((4, 33), f32, values=(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1e20, -1e20))
    yield cast(f32, i32, saturated(np.int32), halves)


SAMPLES = [
    *unary(nn.NegOp, lambda x: -x),
    *unary(nn.AbsOp, lambda x: x * np.sign(x)),
    *unary(nn.SignOp, lambda x: (x > 0) * 1 - (x < 0)),
    *unary(nn.ReluOp, lambda x: x * (x > 0)),
    *unary(
        nn.ClampOp,
        lambda x, low, high: np.where(x > high, high, np.where(x < low, low, x)),
        low=3,
        high=100,
    ),
    *binary(nn.AddOp, lambda x, y: x + y),
    *binary(nn.SubOp, lambda x, y: x - y),
    *binary(nn.MulOp, lambda x, y: x * y),
    *binary(nn.DivOp, quotient),
    *binary(nn.ModOp, remainder),
    *binary(nn.FmodOp, remainder_toward_zero),
    *binary(nn.MaxOp, lambda x, y: np.where(x > y, x, y)),
    *binary(nn.MinOp, lambda x, y: np.where(x < y, x, y)),
    *binary(nn.AndOp, lambda x, y: x & y),
    *binary(nn.OrOp, lambda x, y: x | y),
    *binary(nn.XorOp, lambda x, y: (x | y) - (x & y)),
    *comparison(nn.EqualOp, lambda x, y: x == y),
    *comparison(nn.LessOp, lambda x, y: x < y),
    *comparison(nn.LessEqualOp, lambda x, y: x <= y),
    *comparison(nn.GreaterOp, lambda x, y: x > y),
    *comparison(nn.GreaterEqualOp, lambda x, y: x >= y),
    *shift(nn.ShiftLeftOp, lambda x, y: x * 2**y),
    *shift(nn.ShiftRightOp, lambda x, y: np.floor(x / 2.0**y)),
    Sample(nn.PowOp, (near_zero(i32, 3, 33), near_zero(i32, 3, 33)), in_64_bits(power), slow=True),
    Sample(nn.PowOp, (near_zero(i8, 3, 33), near_zero(i8, 3, 33)), in_64_bits(power)),
    Sample(
        nn.PowOp,
        (everywhere(i32, 3, 33), const(Operand((), i32, values=(5,)))),
        in_64_bits(power),
    ),
    Sample(
        nn.PowOp,
        (near_zero(i8, 3, 33), const(Operand((), i8, values=(3,)))),
        in_64_bits(power),
    ),
    *casts(),
    of_i64(nn.MaxOp, lambda x, y: np.where(x > y, x, y), 2, ()),
    of_i64(nn.EqualOp, lambda x, y: x == y, 2, ()),
    of_i64(nn.XorOp, lambda x, y: (x | y) - (x & y), 2, ()),
    of_i64(nn.ModOp, remainder, 2, ()),
    of_i64(nn.FmodOp, remainder_toward_zero, 2, ()),
    of_i64(nn.ReluOp, lambda x: x * (x > 0), 1, ()),
    # The results for the smallest i32 need a bit more.
    of_i64(nn.AbsOp, lambda x: x * np.sign(x), 1, BOTH),
    of_i64(nn.DivOp, quotient, 2, BOTH),
    of_i64(nn.AddOp, lambda x, y: x + y, 2, BOTH),
]
