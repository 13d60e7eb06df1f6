"""Give every buffer of a core an address, so that buffers alive together never overlap.

Before: `%t = nc.alloc : !nc.sbuf<128x512xbf16>`
After:  `%t = nc.alloc at 2048 : !nc.sbuf<128x512xbf16>`

SBUF addresses are bytes of each partition; a PSUM buffer takes a bank; DRAM scratch is one area.
A buffer that is used in a loop which it was not made in lives as long as the loop. Places are taken
in turn around the memory, so that neighbours in the program do not wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64
from xdsl.ir import Block, Operation
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import PassFailedException

from ranvier.backend.neuron.limits import MACHINES, Machine
from ranvier.dialects import nc
from ranvier.dialects.diagnostics import Code, CodedError
from ranvier.dialects.nc.types import PSUM_BANK_BYTES, PSUM_BANKS, Space

ALIGNMENT = 64
"""Bytes; every element type and every DMA burst starts on such an address."""


class CapacityError(CodedError, PassFailedException):
    """The buffers that are alive together exceed a memory."""


@dataclass(frozen=True)
class AllocatePass(ModulePass):
    """Give every buffer an address."""

    name = "allocate"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in op.body.block.ops:
            if isinstance(program, nc.ProgramOp):
                allocate(program)


def allocate(program: nc.ProgramOp) -> None:
    """Address the buffers of every core. Raises CapacityError, naming what does not fit."""
    machine = machine_of(program)
    for core in program.cores:
        for lifetimes in lifetimes_of(core).values():
            place(lifetimes, machine)


def machine_of(program: nc.ProgramOp) -> Machine:
    """The machine that a program is for. Raises PassFailedException if there is none."""
    if (machine := MACHINES.get(program.target.data)) is None:
        raise PassFailedException(f"no machine '{program.target.data}'; {', '.join(MACHINES)}")
    return machine


@dataclass(frozen=True)
class Lifetime:
    """From the first to the last op that touches a buffer, as positions in program text."""

    op: nc.AllocOp
    start: int
    end: int

    @property
    def bytes(self) -> int:
        """Aligned size: of one partition on chip, of the whole buffer in DRAM."""
        return -(-self.op.type.row_bytes // ALIGNMENT) * ALIGNMENT


def lifetimes_of(core: nc.CoreOp) -> dict[Space, list[Lifetime]]:
    """When each buffer of a core is alive, by memory, in order of their start."""
    starts, ends = positions_of(core)
    found: dict[Space, list[Lifetime]] = {space: [] for space in Space}
    for op in core.walk():
        if isinstance(op, nc.AllocOp):
            spans = [_span(use.operation, op.parent, starts, ends) for use in op.buffer.uses]
            start = min((s for s, _ in spans), default=starts[op])
            end = max((e for _, e in spans), default=starts[op])
            found[op.type.space].append(Lifetime(op, start, end))
    for lifetimes in found.values():
        lifetimes.sort(key=lambda lifetime: lifetime.start)
    return found


def positions_of(core: nc.CoreOp) -> tuple[dict[Operation, int], dict[Operation, int]]:
    """The position of each op in program text, and that of the last op inside it."""
    starts: dict[Operation, int] = {}
    ends: dict[Operation, int] = {}
    _number(core.body.block, starts, ends, 0)
    return starts, ends


def _number(
    block: Block, starts: dict[Operation, int], ends: dict[Operation, int], position: int
) -> int:
    for op in block.ops:
        starts[op] = position
        position += 1
        if isinstance(op, nc.LoopOp):
            position = _number(op.body.block, starts, ends, position)
        ends[op] = position - 1
    return position


def _span(
    user: Operation, home: Block | None, starts: dict[Operation, int], ends: dict[Operation, int]
) -> tuple[int, int]:
    """The positions of a use: of the outermost loop around it that the buffer is not made in."""
    op: Operation = user
    while op.parent is not home and (parent := op.parent_op()) is not None:
        op = parent
    return starts[op], ends[op]


def place(lifetimes: list[Lifetime], machine: Machine) -> None:
    """Address buffers of one memory, sorted by start: first gap after the place given last."""
    if not lifetimes:
        return
    space = lifetimes[0].op.type.space
    unit = PSUM_BANK_BYTES if space == Space.PSUM else 1
    capacity = {
        Space.SBUF: machine.sbuf_bytes,
        Space.PSUM: PSUM_BANKS * PSUM_BANK_BYTES,
        Space.DRAM: machine.device_memory,
    }[space]
    alive: list[tuple[int, int, Lifetime]] = []
    cursor = 0
    for lifetime in lifetimes:
        alive = [entry for entry in alive if entry[2].end >= lifetime.start]
        size = -(-lifetime.bytes // unit) * unit
        wanted = 0 if space == Space.DRAM else cursor
        address = _gap(alive, size, wanted, capacity)
        if address is None:
            raise CapacityError(Code.MACHINE_CAPACITY, _report(space, alive, lifetime, capacity))
        cursor = address + size
        alive.append((address, cursor, lifetime))
        alive.sort(key=lambda entry: entry[0])
        lifetime.op.properties["address"] = IntegerAttr(address, i64)


def _gap(
    alive: list[tuple[int, int, Lifetime]], size: int, wanted: int, capacity: int
) -> int | None:
    """The first free place at or after `wanted`, else the first from 0 on."""
    first: int | None = None
    free = 0
    for begin, end, _ in [*alive, (capacity, capacity, None)]:
        at = max(free, wanted)
        if at + size <= begin:
            return at
        if first is None and free + size <= begin:
            first = free
        free = max(free, end)
    return first


def _report(
    space: Space, alive: list[tuple[int, int, Lifetime]], wanted: Lifetime, capacity: int
) -> str:
    used = sum(end - begin for begin, end, _ in alive)
    largest = sorted(alive, key=lambda entry: entry[0] - entry[1])[:3]
    names = ", ".join(f"{entry[2].op.buffer.type} ({entry[2].bytes} bytes)" for entry in largest)
    return (
        f"{wanted.op.buffer.type} needs {wanted.bytes} bytes of {space} at {wanted.op.location}; "
        f"{used} of {capacity} bytes are in use, most by {names}"
    )
