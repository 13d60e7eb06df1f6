"""Elementwise ops. Operands broadcast as in NumPy and share the element type of the result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from ml_dtypes import finfo
from xdsl.dialects.builtin import UnitAttr, i1
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

from ranvier.dialects.interfaces import Array, HasPrecision, KeepsFinite, Precision, Work
from ranvier.dialects.nn.shapes import broadcast_shapes
from ranvier.dialects.nn.types import (
    PointwiseOp,
    Tensor,
    dtype_of,
    element_of,
    is_float,
    shape_of,
    tensor,
    type_of,
)


class UnaryOp(PointwiseOp):
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


class BinaryOp(PointwiseOp):
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


@irdl_op_definition
class CastOp(PointwiseOp):
    """Round to the result's element type: to nearest even for floats, toward zero for integers.

    A float beyond the range of an integer type is its nearest bound, and NaN is 0. Integers of
    other sizes keep their low bits.

    `implicit` marks casts that `cast-bf16` inserted; the others are the model's own. With
    `saturate` a finite float stays finite: the largest one, if it is beyond the result's type.
    """

    name = "nn.cast"
    operand = operand_def()
    result = result_def()
    to = prop_def(Attribute)
    implicit = opt_prop_def(UnitAttr)
    saturate = opt_prop_def(UnitAttr)

    traits = traits_def(Pure())

    def __init__(
        self, operand: SSAValue, to: Attribute, *, implicit: bool = False, saturate: bool = False
    ) -> None:
        super().__init__(
            operand,
            to=to,
            implicit=UnitAttr() if implicit else None,
            saturate=UnitAttr() if saturate else None,
        )

    def rebuilt(self, *operands: SSAValue, result_types: Sequence[Tensor] | None = None) -> CastOp:
        return CastOp(
            operands[0],
            self.to,
            implicit=self.implicit is not None,
            saturate=self.saturate is not None,
        )

    def infer(self) -> Sequence[Tensor]:
        dtype_of(self.to)
        if self.saturate is not None and not is_float(self.to):
            raise VerifyException(f"saturate is of casts to floats, got {self.to}")
        return (tensor(shape_of(self.operand), self.to),)

    def work(self) -> Work:
        return Work()

    def evaluate(self, *operands: Array) -> Array:
        x, dtype = operands[0], dtype_of(self.to)
        if dtype.kind in "iu" and not np.issubdtype(x.dtype, np.integer) and x.dtype != np.bool_:
            return saturated(x, dtype)
        if self.saturate is not None:
            largest = x.dtype.type(finfo(dtype).max)
            if (beyond := np.isfinite(x) & (np.abs(x) > largest)).any():
                x = np.where(beyond, np.copysign(largest, x), x)
        with np.errstate(invalid="ignore", over="ignore"):
            return x.astype(dtype)


def saturated(x: Array, dtype: np.dtype[Any]) -> Array:
    """Floats as integers: toward zero, bounded by the type, 0 for NaN."""
    info = np.iinfo(dtype)
    below, above = x <= info.min, x >= info.max
    whole = np.where(below | above | np.isnan(x), 0, np.trunc(x)).astype(dtype)
    return np.where(below, info.min, np.where(above, info.max, whole)).astype(dtype)


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
        with np.errstate(over="ignore"):  # the smallest by -1 is itself again
            down, rest = np.divmod(x, safe)
        quotient = down + ((rest != 0) & ((x < 0) != (safe < 0)))
        return np.where(y == 0, 0, quotient).astype(x.dtype)


@irdl_op_definition
class ModOp(BinaryOp):
    """`x - y * floor(x / y)`: the remainder with the sign of `y`; of integers by zero, 0."""

    name = "nn.mod"

    def evaluate(self, *operands: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.mod(*operands)


@irdl_op_definition
class FmodOp(BinaryOp):
    """`x - y * trunc(x / y)`: the remainder with the sign of `x`; of integers by zero, 0."""

    name = "nn.fmod"

    def evaluate(self, *operands: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.fmod(*operands)


@irdl_op_definition
class PowOp(BinaryOp):
    """`x ** y`; an integer to a negative power is rounded toward zero, so 0 but for 1 and -1."""

    name = "nn.pow"

    def evaluate(self, *operands: Array) -> Array:
        x, y = operands
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            if not np.issubdtype(x.dtype, np.integer):
                return np.power(x, y)
            parity = np.where(y < 0, y & 1, y)  # what matters for 1 and -1
            return np.where((y < 0) & (np.abs(x) != 1), 0, np.power(x, parity)).astype(x.dtype)


@irdl_op_definition
class MaxOp(BinaryOp):
    """The larger; NaN if either is."""

    name = "nn.max"

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

    def evaluate(self, *operands: Array) -> Array:
        return np.maximum(*operands)


@irdl_op_definition
class MinOp(BinaryOp):
    """The smaller; NaN if either is."""

    name = "nn.min"

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

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
class XorOp(LogicalOp):
    """Exclusive disjunction, bit by bit."""

    name = "nn.xor"

    def evaluate(self, *operands: Array) -> Array:
        return np.bitwise_xor(*operands)


class ShiftOp(LogicalOp):
    """`x` by `y` bits; `y` is not negative and below the number of bits."""

    def result_element(self, operand: Attribute) -> Attribute:
        if operand == i1:
            raise VerifyException(f"{self.name} takes integers, got truth values")
        return super().result_element(operand)


@irdl_op_definition
class ShiftLeftOp(ShiftOp):
    """`x * 2 ** y`, without the bits that leave the type."""

    name = "nn.shift_left"

    def evaluate(self, *operands: Array) -> Array:
        return np.left_shift(*operands)


@irdl_op_definition
class ShiftRightOp(ShiftOp):
    """`floor(x / 2 ** y)`: the sign stays."""

    name = "nn.shift_right"

    def evaluate(self, *operands: Array) -> Array:
        return np.right_shift(*operands)


@irdl_op_definition
class SelectOp(PointwiseOp):
    """`x` where the condition holds, else `y`; all three broadcast."""

    name = "nn.select"
    condition = operand_def()
    on_true = operand_def()
    on_false = operand_def()
    result = result_def()

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

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
