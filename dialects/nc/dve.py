"""Vector engine (DVE): elementwise arithmetic of one or two tensors, reductions, copies.

Arithmetic is in f32 with free casts on both sides; operations on bits take integers as they are.
Some instructions may run on the general purpose engine (Pool) instead, `engine = "pool"`, which
does not reach PSUM. Source: guide, isa, shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.dialects.builtin import BoolAttr, FloatAttr, IntegerAttr, IntegerType, StringAttr, i32
from xdsl.irdl import irdl_op_definition, operand_def, opt_operand_def, opt_prop_def, prop_def
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.nc.access import FREE_DIMS
from ranvier.dialects.nc.instruction import (
    Fields,
    InstructionOp,
    Views,
    one_of,
    per_partition,
    same_counts,
)
from ranvier.dialects.nc.types import Space

ALU_OPS = (
    "add",
    "subtract",
    "mult",
    "max",
    "min",
    "is_equal",
    "not_equal",
    "is_lt",
    "is_le",
    "is_gt",
    "is_ge",
    "logical_and",
    "logical_or",
    "logical_xor",
    "pow",
    "mod",
)
"""Operations of the arithmetic units; comparisons and logic give 0 or 1."""
BIT_OPS = (
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "logical_shift_left",
    "logical_shift_right",
)
"""Operations on bit patterns: all operands are of one integer type, and nothing is cast."""
INTEGER_OPS = ("add", "subtract", "mult")
"""What the pool engine computes in integers where all operands are i32: exact, modulo 2**32."""
REDUCE_OPS = ("add", "max", "min", "mult")


class VectorOp(InstructionOp):
    """May name the engine that issues it."""

    ENGINE: ClassVar[str] = "dve"
    engine = opt_prop_def(StringAttr)

    @classmethod
    def check(cls, views: Views, fields: Fields) -> None:
        engine = fields.get("engine", cls.ENGINE)
        one_of(cls.name, "engine", engine, ("dve", "pool"))
        if engine == "pool" and any(view.space == Space.PSUM for view in views.values()):
            raise VerifyException(f"{cls.name}: the pool engine does not reach PSUM")
        cls.check_vector(views, fields)

    @classmethod
    def check_vector(cls, views: Views, fields: Fields) -> None:
        same_counts(cls.name, views, *views)


def check_alu(name: str, op: str, engine: str) -> None:
    one_of(name, "op", op, ALU_OPS)
    if op == "pow" and engine != "pool":
        raise VerifyException(f"{name}: only the pool engine raises to a power")


def check_bits(name: str, ops: Sequence[str], engine: str, views: Views) -> None:
    """Rules of operations on bit patterns. Raises VerifyException."""
    if others := [op for op in ops if op not in BIT_OPS]:
        raise VerifyException(f"{name}: bit patterns and numbers do not mix, got op {others[0]}")
    if engine != "dve":
        raise VerifyException(f"{name}: only the vector engine works on bits, got {engine}")
    elements = {view.element for view in views.values()}
    if len(elements) > 1 or not all(isinstance(element, IntegerType) for element in elements):
        raise VerifyException(
            f"{name}: bit patterns are of one integer type, got {', '.join(map(str, elements))}"
        )


def is_pattern(number: float) -> bool:
    """Whether a number field says 32 bits: an integer of i32, which f64 holds exactly."""
    return float(number).is_integer() and -(2**31) <= number < 2**31


def is_native_integer(engine: str, views: Views) -> bool:
    """Whether a tensor_tensor computes in integers: on the pool engine, where all are i32."""
    return engine == "pool" and all(view.element == i32 for view in views.values())


@irdl_op_definition
class TensorTensorOp(VectorOp):
    """`dst = lhs op rhs`, in f32, or in integers where `is_native_integer` says so."""

    name = "nc.tensor_tensor"
    OPCODE: ClassVar[int] = 20

    dst = operand_def()
    lhs = operand_def()
    rhs = operand_def()
    op = prop_def(StringAttr)

    @classmethod
    def check_vector(cls, views: Views, fields: Fields) -> None:
        op, engine = fields["op"], fields.get("engine", "dve")
        if op in BIT_OPS:
            check_bits(cls.name, [op], engine, views)
        elif is_native_integer(engine, views):
            one_of(cls.name, "op on i32", op, INTEGER_OPS)
        else:
            check_alu(cls.name, op, engine)
        same_counts(cls.name, views, "dst", "lhs", "rhs")


@irdl_op_definition
class TensorScalarOp(VectorOp):
    """`dst = (src op0 a) op1 b`; a and b are numbers or hold one element per partition.

    `reverse0` and `reverse1` swap the operands of their operation. Without `op1` there is one step.
    """

    name = "nc.tensor_scalar"
    OPCODE: ClassVar[int] = 21

    dst = operand_def()
    src = operand_def()
    operand0 = opt_operand_def()
    operand1 = opt_operand_def()
    op0 = prop_def(StringAttr)
    scalar0 = opt_prop_def(FloatAttr)
    reverse0 = opt_prop_def(BoolAttr)
    op1 = opt_prop_def(StringAttr)
    scalar1 = opt_prop_def(FloatAttr)
    reverse1 = opt_prop_def(BoolAttr)

    @classmethod
    def check_vector(cls, views: Views, fields: Fields) -> None:
        engine = fields.get("engine", "dve")
        same_counts(cls.name, views, "dst", "src")
        ops = [fields[field] for field in ("op0", "op1") if field in fields]
        on_bits = any(op in BIT_OPS for op in ops)
        if on_bits:
            check_bits(cls.name, ops, engine, views)
        for step in ("0", "1"):
            given = (f"operand{step}" in views) + (f"scalar{step}" in fields)
            needed = int(f"op{step}" in fields)
            if given != needed:
                raise VerifyException(f"{cls.name} step {step} takes a number or a buffer")
            if needed and not on_bits:
                check_alu(cls.name, fields[f"op{step}"], engine)
            elif on_bits and not is_pattern(fields.get(f"scalar{step}", 0)):
                number = fields[f"scalar{step}"]
                raise VerifyException(f"{cls.name}: {number} is no bit pattern of 32 bits")
            per_partition(cls.name, views, f"operand{step}", "dst")


@irdl_op_definition
class ScalarTensorTensorOp(VectorOp):
    """`dst = (src op0 a) op1 other`; a is a number or holds one element per partition."""

    name = "nc.scalar_tensor_tensor"
    OPCODE: ClassVar[int] = 27

    dst = operand_def()
    src = operand_def()
    other = operand_def()
    operand0 = opt_operand_def()
    op0 = prop_def(StringAttr)
    scalar0 = opt_prop_def(FloatAttr)
    op1 = prop_def(StringAttr)

    @classmethod
    def check_vector(cls, views: Views, fields: Fields) -> None:
        same_counts(cls.name, views, "dst", "src", "other")
        if ("operand0" in views) + ("scalar0" in fields) != 1:
            raise VerifyException(f"{cls.name} takes a number or a buffer")
        per_partition(cls.name, views, "operand0", "dst")
        for op in (fields["op0"], fields["op1"]):
            check_alu(cls.name, op, fields.get("engine", "dve"))


@irdl_op_definition
class ReduceOp(VectorOp):
    """Reduce the innermost `axes` free dimensions of `src`: tensor_reduce."""

    name = "nc.reduce"
    OPCODE: ClassVar[int] = 22

    dst = operand_def()
    src = operand_def()
    op = prop_def(StringAttr)
    axes = prop_def(IntegerAttr)
    negate = opt_prop_def(BoolAttr)

    @classmethod
    def check_vector(cls, views: Views, fields: Fields) -> None:
        one_of(cls.name, "op", fields["op"], REDUCE_OPS)
        one_of(cls.name, "axes", fields["axes"], range(1, FREE_DIMS + 1))
        src, dst = views["src"].access, views["dst"].access
        kept = src.counts[: -fields["axes"]]
        size = 1
        for count in kept:
            size *= count
        if fields["axes"] > len(src.dims) or (dst.partitions, dst.free_size) != (
            src.partitions,
            size,
        ):
            raise VerifyException(
                f"nc.reduce of {src.partitions} x {src.counts} over {fields['axes']} axes into "
                f"{dst.partitions} x {dst.free_size}"
            )


@irdl_op_definition
class CopyOp(VectorOp):
    """`dst = src`, cast to the element type of `dst`; exact between equal types."""

    name = "nc.copy"
    OPCODE: ClassVar[int] = 23

    dst = operand_def()
    src = operand_def()


@irdl_op_definition
class MemsetOp(VectorOp):
    """Fill with a number."""

    name = "nc.memset"
    OPCODE: ClassVar[int] = 24

    dst = operand_def()
    value = prop_def(FloatAttr)


@irdl_op_definition
class ReciprocalOp(VectorOp):
    """`dst = 1 / src`, correctly rounded."""

    name = "nc.reciprocal"
    OPCODE: ClassVar[int] = 25

    dst = operand_def()
    src = operand_def()


@irdl_op_definition
class CopyPredicatedOp(VectorOp):
    """`dst = src` where `predicate` is not 0; other elements of `dst` keep their value."""

    name = "nc.copy_predicated"
    OPCODE: ClassVar[int] = 26

    dst = operand_def()
    src = operand_def()
    predicate = operand_def()
