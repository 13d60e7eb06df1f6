"""Ops that pick elements by index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import IntegerAttr, i32, i64
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work
from ranvier.dialects.nn.shapes import check_axes
from ranvier.dialects.nn.types import Tensor, TensorOp, element_of, shape_of, tensor


@irdl_op_definition
class GatherOp(TensorOp):
    """Slices of the operand at `indices` along `axis`; an index is in `-size <= index < size`."""

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
        if element_of(self.indices) not in (i32, i64):
            raise VerifyException(f"indices are i32 or i64, got {self.indices.type}")
        picked = shape[:axis] + shape_of(self.indices) + shape[axis + 1 :]
        return (tensor(picked, element_of(self.operand)),)

    def evaluate(self, *operands: Array) -> Array:
        return np.take(operands[0], operands[1], int(self.get("axis")))

    def work(self) -> Work:
        return Work()
