"""Reductions along axes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from xdsl.dialects.builtin import BoolAttr, DenseArrayBase, IntegerAttr, i32, i64
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import (
    Array,
    HasPrecision,
    KeepsFinite,
    Permutable,
    Precision,
    Work,
    as_attribute,
    ints,
)
from ranvier.dialects.nn.shapes import check_axes, reduced_shape
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    element_of,
    shape_of,
    size_of,
    tensor,
    type_of,
)


class ReduceOp(TensorOp, Permutable):
    """`axes` are distinct and not negative; empty axes leave the operand as it is."""

    operand = operand_def()
    result = result_def()
    axes = prop_def(DenseArrayBase)
    keepdims = prop_def(BoolAttr)

    def infer(self) -> Sequence[Tensor]:
        shape = reduced_shape(shape_of(self.operand), ints(self.axes), self.get("keepdims"))
        return (tensor(shape, element_of(self.operand)),)

    def evaluate(self, *operands: Array) -> Array:
        return self.reduce(operands[0], ints(self.axes), bool(self.get("keepdims")))

    def permuted(self, permutation: Sequence[int], *operands: SSAValue) -> Operation:
        axes = [d for d, origin in enumerate(permutation) if origin in ints(self.axes)]
        changed = {"axes": as_attribute(axes), "keepdims": as_attribute(True)}
        properties: dict[str, Any] = {**self.properties, **changed}
        return type(self)(*operands, **properties)

    @abstractmethod
    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array: ...

    def work(self) -> Work:
        return Work(elements=size_of(self.operand))


@irdl_op_definition
class ReduceSumOp(ReduceOp):
    """Sum of the elements."""

    name = "nn.reduce_sum"
    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return x.sum(axes, dtype=x.dtype, keepdims=keepdims)


@irdl_op_definition
class ReduceMeanOp(ReduceOp):
    """Arithmetic mean; of integers their sum, in 32 bits or more, divided toward zero."""

    name = "nn.reduce_mean"
    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        if not np.issubdtype(x.dtype, np.integer):
            return np.asarray(x.mean(axes, keepdims=keepdims)).astype(x.dtype)
        count = prod(x.shape[axis] for axis in axes)
        wide = np.promote_types(x.dtype, np.int32)
        total = x.sum(axes, dtype=wide, keepdims=keepdims).astype(np.int64)
        return np.asarray(np.sign(total) * (np.abs(total) // max(1, count))).astype(x.dtype)


@irdl_op_definition
class ReduceMaxOp(ReduceOp):
    """Largest element; of none, the smallest value of the element type."""

    name = "nn.reduce_max"
    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(np.max(x, axes, keepdims=keepdims, initial=lowest(x.dtype)))


@irdl_op_definition
class ReduceMinOp(ReduceOp):
    """Smallest element; of none, the largest value of the element type."""

    name = "nn.reduce_min"
    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(np.min(x, axes, keepdims=keepdims, initial=highest(x.dtype)))


@irdl_op_definition
class ReduceProdOp(ReduceOp):
    """Product of the elements."""

    name = "nn.reduce_prod"
    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return x.prod(axes, dtype=x.dtype, keepdims=keepdims)


@irdl_op_definition
class ReduceL1Op(ReduceOp):
    """Sum of the magnitudes."""

    name = "nn.reduce_l1"
    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.abs(x).sum(axes, dtype=x.dtype, keepdims=keepdims)


@irdl_op_definition
class ReduceL2Op(ReduceOp):
    """Euclidean norm, `sqrt(sum(x ** 2))`; of integers their sum's root without its fraction."""

    name = "nn.reduce_l2"
    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        total = np.square(x).sum(axes, dtype=x.dtype, keepdims=keepdims)
        return np.asarray(np.sqrt(total)).astype(x.dtype)


@irdl_op_definition
class ReduceSumSquareOp(ReduceOp):
    """Sum of the squares."""

    name = "nn.reduce_sum_square"
    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        return np.square(x).sum(axes, dtype=x.dtype, keepdims=keepdims)


@irdl_op_definition
class ReduceLogSumExpOp(ReduceOp):
    """`log(sum(exp(x)))`, shifted by the maximum so that no exponential overflows."""

    name = "nn.reduce_log_sum_exp"
    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def reduce(self, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        top = np.max(x, axes, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0)
        total = np.log(np.exp(x - top).sum(axes, keepdims=True)) + top
        return total if keepdims else np.asarray(total.squeeze(axes))


class ArgOp(TensorOp, Permutable):
    """Where along one axis an extreme stands, as i64 or i32; the first such place, or the last.

    A NaN is the extreme of what it is among, as in NumPy.
    """

    operand = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)
    keepdims = prop_def(BoolAttr)
    last = prop_def(BoolAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        shape, axis = shape_of(self.operand), int(self.get("axis"))
        kept = reduced_shape(shape, (axis,), self.get("keepdims"))
        if not shape[axis]:
            raise VerifyException(f"axis {axis} of {self.operand.type} has no elements")
        return (tensor(kept, i64),)

    def element_types_agree(self, inferred: Attribute, declared: Attribute) -> bool:
        return declared in (i32, i64)

    def evaluate(self, *operands: Array) -> Array:
        x, axis = operands[0], int(self.get("axis"))
        if not self.get("last"):
            return np.asarray(self.place(x, axis))
        return x.shape[axis] - 1 - np.asarray(self.place(np.flip(x, axis), axis))

    def permuted(self, permutation: Sequence[int], *operands: SSAValue) -> Operation:
        axis = list(permutation).index(self.get("axis"))
        shape = reduced_shape(shape_of(operands[0]), (axis,), True)
        kind = tensor(shape, element_of(self.result))
        return type(self)(*operands, result_types=[kind], axis=axis, keepdims=True, last=self.last)

    @abstractmethod
    def place(self, x: Array, axis: int) -> Array: ...

    def work(self) -> Work:
        return Work(elements=size_of(self.operand))


@irdl_op_definition
class ArgMaxOp(ArgOp):
    """Where the largest element stands."""

    name = "nn.arg_max"

    def place(self, x: Array, axis: int) -> Array:
        return np.argmax(x, axis, keepdims=bool(self.get("keepdims")))


@irdl_op_definition
class ArgMinOp(ArgOp):
    """Where the smallest element stands."""

    name = "nn.arg_min"

    def place(self, x: Array, axis: int) -> Array:
        return np.argmin(x, axis, keepdims=bool(self.get("keepdims")))


class CumulativeOp(TensorOp, Permutable):
    """Each element with all before it along an axis: after it if `reverse`, without it if
    `exclusive`."""

    operand = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)
    exclusive = prop_def(BoolAttr)
    reverse = prop_def(BoolAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        check_axes((self.get("axis"),), len(shape_of(self.operand)))
        return (type_of(self.operand),)

    def evaluate(self, *operands: Array) -> Array:
        x = np.moveaxis(operands[0], int(self.get("axis")), 0)
        x = x[::-1] if self.get("reverse") else x
        if self.get("exclusive"):
            x = np.concatenate([np.full_like(x[:1], self.neutral()), x[:-1]])
        x = self.accumulate(x)
        x = x[::-1] if self.get("reverse") else x
        return np.moveaxis(x, 0, int(self.get("axis")))

    def permuted(self, permutation: Sequence[int], *operands: SSAValue) -> Operation:
        axis = list(permutation).index(self.get("axis"))
        return type(self)(*operands, axis=axis, exclusive=self.exclusive, reverse=self.reverse)

    @abstractmethod
    def neutral(self) -> int: ...

    @abstractmethod
    def accumulate(self, x: Array) -> Array:
        """Along the first axis."""


@irdl_op_definition
class CumSumOp(CumulativeOp):
    """Running sum."""

    name = "nn.cum_sum"

    def neutral(self) -> int:
        return 0

    def accumulate(self, x: Array) -> Array:
        return x.cumsum(0, dtype=x.dtype)


@irdl_op_definition
class CumProdOp(CumulativeOp):
    """Running product."""

    name = "nn.cum_prod"

    def neutral(self) -> int:
        return 1

    def accumulate(self, x: Array) -> Array:
        return x.cumprod(0, dtype=x.dtype)


def lowest(dtype: np.dtype[Any]) -> float | int | bool:
    """The neutral element of a maximum."""
    if dtype == np.bool_:
        return False
    return -np.inf if np.issubdtype(dtype, np.floating) else int(np.iinfo(dtype).min)


def highest(dtype: np.dtype[Any]) -> float | int | bool:
    """The neutral element of a minimum."""
    if dtype == np.bool_:
        return True
    return np.inf if np.issubdtype(dtype, np.floating) else int(np.iinfo(dtype).max)
