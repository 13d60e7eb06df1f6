"""Scalar engine (ACT): one function of one scaled and biased tensor. Source: guide, isa, shared."""

from __future__ import annotations

from math import pi
from typing import ClassVar

from xdsl.dialects.builtin import FloatAttr, StringAttr
from xdsl.irdl import irdl_op_definition, operand_def, opt_operand_def, prop_def

from ranvier.dialects.nc.instruction import (
    Fields,
    InstructionOp,
    Views,
    one_of,
    per_partition,
    same_counts,
)

FUNCTIONS = (
    "copy",
    "relu",
    "sigmoid",
    "tanh",
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "square",
    "abs",
    "erf",
    "gelu",
    "gelu_tanh",
    "silu",
    "softplus",
    "sin",
    "arctan",
    "sign",
)
"""Functions of the activation table."""
RANGES = {"sin": pi, "arctan": pi / 2}
"""Magnitudes up to which a function of the table is defined; beyond it gives NaN."""


@irdl_op_definition
class ActivationOp(InstructionOp):
    """`dst = func(src * scale + bias)` in f32, rounded on store.

    `bias` holds one element per partition. `sum`, where present, receives the sum of the results of
    each partition (activation_reduce).
    """

    name = "nc.activation"
    OPCODE: ClassVar[int] = 10
    ENGINE: ClassVar[str] = "act"
    WRITES: ClassVar[tuple[str, ...]] = ("dst", "sum")

    dst = operand_def()
    src = operand_def()
    bias = opt_operand_def()
    scale_by = opt_operand_def()
    sum = opt_operand_def()
    func = prop_def(StringAttr)
    scale = prop_def(FloatAttr)

    @classmethod
    def check(cls, views: Views, fields: Fields) -> None:
        one_of(cls.name, "func", fields["func"], FUNCTIONS)
        same_counts(cls.name, views, "dst", "src")
        for role in ("bias", "scale_by", "sum"):
            per_partition(cls.name, views, role, "dst")
