"""Elementwise ops on odd sizes, scalars, rows and columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import factorial, pi
from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32, f64, i1, i8, i32, i64
from xdsl.ir import Attribute

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, ui8
from samples import BOTH, Array, Operand, Oracle, Sample, const


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def erf(x: Array) -> Array:
    """By its power series, which for |x| < 3 has converged after 60 terms."""
    terms = [(-1.0) ** n * x ** (2 * n + 1) / (factorial(n) * (2 * n + 1)) for n in range(60)]
    return 2 / np.sqrt(pi) * np.sum(terms, axis=0)


def gelu(x: Array, *, approximate: str) -> Array:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh((2 / pi) ** 0.5 * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / 2**0.5))


def elu(x: Array, *, alpha: float) -> Array:
    return np.where(x < 0, alpha * (np.exp(x) - 1), x)


def clamp(x: Array, *, low: float = -np.inf, high: float = np.inf) -> Array:
    return np.where(x > high, high, np.where(x < low, low, x))


def unary(
    op: type[TensorOp],
    oracle: Oracle,
    *settings: dict[str, Any],
    low: float = -2.0,
    high: float = 2.0,
    host: tuple[str, ...] | None = (),
) -> Iterable[Sample]:
    """f32 on a row over 128 and the first settings; narrow floats and a scalar on the last."""
    first, last = ({}, {}) if not settings else (settings[0], settings[-1])
    for shape, element, properties in (
        ((3, 129), f32, first),
        ((8, 1, 33), bf16, last),
        ((), f32, last),
        ((2, 5, 7), f16, first),
    ):
        yield Sample(op, (Operand(shape, element, low, high),), oracle, properties, host=host)


def binary(
    op: type[TensorOp],
    oracle: Oracle,
    *,
    low: float = -2.0,
    high: float = 2.0,
    values: tuple[float, ...] = (),
    host: tuple[str, ...] | None = (),
) -> Iterable[Sample]:
    """Equal shapes, a scalar, channels, rows, columns, a rank more, on either side."""

    def x(*shape: int, element: Attribute = f32) -> Operand:
        return Operand(shape, element, low, high, values)

    for lhs, rhs in (
        (x(3, 129), x(3, 129)),
        (x(2, 65), const(x())),
        (const(Operand((1,), values=(0.5,))), x(127)),
        (x(2, 5, 3, 4), const(x(5, 1, 1))),
        (x(8, 33, element=bf16), x(8, 1, element=bf16)),
        (x(7), x(2, 5, 7)),
        (x(), x(1, 1, element=f32)),
        (x(2, 1, 3, 1, 5, element=f16), x(1, 4, 3, 2, 1, element=f16)),
    ):
        yield Sample(op, (lhs, rhs), oracle, host=host)


LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Few values, so that comparisons meet equal ones."""

UNARY = [
    *unary(nn.ReluOp, lambda x: x * (x > 0)),
    *unary(nn.AbsOp, lambda x: x * np.sign(x)),
    *unary(nn.NegOp, lambda x: 0 - x),
    *unary(nn.SigmoidOp, sigmoid, low=-6.0, high=6.0),
    *unary(nn.TanhOp, lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1)),
    *unary(nn.ExpOp, lambda x: np.e**x, low=-3.0, high=1.5),
    *unary(nn.LogOp, lambda x: np.log2(x) * np.log(2), low=0.2, high=3.0),
    *unary(nn.SqrtOp, lambda x: x**0.5, low=0.2, high=3.0),
    *unary(nn.RsqrtOp, lambda x: x**-0.5, low=0.2, high=3.0),
    *unary(nn.ReciprocalOp, lambda x: x**-1.0, low=0.4, high=3.0),
    *unary(nn.ErfOp, erf),
    *unary(nn.GeluOp, gelu, {"approximate": "none"}, {"approximate": "tanh"}),
    *unary(nn.GeluOp, gelu, {"approximate": "tanh"}, {"approximate": "none"}),
    *unary(nn.SiluOp, lambda x: x * sigmoid(x), low=-5.0, high=5.0),
    *unary(nn.SoftplusOp, lambda x: np.log(1 + np.exp(x)), low=-5.0, high=5.0),
    *unary(
        nn.HardSigmoidOp,
        lambda x, alpha, beta: clamp(x * alpha + beta, low=0, high=1),
        {"alpha": 0.2, "beta": 0.5},
        {"alpha": 1 / 6, "beta": 0.25},
        low=-4.0,
        high=4.0,
    ),
    *unary(nn.HardSwishOp, lambda x: x * clamp(x / 6 + 0.5, low=0, high=1), low=-4.0, high=4.0),
    *unary(
        nn.LeakyReluOp,
        lambda x, alpha: np.where(x < 0, alpha * x, x),
        {"alpha": 0.01},
        {"alpha": 0.2},
    ),
    # A slope over 1 is no maximum of two lines; it becomes two halves.
    *unary(nn.LeakyReluOp, lambda x, alpha: np.where(x < 0, alpha * x, x), {"alpha": 1.5}),
    *unary(nn.EluOp, elu, {"alpha": 1.0}, {"alpha": 0.5}),
    *unary(
        nn.ClampOp, clamp, {"low": 0.0, "high": 1.5}, {"low": -1.0}, {"high": 0.5}, {"low": 0.25}
    ),
    *unary(nn.ClampOp, clamp, {"high": 0.5}, {}),
    *unary(nn.FloorOp, lambda x: x - x % 1, low=-4.0, high=4.0),
    *unary(nn.CeilOp, lambda x: x + -x % 1, low=-4.0, high=4.0),
    *unary(nn.SinOp, lambda x: np.imag(np.exp(1j * x)), low=-1.5, high=1.5),
    *unary(nn.CosOp, lambda x: np.real(np.exp(1j * x)), low=-1.5, high=1.5),
    # Angles beyond what the activation table holds.
    Sample(nn.SinOp, (Operand((7, 33), f32, -1e5, 1e5),), lambda x: np.imag(np.exp(1j * x))),
    Sample(nn.CosOp, (Operand((7, 33), f16, -6e4, 6e4),), lambda x: np.real(np.exp(1j * x))),
    Sample(nn.NotOp, (Operand((3, 129), i1),), lambda x: x ^ True),
    Sample(nn.NotOp, (Operand((), i1),), lambda x: x ^ True),
    # Sizes around and beyond the 128 partitions and the width of a tile.
    Sample(nn.ReluOp, (Operand((513, 129)),), lambda x: x * (x > 0)),
    Sample(nn.TanhOp, (Operand((127, 128)),), np.tanh),
    Sample(nn.ExpOp, (Operand((1, 8209)),), np.exp),
    Sample(nn.SigmoidOp, (Operand((2, 3, 5, 7, 11)),), sigmoid),
    Sample(nn.AbsOp, (Operand((1024, 2053)),), np.abs, slow=True),
    Sample(nn.ReluOp, (Operand((3, 5), f64),), lambda x: x * (x > 0), host=BOTH),
]

BINARY = [
    *binary(nn.AddOp, lambda x, y: x + y),
    *binary(nn.SubOp, lambda x, y: x - y),
    *binary(nn.MulOp, lambda x, y: x * y),
    *binary(nn.DivOp, lambda x, y: x / y, low=0.4, high=2.0),
    *binary(nn.MaxOp, lambda x, y: np.where(x > y, x, y)),
    *binary(nn.MinOp, lambda x, y: np.where(x < y, x, y)),
    *binary(nn.EqualOp, lambda x, y: x == y, values=LEVELS),
    *binary(nn.LessOp, lambda x, y: x < y, values=LEVELS),
    *binary(nn.LessEqualOp, lambda x, y: x <= y, values=LEVELS),
    *binary(nn.GreaterOp, lambda x, y: x > y, values=LEVELS),
    *binary(nn.GreaterEqualOp, lambda x, y: x >= y, values=LEVELS),
    *binary(nn.PowOp, lambda x, y: np.exp(y * np.log(x)), low=0.4, high=2.0),
    # Powers that are products and roots, and one that is neither.
    *(
        Sample(
            nn.PowOp,
            (Operand((rows, 129), low=0.3), const(Operand((), values=(power,)))),
            lambda x, y: x**y,
        )
        for rows, power in (
            (1, 2.0),
            (2, 0.5),
            (3, -1.0),
            (4, 3.0),
            (5, 4.0),
            (6, -2.0),
            (7, -0.5),
            (8, 1.0),
            (9, 1.7),
        )
    ),
    Sample(nn.AddOp, (Operand((129, 257)), Operand((257,))), lambda x, y: x + y),
    Sample(nn.MulOp, (Operand((513, 64)), Operand((513, 1))), lambda x, y: x * y),
    Sample(nn.SubOp, (Operand((1, 128)), Operand((127, 1))), lambda x, y: x - y),
]


def logical(op: type[TensorOp], oracle: Oracle) -> Iterable[Sample]:
    for lhs, rhs in (((3, 129), (3, 129)), ((2, 5, 7), (5, 1)), ((), (33,))):
        yield Sample(op, (Operand(lhs, i1), Operand(rhs, i1)), oracle)


def select(
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    element: Attribute = f32,
    host: tuple[str, ...] | None = (),
) -> Sample:
    condition, on_true, on_false = shapes
    sides = Operand(on_true, element), Operand(on_false, element)
    return Sample(
        nn.SelectOp, (Operand(condition, i1), *sides), lambda c, x, y: c * x + (1 - c) * y
    )


def select_integers(*shapes: tuple[int, ...], constant: bool = False) -> Sample:
    """Numbers that f32 does not hold come through a choice as they are."""
    values = (2.0**24 + 1, -(2.0**24) - 1, 2.0**31 - 1)
    condition, on_true, on_false = shapes
    sides = Operand(on_true, i32, values=values), Operand(on_false, i32, values=values)
    if constant:
        sides = sides[0], replace(sides[1], values=values[:1], constant=True)
    return Sample(nn.SelectOp, (Operand(condition, i1), *sides), np.where)


def cast(
    source: Attribute, to: Attribute, oracle: Oracle, host: tuple[str, ...] = (), **properties: bool
) -> Sample:
    values = LEVELS if to == i1 else ()
    operand = Operand((3, 129), source, 0.0 if to == ui8 else -4.0, 4.0, values)
    return Sample(
        nn.CastOp, (operand,), lambda x, **_: oracle(x), {"to": to, **properties}, host=host
    )


def saturating_cast() -> Sample:
    """The largest f32 is the largest bf16, 2^128 - 2^120; infinities stay."""
    largest = np.finfo(np.float32).max
    operand = Operand((3, 33), f32, values=(1.5, -2.0, largest, -largest, np.inf, -np.inf))
    return Sample(
        nn.CastOp,
        (operand,),
        lambda x, **_: np.where(
            np.isinf(x), x, np.clip(x, 2.0**120 - 2.0**128, 2.0**128 - 2.0**120)
        ),
        {"to": bf16, "saturate": True},
        host=BOTH,
    )


OTHERS = [
    *logical(nn.AndOp, lambda x, y: x * y),
    *logical(nn.OrOp, lambda x, y: x + y),
    select(((3, 129), (3, 129), (3, 129))),
    select(((5, 1), (2, 5, 7), ())),
    select(((), (33,), (8, 33)), bf16),
    select(((4, 4), (1, 4), (4, 1)), i32),
    select(((4, 4), (1, 4), (4, 1)), i64),
    select_integers((2, 3), (2, 3), (2, 3)),
    select_integers((33, 1), (33, 64), (1, 64)),
    select_integers((5, 7), (5, 7), (), constant=True),
    cast(f32, bf16, np.asarray),
    cast(f32, bf16, np.asarray, implicit=True),
    cast(bf16, f32, np.asarray),
    cast(f32, f16, np.asarray),
    cast(i32, f32, np.asarray),
    cast(i8, bf16, np.asarray),
    cast(i1, f32, np.asarray),
    cast(i1, i32, np.asarray),
    cast(f32, i1, lambda x: x != 0),
    cast(i32, i1, lambda x: x != 0),
    cast(f64, f32, np.asarray, host=BOTH),
    saturating_cast(),
    cast(i64, f32, np.asarray),
]

SAMPLES = [*UNARY, *BINARY, *OTHERS]
