"""What an identity of the op set is, and how it builds its ops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar, get_args

import numpy as np
from xdsl.ir import Operation, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of, shape_of

OpT = TypeVar("OpT", bound=TensorOp)


class Emitter:
    """Collects the ops of an identity in order; none of them is in a block yet."""

    def __init__(self) -> None:
        self.ops: list[Operation] = []

    def __call__(self, op: TensorOp) -> SSAValue:
        """Add an op and return its result."""
        self.ops.append(op)
        return op.results[0]

    def scalar(self, value: float, like: SSAValue) -> SSAValue:
        """A constant of rank 0 in the element type of `like`; it broadcasts to every shape."""
        return self(nn.ConstantOp(np.array(value, dtype_of(element_of(like)))))


class Decomposition(ABC, Generic[OpT]):
    """An identity that rewrites ops of type `OpT`, one type or a union; the docstring states it."""

    op_types: ClassVar[tuple[type[Operation], ...]]
    wide: ClassVar[bool] = False
    """Whether the ops that it emits need f32 throughout."""

    def __init_subclass__(cls) -> None:
        (matched,) = get_args(vars(cls)["__orig_bases__"][0])
        cls.op_types = get_args(matched) or (matched,)

    @abstractmethod
    def decompose(self, op: OpT, emit: Emitter) -> SSAValue | None:
        """Emit ops of the same meaning and return their result; None if the identity fails."""


AnyDecomposition = Decomposition[Any]


def constant_array(value: SSAValue) -> Array | None:
    """The value of a small constant, or None."""
    return value.owner.array() if isinstance(value.owner, nn.ConstantOp) else None


def constant_scalar(value: SSAValue) -> float | None:
    """The number that all elements of a small constant are, or None."""
    array = constant_array(value)
    if array is None or not array.size or (array != array.reshape(-1)[0]).any():
        return None
    return float(array.reshape(-1)[0])


def slice_along(x: SSAValue, axis: int, start: int, count: int, step: int = 1) -> nn.SliceOp:
    """A slice of one axis, all of the others."""
    shape = shape_of(x)
    starts, sizes, steps = [0] * len(shape), list(shape), [1] * len(shape)
    starts[axis], sizes[axis], steps[axis] = start, count, step
    return nn.SliceOp(x, starts=starts, sizes=sizes, steps=steps)
