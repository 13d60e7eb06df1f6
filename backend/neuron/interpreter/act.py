"""The scalar engine: a function of a scaled and biased tensor.

The functions are written here on their own, independent of `nn`: they are exact f32 functions, as
the coefficients of the hardware's tables are not public. `erf` and what uses it run in f64, by a
third-order expansion around points 1/256 apart whose values come from `math.erf`; the error of the
expansion is below 1e-10.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import erf, pi, sqrt
from typing import Any, TypeAlias

import numpy as np

from ranvier.backend.neuron.interpreter.core import CoreState, Fetch, Issue
from ranvier.backend.neuron.interpreter.values import Elementwise, disown, put
from ranvier.backend.neuron.program import Instruction
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nc.act import RANGES

Function: TypeAlias = Callable[[Array, Array], object]
"""Writes f(first) into second; both are f32 and may be the same array."""

_ERF_STEPS = 256
"""Points per unit."""
_ERF_LIMIT = 6.0
"""From here on erf is 1 in f64."""
_POINTS = np.arange(round(_ERF_LIMIT * _ERF_STEPS) + 1) / _ERF_STEPS
_ERF = np.array([erf(point) for point in _POINTS])
_SLOPE = 2 / sqrt(pi) * np.exp(-_POINTS * _POINTS)


def erf_of(x: Array) -> Array:
    """erf in f64: `erf(p) + s (h - p h^2 + (2 p^2 - 1) h^3 / 3)` at the nearest point p."""
    size = np.minimum(np.abs(x.astype(np.float64)), _ERF_LIMIT)
    index = np.rint(np.nan_to_num(size) * _ERF_STEPS).astype(np.int32)
    point = _POINTS[index]
    h = size - point
    series = h * (1 - h * (point - h * (2 * point * point - 1) / 3))
    return np.copysign(_ERF[index] + _SLOPE[index] * series, x)


def _sigmoid(x: Array, out: Array) -> None:
    np.exp(-x, out=out)
    np.add(out, 1, out=out)
    np.reciprocal(out, out=out)


def _silu(x: Array, out: Array) -> None:
    np.divide(x, 1 + np.exp(-x), out=out)


def _softplus(x: Array, out: Array) -> None:
    np.add(np.log1p(np.exp(-np.abs(x))), np.maximum(x, 0), out=out)


def _gelu(x: Array, out: Array) -> None:
    wide = x.astype(np.float64)
    np.copyto(out, 0.5 * wide * (1 + erf_of(wide / sqrt(2))), casting="same_kind")


def _gelu_tanh(x: Array, out: Array) -> None:
    inner = np.float32(sqrt(2 / pi)) * (x + np.float32(0.044715) * x * x * x)
    np.multiply(0.5 * x, 1 + np.tanh(inner), out=out)


def _erf_into(x: Array, out: Array) -> None:
    np.copyto(out, erf_of(x), casting="same_kind")


def _rsqrt(x: Array, out: Array) -> None:
    np.sqrt(x, out=out)
    np.reciprocal(out, out=out)


def _copy(x: Array, out: Array) -> None:
    if x is not out:
        np.copyto(out, x)


def _relu(x: Array, out: Array) -> None:
    np.maximum(x, 0, out=out)


def within(x: Array, func: str) -> Array:
    """The arguments for which the table has the function, NaN for others."""
    return np.where(np.abs(x) <= np.float32(RANGES[func]), x, np.float32(np.nan))


FUNCTIONS: dict[str, Function] = {
    "copy": _copy,
    "relu": _relu,
    "sigmoid": _sigmoid,
    "tanh": lambda x, out: np.tanh(x, out=out),
    "exp": lambda x, out: np.exp(x, out=out),
    "log": lambda x, out: np.log(x, out=out),
    "sqrt": lambda x, out: np.sqrt(x, out=out),
    "rsqrt": _rsqrt,
    "square": lambda x, out: np.square(x, out=out),
    "abs": lambda x, out: np.abs(x, out=out),
    "erf": _erf_into,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "softplus": _softplus,
    "sin": lambda x, out: np.sin(within(x, "sin"), out=out),
    "arctan": lambda x, out: np.arctan(within(x, "arctan"), out=out),
    "sign": lambda x, out: np.sign(x, out=out),
}


_HALVES = 1 << 16
"""Bit patterns of a type of two bytes."""


@cache
def table(func: str, source: np.dtype[Any], target: np.dtype[Any]) -> Array:
    """The result of a function for every bit pattern of a type of two bytes."""
    values = np.arange(_HALVES, dtype=np.uint16).view(source).astype(np.float32)
    result = np.empty(_HALVES, target)
    with np.errstate(all="ignore"):
        FUNCTIONS[func](values, values)
        put(result, values)
    return result


def _bind_table(state: CoreState, instruction: Instruction) -> Issue | None:
    """A plain function of elements of two bytes, looked up; None for others."""
    operands = dict(instruction.operands)
    both = Elementwise(state, operands)
    source = operands["src"].dtype
    looks_up = source.itemsize == 2 and instruction.fields["scale"] == 1 and both.nested
    if not looks_up or set(operands) != {"dst", "src"}:
        return None
    results = table(instruction.fields["func"], source, operands["dst"].dtype)
    fetch, dst = state.fetch(operands["src"], both.layouts["src"]), both.dst
    note = disown(state, operands["dst"])

    def issue() -> None:
        np.copyto(dst(), results[fetch().view(np.uint16)])
        if note is not None:
            note()

    return issue


def bind_activation(state: CoreState, instruction: Instruction) -> Issue:
    """`dst = func(src * scale + bias)`, and the sums of the results where `sum` is present."""
    if (lookup := _bind_table(state, instruction)) is not None:
        return lookup
    operands = {role: o for role, o in instruction.operands.items() if role != "sum"}
    both = Elementwise(state, operands)
    source = both.read("src", 0)
    scale_by = both.read("scale_by", 1) if "scale_by" in operands else None
    bias = both.read("bias", 2) if "bias" in operands else None
    scale = np.float32(instruction.fields["scale"])
    function = FUNCTIONS[instruction.fields["func"]]
    total = _bind_sum(state, instruction)
    note = disown(state, operands["dst"])

    def issue() -> None:
        values, target = source(), both.target()
        if scale_by is not None:
            values = np.multiply(values, scale_by(), out=target)
        if scale != 1:
            values = np.multiply(values, scale, out=target)
        if bias is not None:
            values = np.add(values, bias(), out=target)
        function(values, target)
        both.store(target)
        if total is not None:
            total(target)
        if note is not None:
            note()

    return issue


def _bind_sum(state: CoreState, instruction: Instruction) -> Callable[[Array], None] | None:
    """A function that stores the sums of results over the elements of each partition."""
    if (operand := instruction.operands.get("sum")) is None:
        return None
    fetch: Fetch = state.fetch(operand, state.layout(operand))
    rows = operand.access.partitions
    note = disown(state, operand)

    def store(values: Array) -> None:
        target = fetch()
        put(target, np.add.reduce(values.reshape(rows, -1), axis=1).reshape(target.shape))
        if note is not None:
            note()

    return store
