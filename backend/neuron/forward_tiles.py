"""Let instructions work on a kept home itself, instead of on a tile copied to or from it.

Before: `nc.activation dst = %tile…`, `nc.dma dst = %home… src = %tile…`
After:  `nc.activation dst = %home…`

A copy goes if it moves every element by the same distance inside its partition, keeps the type,
and the tile is for nothing else: what is stored is written for this store alone, what is loaded is
written by this load alone. A home is written before it is read (`keep_on_chip`), so that readers
of a loaded tile find the same bytes later too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from xdsl.ir import Operation, SSAValue, Use

from ranvier.backend.neuron.interpreter.layout import align
from ranvier.dialects import nc
from ranvier.dialects.nc.access import Access, AccessesAttr
from ranvier.dialects.nc.instruction import InstructionOp, enclosing_trips
from ranvier.dialects.nc.types import buffer_type_of

DST, SRC = 0, 1
"""Operands of a DMA."""


def forward_tiles(home: SSAValue, starts: Mapping[Operation, int], made: int) -> None:
    """Take away the copies between a home in SBUF and tiles, where that is possible.

    `starts` are the positions of instructions in the text of their core, `made` is the home's.
    """
    for use in sorted(home.uses, key=lambda use: starts[use.operation]):
        copy = use.operation
        if isinstance(copy, nc.DmaOp) and (move := Move.of(copy, 1 - use.index)) is not None:
            if use.index == SRC:
                _forward_load(move)
            else:
                _forward_store(move, starts, made)


@dataclass(frozen=True)
class Move:
    """A copy between a tile and a home: element `x` of the tile is `x + distance` of the home."""

    copy: nc.DmaOp
    alloc: nc.AllocOp
    home: SSAValue
    distance: int
    steps: tuple[int, ...]
    """What the distance grows by per turn of each loop around the tile."""

    @staticmethod
    def of(copy: nc.DmaOp, side: int) -> Move | None:
        """The move of a DMA whose operand `side` is the tile."""
        tile, home = copy.operands[side], copy.operands[1 - side]
        alloc = tile.owner
        if not isinstance(alloc, nc.AllocOp) or tile is home:
            return None
        one, other = copy.accesses.data[side], copy.accesses.data[1 - side]
        depth = len(enclosing_trips(alloc))
        same_type = type(tile.type) is type(home.type) and element_of(tile) == element_of(home)
        same_place = (one.partition, one.partitions) == (other.partition, other.partitions)
        if not same_type or not same_place or one.steps[depth:] != other.steps[depth:]:
            return None
        aligned = align(one.dims, other.dims)
        if aligned is None or aligned[0] != aligned[1]:
            return None
        steps = tuple(b - a for a, b in zip(one.steps[:depth], other.steps[:depth], strict=True))
        return Move(copy, alloc, home, other.start - one.start, steps)

    @property
    def others(self) -> list[Use]:
        """The uses of the tile but for this copy."""
        return [use for use in self.alloc.buffer.uses if use.operation is not self.copy]

    def moved(self, access: Access) -> Access:
        """The elements of the home that are those of the tile."""
        steps = [*self.steps, *[0] * (len(access.steps) - len(self.steps))]
        return replace(
            access,
            start=access.start + self.distance,
            steps=tuple(a + b for a, b in zip(access.steps, steps, strict=True)),
        )

    def carry_out(self) -> None:
        """Let who used the tile use the home, and drop the copy."""
        for use in self.others:
            op = use.operation
            assert isinstance(op, InstructionOp)
            accesses = list(op.accesses.data)
            accesses[use.index] = self.moved(accesses[use.index])
            op.properties["accesses"] = AccessesAttr(tuple(accesses))
            op.operands[use.index] = self.home
        for op in (self.copy, self.alloc):
            op.detach()
            op.erase()


def element_of(buffer: SSAValue) -> object:
    return buffer_type_of(buffer).element


def writes(use: Use) -> bool:
    """Whether an instruction writes to this operand."""
    op = use.operation
    return isinstance(op, InstructionOp) and op.present_roles()[use.index] in op.WRITES


def _forward_load(move: Move) -> None:
    if not any(map(writes, move.others)):
        move.carry_out()


def _forward_store(move: Move, starts: Mapping[Operation, int], made: int) -> None:
    """Nothing else may be stored between the first write of the tile and its store."""
    writers = move.others
    first = min((starts[use.operation] for use in writers), default=0)
    if first < made:
        return
    stores = (starts[use.operation] for use in move.home.uses if writes(use))
    between = any(first < at < starts[move.copy] for at in stores)
    tile = move.copy.accesses.data[SRC]
    if all(map(writes, writers)) and not between and _is_whole(tile, move.alloc):
        move.carry_out()


def _is_whole(access: Access, alloc: nc.AllocOp) -> bool:
    """Whether a pattern is all of a tile, in order."""
    partitions, width = alloc.type.shape
    aligned = align(access.dims, ((1, width),))
    return (
        aligned is not None
        and aligned[0] == aligned[1]
        and (access.partition, access.partitions, access.start) == (0, partitions, 0)
        and not any(access.steps)
    )
