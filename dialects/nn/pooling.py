"""Windows over the spatial dimensions of `NxCx…`, each reduced to one value."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import BoolAttr, DenseArrayBase, IntegerAttr
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work, ints
from ranvier.dialects.nn.contraction import windows
from ranvier.dialects.nn.shapes import format_shape, windowed_shape
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    element_of,
    is_float,
    shape_of,
    size_of,
    tensor,
)


class PoolOp(TensorOp):
    """`padding` holds all lows, then all highs; a window may reach into the padding."""

    operand = operand_def()
    result = result_def()
    kernel = prop_def(DenseArrayBase)
    strides = prop_def(DenseArrayBase)
    padding = prop_def(DenseArrayBase)
    dilations = prop_def(DenseArrayBase)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW))

    def infer(self) -> Sequence[Tensor]:
        x = shape_of(self.operand)
        if not 3 <= len(x) <= 5 or not is_float(element_of(self.operand)):
            raise VerifyException(f"pooling takes floats of rank 3 to 5, got {self.operand.type}")
        if len(ints(self.padding)) == 2 * (len(x) - 2) and min(ints(self.padding)) < 0:
            raise VerifyException(
                f"padding is not negative, got {format_shape(ints(self.padding))}"
            )
        spatial = windowed_shape(
            x[2:], ints(self.kernel), ints(self.strides), ints(self.padding), ints(self.dilations)
        )
        return (tensor((*x[:2], *spatial), element_of(self.operand)),)

    def windows(self, x: Array, fill: float) -> Array:
        return windows(
            x, ints(self.kernel), ints(self.strides), ints(self.padding), ints(self.dilations), fill
        )

    def work(self) -> Work:
        return Work(elements=size_of(self.result) * prod(ints(self.kernel)))


@irdl_op_definition
class MaxPoolOp(PoolOp):
    """The largest value of each window; padding counts as minus infinity."""

    name = "nn.max_pool"

    def evaluate(self, *operands: Array) -> Array:
        taps = tuple(range(-len(ints(self.kernel)), 0))
        return self.windows(operands[0], -np.inf).max(taps)


@irdl_op_definition
class AvgPoolOp(PoolOp):
    """The mean of each window, over all its taps or over those inside the operand."""

    name = "nn.avg_pool"
    count_padding = prop_def(BoolAttr)

    def divisors(self) -> Array:
        """How many taps each window counts, as f64 of the result's spatial shape."""
        spatial = shape_of(self.operand)[2:]
        if self.get("count_padding"):
            return np.full(shape_of(self.result)[2:], float(prod(ints(self.kernel))))
        taps = tuple(range(-len(spatial), 0))
        return self.windows(np.ones((1, 1, *spatial)), 0.0).sum(taps)[0, 0]

    def evaluate(self, *operands: Array) -> Array:
        taps = tuple(range(-len(ints(self.kernel)), 0))
        sums = self.windows(operands[0], 0.0).sum(taps)
        with np.errstate(divide="ignore", invalid="ignore"):
            return (sums / self.divisors()).astype(operands[0].dtype)


@irdl_op_definition
class LpPoolOp(PoolOp):
    """`sum(|x| ** p) ** (1 / p)` of each window; padding counts as 0."""

    name = "nn.lp_pool"
    p = prop_def(IntegerAttr)

    def evaluate(self, *operands: Array) -> Array:
        taps, p = tuple(range(-len(ints(self.kernel)), 0)), int(self.get("p"))
        return (self.windows(np.abs(operands[0]), 0.0) ** p).sum(taps) ** (1 / p)
