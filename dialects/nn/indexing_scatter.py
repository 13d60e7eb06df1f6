"""Ops that write elements by index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import BoolAttr, IntegerAttr, StringAttr
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work
from ranvier.dialects.nn.indexing import (
    check_element_indices,
    check_indices,
    checked,
    checked_parts,
    element_places,
)
from ranvier.dialects.nn.shapes import check_axes
from ranvier.dialects.nn.types import Tensor, TensorOp, element_of, shape_of, tensor, type_of

REDUCTIONS: dict[str, np.ufunc] = {
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


class ScatterOp(TensorOp):
    """The operand with `updates` at some places: put there, or combined by `reduction`.

    `reduction` is none, add, mul, max or min; with none, equal places leave one of their updates.
    """

    operand = operand_def()
    indices = operand_def()
    updates = operand_def()
    result = result_def()
    reduction = prop_def(StringAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW, narrowed=(0, 2)))

    def check_updates(self, expected: tuple[int, ...]) -> Tensor:
        """The result type, if the updates have the expected shape and the reduction exists."""
        if self.reduction.data not in ("none", *REDUCTIONS):
            raise VerifyException(
                f"reduction is none, {', '.join(REDUCTIONS)}, got {self.reduction.data}"
            )
        if self.updates.type != tensor(expected, element_of(self.operand)):
            raise VerifyException(
                f"updates of {self.updates.type} do not fit {self.operand.type} at "
                f"{self.indices.type}"
            )
        return type_of(self.operand)

    def scattered(self, x: Array, places: tuple[Array, ...], updates: Array) -> Array:
        result = x.copy()
        if self.reduction.data == "none":
            result[places] = updates
        else:
            REDUCTIONS[self.reduction.data].at(result, places, updates)
        return result

    def work(self) -> Work:
        return Work()


@irdl_op_definition
class ScatterElementsOp(ScatterOp):
    """`result[i, indices[i, j, …], …] = updates[i, j, …]` for `axis = 1`, and so on."""

    name = "nn.scatter_elements"
    axis = prop_def(IntegerAttr)

    def infer(self) -> Sequence[Tensor]:
        check_element_indices(self.operand, self.indices, self.get("axis"))
        return (self.check_updates(shape_of(self.indices)),)

    def evaluate(self, *operands: Array) -> Array:
        x, indices, updates = operands
        axis = int(self.get("axis"))
        places = element_places(checked(indices, x.shape[axis]), axis)
        return self.scattered(x, places, updates)


@irdl_op_definition
class ScatterNdOp(ScatterOp):
    """Slices of `updates` at the index tuples that the last dimension of `indices` holds."""

    name = "nn.scatter_nd"

    def infer(self) -> Sequence[Tensor]:
        x, places = shape_of(self.operand), shape_of(self.indices)
        check_indices(self.indices)
        if not places or not 1 <= places[-1] <= len(x):
            raise VerifyException(f"{self.indices.type} does not index {self.operand.type}")
        return (self.check_updates(places[:-1] + x[places[-1] :]),)

    def evaluate(self, *operands: Array) -> Array:
        x, indices, updates = operands
        return self.scattered(x, checked_parts(indices, x.shape), updates)


@irdl_op_definition
class TensorScatterOp(TensorOp):
    """The operand with the steps of `updates` along `axis`, from `starts[b]` on in batch `b`.

    The batch is the first dimension. A `circular` place is counted modulo the size of the axis;
    another one beyond it raises CallerError.
    """

    name = "nn.tensor_scatter"
    operand = operand_def()
    updates = operand_def()
    starts = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)
    circular = prop_def(BoolAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW, narrowed=(0, 1)))

    def infer(self) -> Sequence[Tensor]:
        x, updates, axis = shape_of(self.operand), shape_of(self.updates), int(self.get("axis"))
        check_axes((0, axis), len(x))
        check_indices(self.starts)
        beside = x[:axis] == updates[:axis] and x[axis + 1 :] == updates[axis + 1 :]
        if not beside or updates[axis] > x[axis] or shape_of(self.starts) != x[:1]:
            raise VerifyException(
                f"{self.updates.type} from {self.starts.type} on does not fit {self.operand.type}"
            )
        if element_of(self.updates) != element_of(self.operand):
            raise VerifyException(f"{self.updates.type} does not go into {self.operand.type}")
        return (type_of(self.operand),)

    def evaluate(self, *operands: Array) -> Array:
        x, updates, starts = operands
        axis = int(self.get("axis"))
        places = starts[:, None] + np.arange(updates.shape[axis])
        if self.get("circular"):
            places = places % x.shape[axis]
        result = np.moveaxis(x, axis, 1).copy()
        batch = np.arange(x.shape[0])[:, None]
        result[batch, checked(places, x.shape[axis])] = np.moveaxis(updates, axis, 1)
        return np.moveaxis(result, 1, axis)

    def work(self) -> Work:
        return Work()
