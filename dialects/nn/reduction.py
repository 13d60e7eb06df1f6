"""Reductions along axes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import BoolAttr, DenseArrayBase
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure

from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work, ints
from ranvier.dialects.nn.shapes import reduced_shape
from ranvier.dialects.nn.types import Tensor, TensorOp, element_of, shape_of, size_of, tensor


class ReduceOp(TensorOp):
    """`axes` are distinct and not negative; empty axes leave the operand as it is."""

    operand = operand_def()
    result = result_def()
    axes = prop_def(DenseArrayBase)
    keepdims = prop_def(BoolAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        shape = reduced_shape(shape_of(self.operand), ints(self.axes), self.get("keepdims"))
        return (tensor(shape, element_of(self.operand)),)

    def evaluate(self, *operands: Array) -> Array:
        return self.reduce(operands[0], ints(self.axes), bool(self.get("keepdims")))

    @abstractmethod
    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array: ...

    def work(self) -> Work:
        return Work(elements=size_of(self.operand))


@irdl_op_definition
class ReduceSumOp(ReduceOp):
    """Sum of the elements."""

    name = "nn.reduce_sum"

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return x.sum(axes, dtype=x.dtype, keepdims=keepdims)


@irdl_op_definition
class ReduceMeanOp(ReduceOp):
    """Arithmetic mean of the elements."""

    name = "nn.reduce_mean"

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(x.mean(axes, keepdims=keepdims)).astype(x.dtype)


@irdl_op_definition
class ReduceMaxOp(ReduceOp):
    """Largest element; of none, the smallest value of the element type."""

    name = "nn.reduce_max"
    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW))

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(np.max(x, axes, keepdims=keepdims, initial=lowest(x.dtype)))


@irdl_op_definition
class ReduceMinOp(ReduceOp):
    """Smallest element; of none, the largest value of the element type."""

    name = "nn.reduce_min"
    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW))

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(np.min(x, axes, keepdims=keepdims, initial=highest(x.dtype)))


def lowest(dtype: np.dtype[np.generic]) -> float | int | bool:
    """The neutral element of a maximum."""
    if dtype == np.bool_:
        return False
    return -np.inf if np.issubdtype(dtype, np.floating) else int(np.iinfo(dtype).min)


def highest(dtype: np.dtype[np.generic]) -> float | int | bool:
    """The neutral element of a minimum."""
    if dtype == np.bool_:
        return True
    return np.inf if np.issubdtype(dtype, np.floating) else int(np.iinfo(dtype).max)
