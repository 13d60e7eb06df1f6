"""Activation functions: elementwise ops that networks have between their products."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import ClassVar

import numpy as np
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, StringAttr
from xdsl.irdl import irdl_op_definition, opt_prop_def, prop_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, HasPrecision, KeepsFinite, Precision
from ranvier.dialects.nn.elementwise import BinaryOp, UnaryOp
from ranvier.dialects.nn.elementwise_math import erf
from ranvier.dialects.nn.types import Tensor, shape_of


@irdl_op_definition
class ReluOp(UnaryOp):
    """`max(x, 0)`"""

    name = "nn.relu"
    FLOATS_ONLY: ClassVar[bool] = False

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

    def evaluate(self, *operands: Array) -> Array:
        return np.maximum(operands[0], 0)


@irdl_op_definition
class SigmoidOp(UnaryOp):
    """`1 / (1 + exp(-x))`"""

    name = "nn.sigmoid"

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

    def evaluate(self, *operands: Array) -> Array:
        return sigmoid(operands[0])


@irdl_op_definition
class TanhOp(UnaryOp):
    """Hyperbolic tangent."""

    name = "nn.tanh"

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

    def evaluate(self, *operands: Array) -> Array:
        return np.tanh(operands[0])


@irdl_op_definition
class GeluOp(UnaryOp):
    """`x * Phi(x)`; with `approximate = "tanh"` by the tanh formula."""

    name = "nn.gelu"
    approximate = prop_def(StringAttr)

    def infer(self) -> Sequence[Tensor]:
        if self.approximate.data not in ("none", "tanh"):
            raise VerifyException(f"approximate is none or tanh, got {self.approximate.data}")
        return super().infer()

    def evaluate(self, *operands: Array) -> Array:
        x = operands[0]
        if self.approximate.data == "tanh":
            return x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2
        return x * (1 + erf(x / sqrt(2))) / 2


@irdl_op_definition
class SiluOp(UnaryOp):
    """`x * sigmoid(x)`"""

    name = "nn.silu"

    def evaluate(self, *operands: Array) -> Array:
        return operands[0] * sigmoid(operands[0])


@irdl_op_definition
class SoftplusOp(UnaryOp):
    """`log(1 + exp(x))`"""

    name = "nn.softplus"

    def evaluate(self, *operands: Array) -> Array:
        return np.logaddexp(operands[0], np.zeros_like(operands[0]))


@irdl_op_definition
class HardSigmoidOp(UnaryOp):
    """`clip(alpha * x + beta, 0, 1)`"""

    name = "nn.hard_sigmoid"
    alpha = prop_def(FloatAttr)
    beta = prop_def(FloatAttr)

    def evaluate(self, *operands: Array) -> Array:
        return np.clip(self.get("alpha") * operands[0] + self.get("beta"), 0, 1)


@irdl_op_definition
class HardSwishOp(UnaryOp):
    """`x * clip(x / 6 + 1/2, 0, 1)`"""

    name = "nn.hard_swish"

    def evaluate(self, *operands: Array) -> Array:
        return operands[0] * np.clip(operands[0] / 6 + 0.5, 0, 1)


@irdl_op_definition
class LeakyReluOp(UnaryOp):
    """`x` where `x >= 0`, else `alpha * x`"""

    name = "nn.leaky_relu"
    alpha = prop_def(FloatAttr)

    def evaluate(self, *operands: Array) -> Array:
        return np.where(operands[0] >= 0, operands[0], self.get("alpha") * operands[0])


@irdl_op_definition
class EluOp(UnaryOp):
    """`x` where `x >= 0`, else `alpha * (exp(x) - 1)`"""

    name = "nn.elu"
    alpha = prop_def(FloatAttr)

    def evaluate(self, *operands: Array) -> Array:
        x = operands[0]
        return np.where(x >= 0, x, self.get("alpha") * np.expm1(np.minimum(x, 0)))


@irdl_op_definition
class ClampOp(UnaryOp):
    """`min(max(x, low), high)`; NaN stays NaN, and `high` wins over `low`."""

    name = "nn.clamp"
    FLOATS_ONLY: ClassVar[bool] = False
    low = opt_prop_def(FloatAttr | IntegerAttr)
    high = opt_prop_def(FloatAttr | IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

    def evaluate(self, *operands: Array) -> Array:
        x = operands[0]
        if (low := self.get("low")) is not None:
            x = np.maximum(x, np.asarray(low, x.dtype))
        if (high := self.get("high")) is not None:
            x = np.minimum(x, np.asarray(high, x.dtype))
        return x


@irdl_op_definition
class PReluOp(BinaryOp):
    """`x` where `x >= 0`, else `slope * x`; the slope broadcasts to `x`."""

    name = "nn.prelu"

    def infer(self) -> Sequence[Tensor]:
        (inferred,) = super().infer()
        if inferred.get_shape() != shape_of(self.lhs):
            raise VerifyException(
                f"a slope of {self.rhs.type} does not broadcast to {self.lhs.type}"
            )
        return (inferred,)

    def evaluate(self, *operands: Array) -> Array:
        x, slope = operands
        return np.where(x >= 0, x, slope * x)


def sigmoid(x: Array) -> Array:
    # Two branches, so that exp never overflows.
    decayed = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, decayed) / (1 + decayed)
