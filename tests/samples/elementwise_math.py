"""Functions of mathematics, remainders and predicates."""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import f32, i1

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp
from samples import Array, Operand, Oracle, Sample
from samples.elementwise import binary, unary


def inverse(function: Oracle, low: float, high: float) -> Oracle:
    """The inverse of a growing function between two bounds, by bisection."""

    def oracle(y: Array) -> Array:
        a, b = np.full_like(y, low), np.full_like(y, high)
        for _ in range(80):
            middle = (a + b) / 2
            below = function(middle) < y
            a, b = np.where(below, middle, a), np.where(below, b, middle)
        return a

    return oracle


def remainder(x: Array, y: Array) -> Array:
    """Of division toward minus infinity."""
    return x - y * np.floor(x / y).astype(x.dtype)


def remainder_toward_zero(x: Array, y: Array) -> Array:
    return x - y * np.trunc(x / y).astype(x.dtype)


def predicate(op: type[TensorOp], oracle: Oracle, **properties: bool) -> Sample:
    """Of ordinary values and all that are not finite."""
    operand = Operand((3, 33), f32, values=(1.5, -2.0, np.inf, -np.inf, np.nan))
    return Sample(op, (operand,), oracle, properties)


def prelu(shape: tuple[int, ...], slope: Operand) -> Sample:
    operands = Operand(shape), slope
    return Sample(nn.PReluOp, operands, lambda x, y: np.where(x < 0, y * x, x))


SAMPLES = [
    *unary(nn.SignOp, lambda x: (x > 0) * 1.0 - (x < 0)),
    *unary(nn.RoundOp, np.rint, low=-4.0, high=4.0),
    Sample(
        nn.RoundOp,
        (Operand((4, 6), values=(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, -0.4, 0.6, 3.0, -0.75)),),
        lambda x, halves: np.ceil(x - 0.5),
        {"halves": "down"},
    ),
    *unary(nn.TanOp, lambda x: np.sin(x) / np.cos(x), low=-1.0, high=1.0),
    *unary(nn.AsinOp, inverse(np.sin, -1.6, 1.6), low=-0.9, high=0.9),
    *unary(
        nn.AcosOp,
        lambda x: inverse(lambda y: -np.cos(y), 0, 3.2)(-x),
        low=-0.9,
        high=0.9,
    ),
    *unary(nn.AtanOp, inverse(np.tan, -1.5, 1.5)),
    *unary(nn.SinhOp, lambda x: (np.exp(x) - np.exp(-x)) / 2),
    *unary(nn.CoshOp, lambda x: (np.exp(x) + np.exp(-x)) / 2),
    *unary(nn.AsinhOp, lambda x: np.log(x + (x * x + 1) ** 0.5)),
    *unary(nn.AcoshOp, lambda x: np.log(x + (x * x - 1) ** 0.5), low=1.2, high=4.0),
    *unary(nn.AtanhOp, lambda x: np.log((1 + x) / (1 - x)) / 2, low=-0.8, high=0.8),
    predicate(nn.IsNanOp, lambda x: x != x),
    predicate(nn.IsInfOp, lambda x, **_: abs(x) == np.inf, negative=True, positive=True),
    predicate(nn.IsInfOp, lambda x, **_: x == -np.inf, negative=True, positive=False),
    predicate(nn.IsInfOp, lambda x, **_: x == np.inf, negative=False, positive=True),
    prelu((2, 5, 3, 4), Operand((5, 1, 1), low=0.1, high=0.9, constant=True)),
    prelu((3, 129), Operand((), values=(0.25,), constant=True)),
    prelu((8, 33), Operand((8, 1))),
    *binary(nn.ModOp, remainder, low=0.4),
    *binary(nn.FmodOp, remainder_toward_zero, low=0.4),
    Sample(nn.XorOp, (Operand((3, 33), i1), Operand((33,), i1)), lambda x, y: x != y),
]
