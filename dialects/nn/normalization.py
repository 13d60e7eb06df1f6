"""Ops that shift and scale by statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import FloatAttr, IntegerAttr
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work
from ranvier.dialects.nn.shapes import check_axes
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    element_of,
    is_float,
    shape_of,
    size_of,
    type_of,
)


@irdl_op_definition
class BatchNormOp(TensorOp):
    """`(x - mean) / sqrt(variance + epsilon) * scale + bias`, per channel of `NxCx…`.

    Inference only: mean and variance are operands of shape `C`, as scale and bias.
    """

    name = "nn.batch_norm"
    operand = operand_def()
    scale = operand_def()
    bias = operand_def()
    mean = operand_def()
    variance = operand_def()
    result = result_def()
    epsilon = prop_def(FloatAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        x = shape_of(self.operand)
        if len(x) < 2 or not is_float(element_of(self.operand)):
            raise VerifyException(
                f"batch_norm takes floats of rank 2 and above, got {self.operand.type}"
            )
        for statistic in self.operands[1:]:
            if shape_of(statistic) != x[1:2] or element_of(statistic) != element_of(self.operand):
                raise VerifyException(
                    f"{statistic.type} does not fit the {x[1]} channels of {self.operand.type}"
                )
        return (type_of(self.operand),)

    def evaluate(self, *operands: Array) -> Array:
        x = operands[0]
        scale, bias, mean, variance = (
            statistic.reshape(-1, *(1,) * (x.ndim - 2)) for statistic in operands[1:]
        )
        return (x - mean) / np.sqrt(variance + x.dtype.type(self.get("epsilon"))) * scale + bias


@irdl_op_definition
class SoftmaxOp(TensorOp):
    """`exp(x - max) / sum(exp(x - max))` along one axis."""

    name = "nn.softmax"
    operand = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        check_axes((self.get("axis"),), len(shape_of(self.operand)))
        if not is_float(element_of(self.operand)):
            raise VerifyException(f"softmax takes floats, got {self.operand.type}")
        return (type_of(self.operand),)

    def evaluate(self, *operands: Array) -> Array:
        x, axis = operands[0], int(self.get("axis"))
        powers = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
        return powers / powers.sum(axis, keepdims=True)

    def work(self) -> Work:
        return Work(elements=4 * size_of(self.operand))
