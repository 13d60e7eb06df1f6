"""Samples of every op: operands, properties, and an oracle that shares no code with the op.

One file per family, as everywhere. `tests/test_conformance.py` generates its tests from them, and
fails where an op or an attribute has no sample.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import Attribute

from ranvier.dialects.nn.types import TensorOp, dtype_of, is_float

Array = np.ndarray[Any, np.dtype[Any]]
Oracle = Callable[..., Any]
"""Takes the operands, floats as f64, and the properties by name."""

FAMILIES = (
    "constant",
    "elementwise",
    "contraction",
    "reduction",
    "normalization",
    "pooling",
    "shape",
    "indexing",
    "recurrent",
)
FILES = (
    *FAMILIES,
    "elementwise_integer",
    "elementwise_math",
    "pooling_resize",
    "indexing_scatter",
    "indexing_sizes",
    "shape_sizes",
)
"""Where samples are: as in the dialect, large families have several files."""
BOTH = ("inf1", "inf2")
ANYWHERE = None
"""For ops whose identities and lowerings grow: any place, if the result is right."""


@dataclass(frozen=True)
class Operand:
    """What values an operand takes: uniform in `low` to `high`, or those of `values`."""

    shape: tuple[int, ...]
    element: Attribute = f32
    low: float = -2.0
    high: float = 2.0
    values: tuple[float, ...] = ()
    constant: bool = False
    """Whether it is a constant of the model instead of an input."""

    def draw(self, random: np.random.Generator, *, rounded: bool) -> Array:
        """An array; `rounded` to what bf16 holds, where it is of f32."""
        dtype = dtype_of(self.element)
        if self.values:
            array = random.choice(np.array(self.values), self.shape)
        elif is_float(self.element):
            array = random.uniform(self.low, self.high, self.shape)
        else:
            low, high = (0, 1) if dtype == np.bool_ else (int(self.low), int(self.high))
            array = random.integers(low, high, self.shape, endpoint=True)
        if rounded and self.element == f32:
            array = np.asarray(array).astype(ml_dtypes.bfloat16)
        return np.asarray(array).astype(dtype)


@dataclass(frozen=True)
class Sample:
    """One op on some operands, and what it should give."""

    op: type[TensorOp]
    operands: tuple[Operand, ...]
    oracle: Oracle
    properties: Mapping[str, Any] = field(default_factory=dict[str, Any])
    result: Attribute | None = None
    """Element type of the result where it is not the inferred one."""
    host: tuple[str, ...] | None = ()
    """Targets that refuse it; None where that is not promised."""
    slow: bool = False
    fixed: bool = False
    """Whether the result does not depend on the operands."""

    @property
    def id(self) -> str:
        """Readable, as `conv-2x3x9x9-const8x3x3x3-strides(2, 1)`."""
        settings = [f"{name}{value}" for name, value in self.properties.items()]
        shapes = [
            f"{'const' if operand.constant else ''}"
            f"{'x'.join(map(str, (*operand.shape, operand.element)))}"
            for operand in self.operands
        ]
        into = [f"to{self.result}"] if self.result else []
        return "-".join([self.op.name.removeprefix("nn."), *shapes, *settings, *into])


def all_samples() -> list[Sample]:
    """The samples of every family."""
    return [sample for family in FILES for sample in import_module(f"samples.{family}").SAMPLES]


def mostly_slow(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """The samples, all but a seeded few of them for the full run only."""
    kept = set(random.Random(seed).sample(range(len(samples)), count))
    return [replace(s, slow=number not in kept) for number, s in enumerate(samples)]


def const(operand: Operand) -> Operand:
    """The same operand as a constant of the model."""
    return replace(operand, constant=True)


def identity(x: Array, **properties: Any) -> Array:
    """The oracle of ops that only round."""
    return x
