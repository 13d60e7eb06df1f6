"""What an op may promise to passes and executors, independent of its dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

import numpy as np
from xdsl.dialects.builtin import (
    ArrayAttr,
    BoolAttr,
    DenseArrayBase,
    Float64Type,
    FloatAttr,
    IntegerAttr,
    IntegerType,
    StringAttr,
    f64,
    i64,
)
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.traits import OpTrait

from ranvier.dialects.diagnostics import Reason

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Precision(Enum):
    """What `cast-bf16` may do to an op."""

    NARROW = auto()
    """A contraction: multiplies narrow operands, accumulates in f32."""
    FOLLOW = auto()
    """Computes in the element type of its operands."""
    WIDE = auto()
    """Needs f32 throughout: statistics, sums, losses."""


WIDE = "nn.wide"
"""Attribute of an op that needs f32 although ops of its kind do not."""


@dataclass(frozen=True)
class HasPrecision(OpTrait):
    """The op's policy under `cast-bf16`; `narrowed` are the operands of a contraction's product."""

    precision: Precision
    narrowed: tuple[int, ...] = (0, 1)


class KeepsFinite(OpTrait):
    """Finite operands give finite results."""


class ConstantSource(OpTrait):
    """The op reads a constant of the model and nothing else."""


@dataclass(frozen=True)
class Work:
    """Arithmetic of one execution: multiply-accumulates, and other element operations."""

    macs: int = 0
    elements: int = 0


class ReferenceSemantics(ABC):
    """An op that can be executed on NumPy arrays.

    The executor widens bf16 and f16 operands to f32 before `evaluate` and rounds its results to
    the declared types, so `evaluate` never sees a narrow float.
    """

    @abstractmethod
    def evaluate(self, *operands: Array) -> Array | tuple[Array, ...]:
        """The op's meaning: one array, or a tuple of one array per result."""

    @abstractmethod
    def work(self) -> Work:
        """Arithmetic work at the op's static shapes."""


class Permutable(ABC):
    """An op that treats all dimensions alike, or names those that it is about."""

    @abstractmethod
    def permuted(self, permutation: Sequence[int], *operands: SSAValue) -> Operation:
        """The op on operands that are transposed by `permutation`, all of the op's rank.

        Its result is this op's, transposed likewise; a dimension that this op drops has size 1.
        """


def as_attribute(value: object) -> Attribute:
    """The attribute that stands for a Python value of an op's constructor."""
    match value:
        case Attribute():
            return value
        case bool():
            return BoolAttr.from_bool(value)
        case int():
            return IntegerAttr(value, i64)
        case float():
            return FloatAttr(value, f64)
        case str():
            return StringAttr(value)
        case tuple() | list():
            items: Sequence[Any] = value
            if any(isinstance(item, float) for item in items):
                return DenseArrayBase.from_list(f64, [float(item) for item in items])
            return DenseArrayBase.from_list(i64, [int(item) for item in items])
        case _:
            raise TypeError(f"no attribute stands for {value!r}")


REASON = "ranvier.reason"
"""Discardable attribute of an op that is not for the target: `["RV0201", "text"]`."""


def reason_attribute(reason: Reason) -> Attribute:
    """`["RV0201", "text"]`"""
    return ArrayAttr([StringAttr(reason.code.number), StringAttr(reason.text)])


def ints(attribute: DenseArrayBase[Any]) -> tuple[int, ...]:
    """The integers of an `array<i64: …>` property."""
    return tuple(int(value) for value in attribute.iter_values())


def as_python(attribute: Attribute) -> Any:
    """The Python value of a property: the inverse of `as_attribute`."""
    match attribute:
        case IntegerAttr():
            is_flag = isinstance(attribute.type, IntegerType) and attribute.type.width.data == 1
            return bool(attribute.value.data) if is_flag else attribute.value.data
        case FloatAttr():
            return attribute.value.data
        case StringAttr():
            return attribute.data
        case DenseArrayBase():
            array: Any = attribute
            number = float if isinstance(array.elt_type, Float64Type) else int
            return tuple(number(value) for value in array.iter_values())
        case _:
            raise TypeError(f"no Python value stands for {attribute}")
