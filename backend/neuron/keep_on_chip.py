"""Keep tensors between ops in SBUF, where all that touch one agree on its partitions.

Before: an op stores its tiles to a home in DRAM, and a later one loads them from there.
After:  the home is a buffer in SBUF. A tile that was only stored to it, or only loaded from it, is
        the home itself; the transfers that are left go from SBUF to SBUF.

A home qualifies if only DMA touches it, all of it is written before any is read, and its rows lie
on the partitions in one way (`home_rows`). Only where bytes live changes, so no bit of a result
does. Homes are kept while they and the tiles beside them fill half of SBUF at most: the rest is for
`double-buffer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from ranvier.backend.neuron.allocate import Lifetime, lifetimes_of, machine_of, positions_of
from ranvier.backend.neuron.forward_tiles import forward_tiles, writes
from ranvier.backend.neuron.home_rows import Rows, Transfer, rows_of
from ranvier.dialects import nc
from ranvier.dialects.nc.access import AccessesAttr
from ranvier.dialects.nc.instruction import enclosing_trips
from ranvier.dialects.nc.types import Space, buffer_type_of

Positions: TypeAlias = Mapping[Operation, int]
"""Of ops in the text of their core."""

SHARE = 1 / 2
"""Of SBUF, that homes and the tiles beside them fill at most."""


@dataclass(frozen=True)
class KeepOnChipPass(ModulePass):
    """Keep tensors between ops in SBUF."""

    name = "keep-on-chip"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in op.body.block.ops:
            if isinstance(program, nc.ProgramOp):
                keep_on_chip(program)


def keep_on_chip(program: nc.ProgramOp) -> None:
    """Keep what fits of every core. Raises PassFailedException without a machine."""
    room = int(machine_of(program).sbuf_bytes * SHARE)
    for core in program.cores:
        starts, ends = positions_of(core)
        for home in _that_fit(core, homes_of(core, starts, ends), room):
            made = starts[home.alloc]
            forward_tiles(home.move_in(), starts, made)


@dataclass(frozen=True)
class Home:
    """A buffer in DRAM that may be kept, where its elements go, and when it is alive."""

    alloc: nc.AllocOp
    rows: Rows
    start: int
    end: int

    @property
    def type(self) -> nc.SbufType:
        shape = (self.rows.partitions, self.rows.length)
        return nc.SbufType.of(shape, self.alloc.type.element)

    def move_in(self) -> SSAValue:
        """Put a buffer in SBUF in its place."""
        kept = nc.AllocOp(self.type)
        kept.location = self.alloc.location
        block = self.alloc.parent
        assert block is not None
        block.insert_op_before(kept, self.alloc)
        for use in list(self.alloc.buffer.uses):
            copy = use.operation
            assert isinstance(copy, nc.DmaOp)
            placed = self.rows.place(_transfer(copy, use.index))
            assert placed is not None  # `rows_of` has tried
            accesses = list(copy.accesses.data)
            accesses[use.index] = placed
            copy.properties["accesses"] = AccessesAttr(tuple(accesses))
            copy.operands[use.index] = kept.buffer
        self.alloc.detach()
        self.alloc.erase()
        return kept.buffer


def homes_of(core: nc.CoreOp, starts: Positions, ends: Positions) -> list[Home]:
    """The buffers of a core that qualify, in the order of their first writes."""
    found = [
        home
        for op in core.body.block.ops
        if isinstance(op, nc.AllocOp)
        and op.type.space == Space.DRAM
        and (home := _home(op, core, starts, ends)) is not None
    ]
    return sorted(found, key=lambda home: home.start)


def _home(alloc: nc.AllocOp, core: nc.CoreOp, starts: Positions, ends: Positions) -> Home | None:
    transfers: list[Transfer] = []
    written: list[Operation] = []
    read: list[Operation] = []
    for use in alloc.buffer.uses:
        copy = use.operation
        if not isinstance(copy, nc.DmaOp) or not _meets_chip(copy, use.index):
            return None
        transfers.append(_transfer(copy, use.index))
        (written if writes(use) else read).append(_outermost(copy, core))
    if not written or not read:
        return None
    last, first = max(ends[op] for op in written), min(starts[op] for op in read)
    if last >= first or (rows := rows_of(alloc.type.length, transfers)) is None:
        return None
    return Home(alloc, rows, min(starts[op] for op in written), max(ends[op] for op in read))


def _meets_chip(copy: nc.DmaOp, index: int) -> bool:
    return buffer_type_of(copy.operands[1 - index]).space == Space.SBUF


def _transfer(copy: nc.DmaOp, index: int) -> Transfer:
    """What a DMA does to the home that is its operand `index`."""
    accesses = copy.accesses.data
    return Transfer(accesses[index], accesses[1 - index].partitions, enclosing_trips(copy))


def _outermost(op: Operation, core: nc.CoreOp) -> Operation:
    """The op of the core's own block that an op is in."""
    while op.parent is not core.body.block and (parent := op.parent_op()) is not None:
        op = parent
    return op


def _that_fit(core: nc.CoreOp, homes: Sequence[Home], room: int) -> list[Home]:
    """The homes that fit beside each other and all tiles, the first ones first."""
    positions = sum(1 for _ in core.walk())
    filled = Filled(positions, lifetimes_of(core)[Space.SBUF])
    return [home for home in homes if filled.add(home.start, home.end, home.type.row_bytes, room)]


class Filled:
    """Bytes of SBUF that are taken at each position of a core's text."""

    def __init__(self, positions: int, tiles: Sequence[Lifetime]) -> None:
        self._taken = np.zeros(positions, np.int64)
        for tile in tiles:
            self._taken[tile.start : tile.end + 1] += tile.bytes

    def add(self, start: int, end: int, size: int, room: int) -> bool:
        """Take some bytes from position to position, if there is room."""
        span = self._taken[start : end + 1]
        if int(span.max()) + size > room:
            return False
        span += size
        return True
