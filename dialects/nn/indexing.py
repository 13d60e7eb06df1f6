"""Ops that pick elements by index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import BoolAttr, IntegerAttr, i32, i64
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work
from ranvier.dialects.nn.shapes import check_axes
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    element_of,
    shape_of,
    size_of,
    tensor,
    type_of,
)


@irdl_op_definition
class GatherOp(TensorOp):
    """Slices of the operand at `indices` along `axis`.

    Here and in all ops of indices, one is in `-size <= index < size`, and a negative one counts
    from the end. Others raise CallerError: ONNX calls them an error.
    """

    name = "nn.gather"
    operand = operand_def()
    indices = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW, narrowed=(0,)))

    def infer(self) -> Sequence[Tensor]:
        axis: int = self.get("axis")
        shape = shape_of(self.operand)
        check_axes((axis,), len(shape))
        check_indices(self.indices)
        picked = shape[:axis] + shape_of(self.indices) + shape[axis + 1 :]
        return (tensor(picked, element_of(self.operand)),)

    def evaluate(self, *operands: Array) -> Array:
        axis = int(self.get("axis"))
        return np.take(operands[0], checked(operands[1], operands[0].shape[axis]), axis)

    def work(self) -> Work:
        return Work()


@irdl_op_definition
class GatherElementsOp(TensorOp):
    """`result[i, j, …] = operand[i, indices[i, j, …], …]` for `axis = 1`, and so on."""

    name = "nn.gather_elements"
    operand = operand_def()
    indices = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW, narrowed=(0,)))

    def infer(self) -> Sequence[Tensor]:
        check_element_indices(self.operand, self.indices, self.get("axis"))
        return (tensor(shape_of(self.indices), element_of(self.operand)),)

    def evaluate(self, *operands: Array) -> Array:
        axis = int(self.get("axis"))
        indices = checked(operands[1], operands[0].shape[axis])
        return operands[0][element_places(indices, axis)]

    def work(self) -> Work:
        return Work()


@irdl_op_definition
class GatherNdOp(TensorOp):
    """Slices of the operand at the index tuples that the last dimension of `indices` holds.

    The first `batch` dimensions are common to both: tuples there pick within their own batch.
    """

    name = "nn.gather_nd"
    operand = operand_def()
    indices = operand_def()
    result = result_def()
    batch = prop_def(IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW, narrowed=(0,)))

    def infer(self) -> Sequence[Tensor]:
        x, places, batch = shape_of(self.operand), shape_of(self.indices), int(self.get("batch"))
        check_indices(self.indices)
        if not 0 <= batch < len(places) or x[:batch] != places[:batch]:
            raise VerifyException(
                f"{self.operand.type} and {self.indices.type} have no {batch} batch dimensions"
            )
        if not 1 <= places[-1] <= len(x) - batch:
            raise VerifyException(f"tuples of {places[-1]} do not index {self.operand.type}")
        return (tensor(places[:-1] + x[batch + places[-1] :], element_of(self.operand)),)

    def evaluate(self, *operands: Array) -> Array:
        x, places = operands
        depth = int(self.get("batch"))
        batch = np.indices(places.shape[:-1])[:depth]
        return x[(*batch, *checked_parts(places, x.shape[depth:]))]

    def work(self) -> Work:
        return Work()


@irdl_op_definition
class OneHotOp(TensorOp):
    """`on` where an index along the new `axis` of `depth` is that of `indices`, `off` elsewhere.

    A negative index counts from the end; one that is out of range gives no `on`.
    """

    name = "nn.one_hot"
    indices = operand_def()
    on = operand_def()
    off = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)
    depth = prop_def(IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW, narrowed=(1, 2)))

    def infer(self) -> Sequence[Tensor]:
        shape, axis, depth = shape_of(self.indices), int(self.get("axis")), int(self.get("depth"))
        check_axes((axis,), len(shape) + 1)
        if self.on.type != self.off.type or shape_of(self.on) or depth < 0:
            raise VerifyException(
                f"on and off are scalars of one type, got {self.on.type} and {self.off.type}"
            )
        return (tensor((*shape[:axis], depth, *shape[axis:]), element_of(self.on)),)

    def evaluate(self, *operands: Array) -> Array:
        indices, on, off = operands
        axis, depth = int(self.get("axis")), int(self.get("depth"))
        places = np.arange(depth).reshape(-1, *(1,) * (indices.ndim - axis))
        indices = np.expand_dims(indices, axis)
        return np.where((indices == places) | (indices + depth == places), on, off)

    def work(self) -> Work:
        return Work()


@irdl_op_definition
class TopKOp(TensorOp):
    """The `k` largest (or smallest) elements along an axis, in order, and where they stand, as i64
    or i32.

    Of equal elements the first comes first. NaN is larger than any number, as in NumPy.
    """

    name = "nn.top_k"
    operand = operand_def()
    values = result_def()
    indices = result_def()
    axis = prop_def(IntegerAttr)
    k = prop_def(IntegerAttr)
    largest = prop_def(BoolAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        shape, axis, k = shape_of(self.operand), int(self.get("axis")), int(self.get("k"))
        check_axes((axis,), len(shape))
        if not 0 <= k <= shape[axis]:
            raise VerifyException(f"{self.operand.type} has no {k} elements along axis {axis}")
        taken = (*shape[:axis], k, *shape[axis + 1 :])
        return (tensor(taken, element_of(self.operand)), tensor(taken, i64))

    def element_types_agree(self, inferred: Attribute, declared: Attribute) -> bool:
        return inferred == declared or (inferred, declared) == (i64, i32)

    def evaluate(self, *operands: Array) -> tuple[Array, ...]:
        x, axis = operands[0], int(self.get("axis"))
        if self.get("largest"):
            last = x.shape[axis] - 1
            order = last - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
        else:
            order = np.argsort(x, axis, kind="stable")
        order = np.take(order, np.arange(int(self.get("k"))), axis)
        return np.take_along_axis(x, order, axis), order

    def work(self) -> Work:
        return Work(elements=size_of(self.operand))


@irdl_op_definition
class ReverseSequenceOp(TensorOp):
    """The first `lengths[b]` elements along `axis` of batch `b` backwards, the rest as it is."""

    name = "nn.reverse_sequence"
    operand = operand_def()
    lengths = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)
    batch_axis = prop_def(IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW, narrowed=(0,)))

    def infer(self) -> Sequence[Tensor]:
        shape, batch = shape_of(self.operand), int(self.get("batch_axis"))
        check_axes((self.get("axis"), batch), len(shape))
        check_indices(self.lengths)
        if shape_of(self.lengths) != (shape[batch],):
            raise VerifyException(
                f"{self.lengths.type} has not a length for each of {shape[batch]}"
            )
        return (type_of(self.operand),)

    def evaluate(self, *operands: Array) -> Array:
        axis, batch = int(self.get("axis")), int(self.get("batch_axis"))
        x = np.moveaxis(operands[0], (batch, axis), (0, 1))
        steps = np.arange(x.shape[1])
        lengths = operands[1][:, None]
        order = np.where(steps < lengths, lengths - 1 - steps, steps)
        taken = x[np.arange(x.shape[0])[:, None], checked(order, x.shape[1])]
        return np.moveaxis(taken, (0, 1), (batch, axis))

    def work(self) -> Work:
        return Work()


def check_indices(indices: SSAValue) -> None:
    if element_of(indices) not in (i32, i64):
        raise VerifyException(f"indices are i32 or i64, got {indices.type}")


def check_element_indices(operand: SSAValue, indices: SSAValue, axis: int) -> None:
    """Indices of single elements have the operand's rank, and leave it along `axis` only."""
    x, places = shape_of(operand), shape_of(indices)
    check_axes((axis,), len(x))
    check_indices(indices)
    fits = len(x) == len(places) and all(
        place <= size for d, (size, place) in enumerate(zip(x, places, strict=True)) if d != axis
    )
    if not fits:
        raise VerifyException(f"{indices.type} does not index the elements of {operand.type}")


def checked(indices: Array, size: int) -> Array:
    """The indices, if all are in `-size <= index < size`. Raises CallerError with a wrong one."""
    wrong = indices[(indices < -size) | (indices >= size)]
    if wrong.size:
        raise CallerError(
            Code.INPUT_RANGE, f"index {wrong.reshape(-1)[0]} is outside a dimension of {size}"
        )
    return indices


def checked_parts(tuples: Array, shape: Sequence[int]) -> tuple[Array, ...]:
    """The parts of index tuples, each inside its own dimension. Raises CallerError as `checked`."""
    parts = np.moveaxis(tuples, -1, 0)
    return tuple(checked(part, size) for part, size in zip(parts, shape, strict=False))


def element_places(indices: Array, axis: int) -> tuple[Array, ...]:
    """Full coordinates of the elements that `indices` names along one axis."""
    places = list(np.indices(indices.shape, sparse=True))
    places[axis] = indices
    return tuple(places)
