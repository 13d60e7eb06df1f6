"""Elementary functions of one operand."""

from __future__ import annotations

from collections.abc import Sequence
from math import erf as scalar_erf
from typing import Any, ClassVar

import numpy as np
from xdsl.dialects.builtin import BoolAttr, StringAttr, i1
from xdsl.irdl import irdl_op_definition, opt_prop_def, prop_def
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.elementwise import UnaryOp
from ranvier.dialects.nn.types import Tensor, element_of, tensor, type_of


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
        return erf(operands[0])


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
class SignOp(UnaryOp):
    """-1, 0 or 1, as `x` is below, at or above 0."""

    name = "nn.sign"
    FLOATS_ONLY: ClassVar[bool] = False

    def evaluate(self, *operands: Array) -> Array:
        return np.sign(operands[0])


@irdl_op_definition
class RoundOp(UnaryOp):
    """Nearest integer; halves go to the even one, or to the lower one with `halves = "down"`."""

    name = "nn.round"
    halves = opt_prop_def(StringAttr)

    def infer(self) -> Sequence[Tensor]:
        if (halves := self.get("halves", "even")) not in ("even", "down"):
            raise VerifyException(f"halves is even or down, got {halves}")
        return super().infer()

    @property
    def down(self) -> bool:
        return self.get("halves", "even") == "down"

    def evaluate(self, *operands: Array) -> Array:
        x, nearest = operands[0], np.round(operands[0])
        return nearest - (x - nearest == -0.5) if self.down else nearest


@irdl_op_definition
class TanOp(UnaryOp):
    """Tangent, radians."""

    name = "nn.tan"

    def evaluate(self, *operands: Array) -> Array:
        return np.tan(operands[0])


@irdl_op_definition
class AsinOp(UnaryOp):
    """Inverse of the sine, in radians."""

    name = "nn.asin"

    def evaluate(self, *operands: Array) -> Array:
        return np.arcsin(operands[0])


@irdl_op_definition
class AcosOp(UnaryOp):
    """Inverse of the cosine, in radians."""

    name = "nn.acos"

    def evaluate(self, *operands: Array) -> Array:
        return np.arccos(operands[0])


@irdl_op_definition
class AtanOp(UnaryOp):
    """Inverse of the tangent, in radians."""

    name = "nn.atan"

    def evaluate(self, *operands: Array) -> Array:
        return np.arctan(operands[0])


@irdl_op_definition
class SinhOp(UnaryOp):
    """Hyperbolic sine, `(e ** x - e ** -x) / 2`."""

    name = "nn.sinh"

    def evaluate(self, *operands: Array) -> Array:
        return np.sinh(operands[0])


@irdl_op_definition
class CoshOp(UnaryOp):
    """Hyperbolic cosine, `(e ** x + e ** -x) / 2`."""

    name = "nn.cosh"

    def evaluate(self, *operands: Array) -> Array:
        return np.cosh(operands[0])


@irdl_op_definition
class AsinhOp(UnaryOp):
    """Inverse of the hyperbolic sine."""

    name = "nn.asinh"

    def evaluate(self, *operands: Array) -> Array:
        return np.arcsinh(operands[0])


@irdl_op_definition
class AcoshOp(UnaryOp):
    """Inverse of the hyperbolic cosine, for `x >= 1`."""

    name = "nn.acosh"

    def evaluate(self, *operands: Array) -> Array:
        return np.arccosh(operands[0])


@irdl_op_definition
class AtanhOp(UnaryOp):
    """Inverse of the hyperbolic tangent, for `|x| < 1`."""

    name = "nn.atanh"

    def evaluate(self, *operands: Array) -> Array:
        return np.arctanh(operands[0])


class PredicateOp(UnaryOp):
    """A truth value per float."""

    def infer(self) -> Sequence[Tensor]:
        (operand,) = super().infer()
        return (tensor(operand.get_shape(), i1),)


@irdl_op_definition
class IsNanOp(PredicateOp):
    """Whether `x` is not a number."""

    name = "nn.is_nan"

    def evaluate(self, *operands: Array) -> Array:
        return np.isnan(operands[0])


@irdl_op_definition
class IsInfOp(PredicateOp):
    """Whether `x` is infinite, of a sign whose flag is set."""

    name = "nn.is_inf"
    negative = prop_def(BoolAttr)
    positive = prop_def(BoolAttr)

    def evaluate(self, *operands: Array) -> Array:
        above = np.isposinf(operands[0]) & bool(self.get("positive"))
        return above | (np.isneginf(operands[0]) & bool(self.get("negative")))


_scalar_erf: Any = np.frompyfunc(scalar_erf, 1, 1)


def erf(x: Array) -> Array:
    """In double precision by the C library, rounded once."""
    return np.asarray(_scalar_erf(x.astype(np.float64)), np.float64).astype(x.dtype)
