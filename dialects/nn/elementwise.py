"""Elementwise ops. Operands broadcast as in NumPy and share the element type of the result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import erf as scalar_erf
from typing import Any, ClassVar

import numpy as np
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, StringAttr, UnitAttr, i1
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work
from ranvier.dialects.nn.shapes import broadcast_shapes
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    dtype_of,
    element_of,
    is_float,
    shape_of,
    tensor,
    type_of,
)


class UnaryOp(TensorOp):
    """One operand, a result of the same type."""

    operand = operand_def()
    result = result_def()

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW))

    FLOATS_ONLY: ClassVar[bool] = True

    def infer(self) -> Sequence[Tensor]:
        if self.FLOATS_ONLY and not is_float(element_of(self.operand)):
            raise VerifyException(f"{self.name} takes floats, got {self.operand.type}")
        return (type_of(self.operand),)

    @abstractmethod
    def evaluate(self, *operands: Array) -> Array: ...


class BinaryOp(TensorOp):
    """Two operands that broadcast, a result of their element type."""

    lhs = operand_def()
    rhs = operand_def()
    result = result_def()

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW))

    def operand_element(self) -> Attribute:
        if (element := element_of(self.lhs)) != element_of(self.rhs):
            raise VerifyException(f"element types differ: {self.lhs.type} and {self.rhs.type}")
        return element

    def infer(self) -> Sequence[Tensor]:
        shape = broadcast_shapes(shape_of(self.lhs), shape_of(self.rhs))
        return (tensor(shape, self.result_element(self.operand_element())),)

    def result_element(self, operand: Attribute) -> Attribute:
        return operand


class CompareOp(BinaryOp):
    """Two operands that broadcast, a result of truth values."""

    def result_element(self, operand: Attribute) -> Attribute:
        return i1


class LogicalOp(BinaryOp):
    """Two operands of truth values or integers, bit by bit."""

    def result_element(self, operand: Attribute) -> Attribute:
        if is_float(operand):
            raise VerifyException(f"{self.name} takes integers or truth values, got {operand}")
        return operand


# -- One operand ------------------------------------------------------------------------------


@irdl_op_definition
class ReluOp(UnaryOp):
    """`max(x, 0)`"""

    name = "nn.relu"
    FLOATS_ONLY: ClassVar[bool] = False

    def evaluate(self, *operands: Array) -> Array:
        return np.maximum(operands[0], 0)


@irdl_op_definition
class AbsOp(UnaryOp):
    """`|x|`"""

    name = "nn.abs"
    FLOATS_ONLY: ClassVar[bool] = False

    def evaluate(self, *operands: Array) -> Array:
        return np.abs(operands[0])


@irdl_op_definition
class NegOp(UnaryOp):
    """`-x`"""

    name = "nn.neg"
    FLOATS_ONLY: ClassVar[bool] = False

    def evaluate(self, *operands: Array) -> Array:
        return np.negative(operands[0])


@irdl_op_definition
class SigmoidOp(UnaryOp):
    """`1 / (1 + exp(-x))`"""

    name = "nn.sigmoid"

    def evaluate(self, *operands: Array) -> Array:
        return _sigmoid(operands[0])


@irdl_op_definition
class TanhOp(UnaryOp):
    """Hyperbolic tangent."""

    name = "nn.tanh"

    def evaluate(self, *operands: Array) -> Array:
        return np.tanh(operands[0])


@irdl_op_definition
class ExpOp(UnaryOp):
    """`e ** x`"""

    name = "nn.exp"

    def evaluate(self, *operands: Array) -> Array:
        return np.exp(operands[0])


@irdl_op_definition
class LogOp(UnaryOp):
    """Natural logarithm."""

    name = "nn.log"

    def evaluate(self, *operands: Array) -> Array:
        return np.log(operands[0])


@irdl_op_definition
class SqrtOp(UnaryOp):
    """Square root."""

    name = "nn.sqrt"

    def evaluate(self, *operands: Array) -> Array:
        return np.sqrt(operands[0])


@irdl_op_definition
class RsqrtOp(UnaryOp):
    """`1 / sqrt(x)`"""

    name = "nn.rsqrt"

    def evaluate(self, *operands: Array) -> Array:
        return 1 / np.sqrt(operands[0])


@irdl_op_definition
class ReciprocalOp(UnaryOp):
    """`1 / x`"""

    name = "nn.reciprocal"

    def evaluate(self, *operands: Array) -> Array:
        return 1 / operands[0]


@irdl_op_definition
class ErfOp(UnaryOp):
    """Gauss error function."""

    name = "nn.erf"

    def evaluate(self, *operands: Array) -> Array:
        return _erf(operands[0])


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
            return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
        return x * (1 + _erf(x / np.sqrt(2))) / 2


@irdl_op_definition
class SiluOp(UnaryOp):
    """`x * sigmoid(x)`"""

    name = "nn.silu"

    def evaluate(self, *operands: Array) -> Array:
        return operands[0] * _sigmoid(operands[0])


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

    def evaluate(self, *operands: Array) -> Array:
        x = operands[0]
        if (low := self.get("low")) is not None:
            x = np.maximum(x, np.asarray(low, x.dtype))
        if (high := self.get("high")) is not None:
            x = np.minimum(x, np.asarray(high, x.dtype))
        return x


@irdl_op_definition
class FloorOp(UnaryOp):
    """Largest integer not above `x`."""

    name = "nn.floor"

    def evaluate(self, *operands: Array) -> Array:
        return np.floor(operands[0])


@irdl_op_definition
class CeilOp(UnaryOp):
    """Smallest integer not below `x`."""

    name = "nn.ceil"

    def evaluate(self, *operands: Array) -> Array:
        return np.ceil(operands[0])


@irdl_op_definition
class SinOp(UnaryOp):
    """Sine, radians."""

    name = "nn.sin"

    def evaluate(self, *operands: Array) -> Array:
        return np.sin(operands[0])


@irdl_op_definition
class CosOp(UnaryOp):
    """Cosine, radians."""

    name = "nn.cos"

    def evaluate(self, *operands: Array) -> Array:
        return np.cos(operands[0])


@irdl_op_definition
class NotOp(UnaryOp):
    """Negation of truth values."""

    name = "nn.not"
    FLOATS_ONLY: ClassVar[bool] = False

    def infer(self) -> Sequence[Tensor]:
        if element_of(self.operand) != i1:
            raise VerifyException(f"nn.not takes truth values, got {self.operand.type}")
        return (type_of(self.operand),)

    def evaluate(self, *operands: Array) -> Array:
        return np.logical_not(operands[0])


@irdl_op_definition
class CastOp(TensorOp):
    """Round to the result's element type: to nearest even for floats, toward zero for integers.

    `implicit` marks casts that `cast-bf16` inserted; the others are the model's own.
    """

    name = "nn.cast"
    operand = operand_def()
    result = result_def()
    to = prop_def(Attribute)
    implicit = opt_prop_def(UnitAttr)

    traits = traits_def(Pure())

    def __init__(self, operand: SSAValue, to: Attribute, *, implicit: bool = False) -> None:
        super().__init__(operand, to=to, implicit=UnitAttr() if implicit else None)

    def rebuilt(self, *operands: SSAValue, result_types: Sequence[Tensor] | None = None) -> CastOp:
        return CastOp(operands[0], self.to, implicit=self.implicit is not None)

    def infer(self) -> Sequence[Tensor]:
        dtype_of(self.to)
        return (tensor(shape_of(self.operand), self.to),)

    def work(self) -> Work:
        return Work()

    def evaluate(self, *operands: Array) -> Array:
        dtype = dtype_of(self.to)
        with np.errstate(invalid="ignore", over="ignore"):
            return operands[0].astype(dtype)


# -- Two operands -----------------------------------------------------------------------------


@irdl_op_definition
class AddOp(BinaryOp):
    """`x + y`"""

    name = "nn.add"

    def evaluate(self, *operands: Array) -> Array:
        return np.add(*operands)


@irdl_op_definition
class SubOp(BinaryOp):
    """`x - y`"""

    name = "nn.sub"

    def evaluate(self, *operands: Array) -> Array:
        return np.subtract(*operands)


@irdl_op_definition
class MulOp(BinaryOp):
    """`x * y`"""

    name = "nn.mul"

    def evaluate(self, *operands: Array) -> Array:
        return np.multiply(*operands)


@irdl_op_definition
class DivOp(BinaryOp):
    """`x / y`; integers round toward zero, and by zero give 0."""

    name = "nn.div"

    def evaluate(self, *operands: Array) -> Array:
        x, y = operands
        if not np.issubdtype(x.dtype, np.integer):
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.divide(x, y)
        safe = np.where(y == 0, 1, y)
        quotient = np.abs(x) // np.abs(safe) * (np.sign(x) * np.sign(safe))
        return np.where(y == 0, 0, quotient).astype(x.dtype)


@irdl_op_definition
class PowOp(BinaryOp):
    """`x ** y`"""

    name = "nn.pow"

    def evaluate(self, *operands: Array) -> Array:
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            return np.power(*operands)


@irdl_op_definition
class MaxOp(BinaryOp):
    """The larger; NaN if either is."""

    name = "nn.max"

    def evaluate(self, *operands: Array) -> Array:
        return np.maximum(*operands)


@irdl_op_definition
class MinOp(BinaryOp):
    """The smaller; NaN if either is."""

    name = "nn.min"

    def evaluate(self, *operands: Array) -> Array:
        return np.minimum(*operands)


@irdl_op_definition
class EqualOp(CompareOp):
    """`x == y`"""

    name = "nn.equal"

    def evaluate(self, *operands: Array) -> Array:
        return np.equal(*operands)


@irdl_op_definition
class LessOp(CompareOp):
    """`x < y`"""

    name = "nn.less"

    def evaluate(self, *operands: Array) -> Array:
        return np.less(*operands)


@irdl_op_definition
class LessEqualOp(CompareOp):
    """`x <= y`"""

    name = "nn.less_equal"

    def evaluate(self, *operands: Array) -> Array:
        return np.less_equal(*operands)


@irdl_op_definition
class GreaterOp(CompareOp):
    """`x > y`"""

    name = "nn.greater"

    def evaluate(self, *operands: Array) -> Array:
        return np.greater(*operands)


@irdl_op_definition
class GreaterEqualOp(CompareOp):
    """`x >= y`"""

    name = "nn.greater_equal"

    def evaluate(self, *operands: Array) -> Array:
        return np.greater_equal(*operands)


@irdl_op_definition
class AndOp(LogicalOp):
    """Conjunction, bit by bit."""

    name = "nn.and"

    def evaluate(self, *operands: Array) -> Array:
        return np.bitwise_and(*operands)


@irdl_op_definition
class OrOp(LogicalOp):
    """Disjunction, bit by bit."""

    name = "nn.or"

    def evaluate(self, *operands: Array) -> Array:
        return np.bitwise_or(*operands)


@irdl_op_definition
class SelectOp(TensorOp):
    """`x` where the condition holds, else `y`; all three broadcast."""

    name = "nn.select"
    condition = operand_def()
    on_true = operand_def()
    on_false = operand_def()
    result = result_def()

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW))

    def infer(self) -> Sequence[Tensor]:
        if element_of(self.condition) != i1:
            raise VerifyException(f"the condition is of truth values, got {self.condition.type}")
        if (element := element_of(self.on_true)) != element_of(self.on_false):
            raise VerifyException(
                f"element types differ: {self.on_true.type} and {self.on_false.type}"
            )
        shape = broadcast_shapes(*(shape_of(operand) for operand in self.operands))
        return (tensor(shape, element),)

    def evaluate(self, *operands: Array) -> Array:
        return np.where(*operands)


def _sigmoid(x: Array) -> Array:
    # Two branches, so that exp never overflows.
    decayed = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, decayed) / (1 + decayed)


_scalar_erf: Any = np.frompyfunc(scalar_erf, 1, 1)


def _erf(x: Array) -> Array:
    """In double precision by the C library, rounded once."""
    return np.asarray(_scalar_erf(x.astype(np.float64)), np.float64).astype(x.dtype)
