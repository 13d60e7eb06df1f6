"""Data movement: device memory to and from SBUF, inside each, core to core. Source: dma."""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr, i32
from xdsl.irdl import irdl_op_definition, operand_def, opt_prop_def, prop_def
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.nc.instruction import (
    Fields,
    InstructionOp,
    Views,
    per_partition,
    spaces,
)
from ranvier.dialects.nc.types import Space


class TransferOp(InstructionOp):
    """Issued on a DMA queue; queues run beside the engines and each keeps its order."""

    ENGINE: ClassVar[str] = "dma"
    ON_CHIP_START_RULE: ClassVar[bool] = False
    queue = opt_prop_def(IntegerAttr)

    @classmethod
    def check(cls, views: Views, fields: Fields) -> None:
        if any(view.space == Space.PSUM for view in views.values()):
            raise VerifyException(f"{cls.name}: DMA does not reach PSUM")
        sizes = {role: view.access.size for role, view in views.items()}
        if len(set(sizes.values())) > 1:
            raise VerifyException(f"{cls.name} moves {sizes['src']} elements into {sizes['dst']}")


@irdl_op_definition
class DmaOp(TransferOp):
    """Copy elements in order, partition by partition on chip, cast to the type of `dst`."""

    name = "nc.dma"
    OPCODE: ClassVar[int] = 40

    dst = operand_def()
    src = operand_def()


@irdl_op_definition
class GatherOp(TransferOp):
    """Copy one row of `src` to each partition of `dst`, picked by the partition's `index`.

    The outermost stride of `src` counts its rows; an index below 0 counts from the last one.
    """

    name = "nc.dma_gather"
    OPCODE: ClassVar[int] = 43

    dst = operand_def()
    src = operand_def()
    index = operand_def()

    @classmethod
    def check(cls, views: Views, fields: Fields) -> None:
        check_rows(cls.name, views, table="src", rows="dst")


@irdl_op_definition
class ScatterOp(TransferOp):
    """Copy each partition of `src` to one row of `dst`, picked by the partition's `index`.

    Rows are as in `nc.dma_gather`. Of partitions with the same index one wins. Source: dma_copy
    with dynamic indices, which is a gather or a scatter and checks bounds.
    """

    name = "nc.dma_scatter"
    OPCODE: ClassVar[int] = 44

    dst = operand_def()
    src = operand_def()
    index = operand_def()

    @classmethod
    def check(cls, views: Views, fields: Fields) -> None:
        check_rows(cls.name, views, table="dst", rows="src")


def check_rows(name: str, views: Views, *, table: str, rows: str) -> None:
    """A row of the table in DRAM for each partition, with its index. Raises VerifyException."""
    spaces(name, views, table, Space.DRAM)
    spaces(name, views, rows, Space.SBUF)
    spaces(name, views, "index", Space.SBUF)
    per_partition(name, views, "index", rows)
    if views["index"].element != i32:
        raise VerifyException(f"{name} index is of i32, got {views['index'].element}")
    whole, chip = views[table].access, views[rows].access
    if whole.free_size != whole.counts[0] * chip.free_size:
        raise VerifyException(
            f"{name} pairs rows of {whole.free_size // whole.counts[0]} elements with "
            f"{chip.free_size}"
        )


@irdl_op_definition
class SendOp(TransferOp):
    """Send elements to another core of the program, which receives them under the same tag."""

    name = "nc.send"
    OPCODE: ClassVar[int] = 41
    WRITES: ClassVar[tuple[str, ...]] = ()

    src = operand_def()
    peer = prop_def(IntegerAttr)
    tag = prop_def(IntegerAttr)


@irdl_op_definition
class ReceiveOp(TransferOp):
    """Receive the elements that a core sent under a tag."""

    name = "nc.receive"
    OPCODE: ClassVar[int] = 42

    dst = operand_def()
    peer = prop_def(IntegerAttr)
    tag = prop_def(IntegerAttr)
