"""Tensor engine (PE): a 128x128 array of multipliers. Reads SBUF, writes PSUM. Source: isa."""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import DenseArrayBase, bf16, f16, f32
from xdsl.irdl import irdl_op_definition, operand_def, opt_prop_def
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.nc.instruction import Fields, InstructionOp, Views, spaces
from ranvier.dialects.nc.types import PARTITIONS, Space

MAX_MOVING = 512
"""Columns of the moving operand: one PSUM bank of f32."""


@irdl_op_definition
class MatmulOp(InstructionOp):
    """`dst[M, N] (+)= stationary[K, M]^T . moving[K, N]`, K and M up to 128, N up to 512, in f32.

    `first_at` says when an issue starts a sum instead of adding to it: in the turns in which all
    named loop variables are 0. Without it every issue adds; with an empty list every issue starts.
    """

    name = "nc.matmul"
    OPCODE: ClassVar[int] = 1
    ENGINE: ClassVar[str] = "pe"

    dst = operand_def()
    stationary = operand_def()
    moving = operand_def()
    first_at = opt_prop_def(DenseArrayBase)

    @classmethod
    def check(cls, views: Views, fields: Fields) -> None:
        dst, stationary, moving = (views[role] for role in cls.roles())
        spaces(cls.name, views, "dst", Space.PSUM)
        spaces(cls.name, views, "stationary", Space.SBUF)
        spaces(cls.name, views, "moving", Space.SBUF)
        k, m = stationary.access.partitions, stationary.access.free_size
        k_moving, n = moving.access.partitions, moving.access.free_size
        if k != k_moving or (dst.access.partitions, dst.access.free_size) != (m, n):
            raise VerifyException(
                f"nc.matmul of {k} x {m} and {k_moving} x {n} into "
                f"{dst.access.partitions} x {dst.access.free_size}"
            )
        if m > PARTITIONS or n > MAX_MOVING:
            raise VerifyException(f"nc.matmul takes M up to 128 and N up to 512, got {m} and {n}")
        if dst.element != f32:
            raise VerifyException(f"nc.matmul accumulates in f32, got {dst.element}")
        if stationary.element != moving.element or moving.element not in (f32, bf16, f16):
            raise VerifyException(
                f"nc.matmul multiplies two of one type of f32, bf16, f16, got "
                f"{stationary.element} and {moving.element}"
            )


@irdl_op_definition
class TransposeOp(InstructionOp):
    """`dst[N, P] = src[P, N]^T`, both up to 128, through the array with an identity matrix.

    The array multiplies by 0 and 1 and adds, so NaN and infinities spread over their row.
    """

    name = "nc.transpose"
    OPCODE: ClassVar[int] = 2
    ENGINE: ClassVar[str] = "pe"

    dst = operand_def()
    src = operand_def()

    @classmethod
    def check(cls, views: Views, fields: Fields) -> None:
        dst, src = views["dst"], views["src"]
        spaces(cls.name, views, "dst", Space.PSUM)
        spaces(cls.name, views, "src", Space.SBUF)
        p, n = src.access.partitions, src.access.free_size
        if (dst.access.partitions, dst.access.free_size) != (n, p) or n > PARTITIONS:
            raise VerifyException(
                f"nc.transpose of {p} x {n} into {dst.access.partitions} x {dst.access.free_size}"
            )
        if dst.element != f32 or src.element not in (f32, bf16, f16):
            raise VerifyException(
                f"nc.transpose takes floats into f32, got {src.element} into {dst.element}"
            )
