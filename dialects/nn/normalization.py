"""Ops that shift and scale by statistics."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from xdsl.dialects.builtin import FloatAttr, IntegerAttr
from xdsl.ir import Operation, SSAValue
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import (
    Array,
    HasPrecision,
    Permutable,
    Precision,
    Work,
    as_attribute,
)
from ranvier.dialects.nn.shapes import broadcast_shapes, check_axes
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


class AxisOp(TensorOp, Permutable):
    """Along one axis, alike for all others."""

    axis = prop_def(IntegerAttr)

    def permuted(self, permutation: Sequence[int], *operands: SSAValue) -> Operation:
        axis = as_attribute(list(permutation).index(self.get("axis")))
        properties: dict[str, Any] = {**self.properties, "axis": axis}
        return type(self)(*operands, **properties)


@irdl_op_definition
class SoftmaxOp(AxisOp):
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


@irdl_op_definition
class LogSoftmaxOp(AxisOp):
    """`x - max - log(sum(exp(x - max)))` along one axis."""

    name = "nn.log_softmax"
    operand = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        check_axes((self.get("axis"),), len(shape_of(self.operand)))
        return (float_type(self.operand, self.name),)

    def evaluate(self, *operands: Array) -> Array:
        x, axis = operands[0], int(self.get("axis"))
        x = x - x.max(axis, keepdims=True, initial=-np.inf)
        return x - np.log(np.exp(x).sum(axis, keepdims=True))

    def work(self) -> Work:
        return Work(elements=4 * size_of(self.operand))


@irdl_op_definition
class HardmaxOp(AxisOp):
    """1 at the first largest element along an axis, 0 elsewhere."""

    name = "nn.hardmax"
    operand = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        check_axes((self.get("axis"),), len(shape_of(self.operand)))
        return (float_type(self.operand, self.name),)

    def evaluate(self, *operands: Array) -> Array:
        x, axis = operands[0], int(self.get("axis"))
        result = np.zeros_like(x)
        if x.shape[axis]:
            np.put_along_axis(result, x.argmax(axis, keepdims=True), 1, axis)
        return result


@irdl_op_definition
class LayerNormOp(TensorOp):
    """`(x - mean) / sqrt(variance + epsilon) * scale + bias`, over all dimensions from `axis` on.

    Scale and bias, if there is one, broadcast to those dimensions.
    """

    name = "nn.layer_norm"
    operand = operand_def()
    scale = operand_def()
    bias = opt_operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)
    epsilon = prop_def(FloatAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def axes(self) -> tuple[int, ...]:
        """The dimensions of the statistics."""
        return tuple(range(self.get("axis"), len(shape_of(self.operand))))

    def infer(self) -> Sequence[Tensor]:
        return (check_rows(self, self.get("axis")),)

    def evaluate(self, *operands: Array) -> Array:
        x = operands[0]
        centred = x - x.mean(self.axes(), keepdims=True)
        variance = np.square(centred).mean(self.axes(), keepdims=True)
        normal = centred / np.sqrt(variance + x.dtype.type(self.get("epsilon")))
        return normal * operands[1] + (operands[2] if len(operands) == 3 else 0)

    def work(self) -> Work:
        return Work(elements=8 * size_of(self.operand))


@irdl_op_definition
class RmsNormOp(TensorOp):
    """`x / sqrt(mean(x ** 2) + epsilon) * scale`, over all dimensions from `axis` on."""

    name = "nn.rms_norm"
    operand = operand_def()
    scale = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)
    epsilon = prop_def(FloatAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def axes(self) -> tuple[int, ...]:
        """The dimensions of the statistics."""
        return tuple(range(self.get("axis"), len(shape_of(self.operand))))

    def infer(self) -> Sequence[Tensor]:
        return (check_rows(self, self.get("axis")),)

    def evaluate(self, *operands: Array) -> Array:
        x, scale = operands
        square = np.square(x).mean(self.axes(), keepdims=True)
        return x / np.sqrt(square + x.dtype.type(self.get("epsilon"))) * scale

    def work(self) -> Work:
        return Work(elements=5 * size_of(self.operand))


@irdl_op_definition
class GroupNormOp(TensorOp):
    """`(x - mean) / sqrt(variance + epsilon) * scale + bias` of `NxCx…`, statistics per group.

    A group is `C / groups` channels of one image; scale and bias are per channel. With as many
    groups as channels this is instance normalization.
    """

    name = "nn.group_norm"
    operand = operand_def()
    scale = operand_def()
    bias = operand_def()
    result = result_def()
    groups = prop_def(IntegerAttr)
    epsilon = prop_def(FloatAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        x, groups = shape_of(self.operand), int(self.get("groups"))
        if len(x) < 2 or groups < 1 or x[1] % groups:
            raise VerifyException(f"{self.operand.type} has no channels in {groups} groups")
        for factor in (self.scale, self.bias):
            if shape_of(factor) != x[1:2] or element_of(factor) != element_of(self.operand):
                raise VerifyException(
                    f"{factor.type} does not fit the {x[1]} channels of {self.operand.type}"
                )
        return (float_type(self.operand, self.name),)

    def evaluate(self, *operands: Array) -> Array:
        x = operands[0]
        scale, bias = (factor.reshape(-1, *(1,) * (x.ndim - 2)) for factor in operands[1:])
        groups = int(self.get("groups"))
        rows = x.reshape(x.shape[0], groups, prod(x.shape[1:]) // groups)
        centred = rows - rows.mean(2, keepdims=True)
        variance = np.square(centred).mean(2, keepdims=True)
        normal = centred / np.sqrt(variance + x.dtype.type(self.get("epsilon")))
        return normal.reshape(x.shape) * scale + bias

    def work(self) -> Work:
        return Work(elements=8 * size_of(self.operand))


@irdl_op_definition
class LpNormalizeOp(AxisOp):
    """`x / norm` along one axis, of the sum of magnitudes (`p = 1`) or the Euclidean norm (2).

    Where the norm is 0 so is the result.
    """

    name = "nn.lp_normalize"
    operand = operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)
    p = prop_def(IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        check_axes((self.get("axis"),), len(shape_of(self.operand)))
        if self.get("p") not in (1, 2):
            raise VerifyException(f"p is 1 or 2, got {self.get('p')}")
        return (float_type(self.operand, self.name),)

    def evaluate(self, *operands: Array) -> Array:
        x, axis, p = operands[0], int(self.get("axis")), int(self.get("p"))
        norm = (np.abs(x) ** p).sum(axis, keepdims=True) ** (1 / p)
        return np.where(norm == 0, 0, x / norm).astype(x.dtype)


@irdl_op_definition
class LrnOp(TensorOp):
    """Local response normalization across channels of `NxCx…`.

    `x / (bias + alpha / size * sum(x ** 2)) ** beta`, where the sum takes `size` channels: those
    from `floor((size - 1) / 2)` before to `ceil((size - 1) / 2)` after.
    """

    name = "nn.lrn"
    operand = operand_def()
    result = result_def()
    size = prop_def(IntegerAttr)
    alpha = prop_def(FloatAttr)
    beta = prop_def(FloatAttr)
    bias = prop_def(FloatAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        if len(shape_of(self.operand)) < 2 or self.get("size") < 1:
            raise VerifyException(f"{self.operand.type} has no {self.get('size')} channels")
        return (float_type(self.operand, self.name),)

    def evaluate(self, *operands: Array) -> Array:
        x, size = operands[0], int(self.get("size"))
        before = (size - 1) // 2
        margins = [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)]
        squares = np.lib.stride_tricks.sliding_window_view(np.pad(x * x, margins), size, 1)
        mean = squares.sum(-1) * x.dtype.type(self.get("alpha") / size)
        return x / (mean + x.dtype.type(self.get("bias"))) ** x.dtype.type(self.get("beta"))

    def work(self) -> Work:
        return Work(elements=(4 + self.get("size")) * size_of(self.operand))


def float_type(operand: SSAValue, name: str) -> Tensor:
    """The operand's type. Raises VerifyException if it is not of floats."""
    if not is_float(element_of(operand)):
        raise VerifyException(f"{name} takes floats, got {operand.type}")
    return type_of(operand)


def check_rows(op: LayerNormOp | RmsNormOp, axis: int) -> Tensor:
    """The result of a normalization over the dimensions from `axis` on."""
    x = shape_of(op.operand)
    check_axes((axis,), len(x))
    for factor in op.operands[1:]:
        fits = broadcast_shapes(shape_of(factor), x[axis:]) == x[axis:]
        if not fits or element_of(factor) != element_of(op.operand):
            raise VerifyException(f"{factor.type} does not fit {op.operand.type} from axis {axis}")
    return float_type(op.operand, op.name)
