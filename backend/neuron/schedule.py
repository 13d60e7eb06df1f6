"""Derive the waits between instruction streams, and spread DMA over queues.

Before: instructions in program order, which is their meaning.
After:  each carries a `queue` if it is a DMA, and `wait(pe >= 12 + i0*3, …)`: the counts of other
        streams that it must see before it starts. Streams keep their own order.

A wait follows from bytes: an instruction waits for the last writers of what it touches, and a
writer for the last readers too. Memory is tracked in cells, loops by what their last turn and their
previous turn did, so the work does not grow with trip counts. Relies on addresses (`allocate`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64
from xdsl.ir import Block
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import PassFailedException

from ranvier.backend.neuron.lowering.emitter import Affine
from ranvier.dialects import nc
from ranvier.dialects.nc.instruction import InstructionOp, enclosing_trips
from ranvier.dialects.nc.structure import OUTPUT
from ranvier.dialects.nc.sync import Wait, WaitsAttr
from ranvier.dialects.nc.types import Space, buffer_type_of, element_dtype

LOAD_QUEUES = range(0, 8)
STORE_QUEUES = range(8, 12)
DRAM_QUEUES = range(12, 16)


@dataclass(frozen=True)
class SchedulePass(ModulePass):
    """Derive semaphore waits and DMA queues."""

    name = "schedule"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in op.body.block.ops:
            if isinstance(program, nc.ProgramOp):
                for core in program.cores:
                    schedule(core)


def schedule(core: nc.CoreOp) -> None:
    """Give every instruction of a core its queue and its waits."""
    assign_queues(core)
    _Scheduler().run(core)


def assign_queues(core: nc.CoreOp) -> None:
    """Loads, stores and copies inside DRAM take turns on queues of their own."""
    turns = {LOAD_QUEUES: 0, STORE_QUEUES: 0, DRAM_QUEUES: 0}
    for op in core.walk():
        if not isinstance(op, nc.dma.TransferOp):
            continue
        views = op.views()
        source, target = views.get("src"), views.get("dst")
        if source is not None and source.space == Space.SBUF:
            queues = STORE_QUEUES
        elif target is not None and target.space == Space.SBUF:
            queues = LOAD_QUEUES
        else:
            queues = DRAM_QUEUES
        op.properties["queue"] = IntegerAttr(queues[turns[queues] % len(queues)], i64)
        turns[queues] += 1


Cell: TypeAlias = tuple[object, int]
"""A memory, or a tensor in DRAM, and the number of a range of bytes in it."""
Counts: TypeAlias = tuple[Affine, ...]
Table: TypeAlias = dict[Cell, dict[str, Counts]]


@dataclass
class State:
    """What the program has done so far: the last access of each stream to each cell."""

    written: Table = field(default_factory=dict[Cell, dict[str, Counts]])
    read: Table = field(default_factory=dict[Cell, dict[str, Counts]])

    def tables(self) -> tuple[Table, Table]:
        return self.written, self.read

    def part(self, cells: Iterable[Cell]) -> State:
        """A copy of what is known about some cells."""
        return State(
            *(
                {cell: dict(table[cell]) for cell in cells if cell in table}
                for table in self.tables()
            )
        )

    def replace(self, other: State, cells: Iterable[Cell]) -> None:
        """Take what another state knows about some cells."""
        for mine, theirs in zip(self.tables(), other.tables(), strict=True):
            for cell in cells:
                if cell in theirs:
                    mine[cell] = theirs[cell]


class _Scheduler:
    """One walk in program order; a loop's body is walked twice, to know its previous turn."""

    def __init__(self) -> None:
        self.state = State()
        self.counts: dict[str, Affine] = {}
        self.trips: list[int] = []
        self.seen: dict[str, dict[str, list[Affine]]] = {}
        """By waiting stream and producer: counts that have been waited for already."""
        self.cells: Cells = Cells({})

    def run(self, core: nc.CoreOp) -> None:
        self.cells = Cells.of(core)
        self._block(core.body.block, emit=True)

    def _block(self, block: Block, *, emit: bool) -> None:
        for op in block.ops:
            if isinstance(op, nc.LoopOp):
                self._loop(op, emit=emit)
            elif isinstance(op, InstructionOp):
                self._instruction(op, emit=emit)

    def _loop(self, loop: nc.LoopOp, *, emit: bool) -> None:
        depth, trips = len(self.trips), loop.trips
        per_turn = instructions_by_stream(loop.body.block)
        touched = self.cells.touched(loop)
        before = dict(self.counts)
        self.trips.append(trips)
        self._enter(before, per_turn, depth)
        if trips > 1:
            # First walk: what a turn leaves behind is what the next turn finds of its predecessor.
            found = self.state.part(touched)
            self._block(loop.body.block, emit=False)
            left = mapped(self.state.part(touched), _Change(depth, -1, keep=True))
            self.state.replace(merged(found, left), touched)
            self._enter(before, per_turn, depth)
        seen = {s: {p: list(c) for p, c in known.items()} for s, known in self.seen.items()}
        self._block(loop.body.block, emit=emit)
        self.seen = seen
        self.trips.pop()
        last = mapped(self.state.part(touched), _Change(depth, trips - 1, keep=False))
        self.state.replace(last, touched)
        self.counts = before
        for stream, count in per_turn.items():
            self.counts[stream] = self.counts.get(stream, Affine(0)) + count * trips

    def _enter(self, before: dict[str, Affine], per_turn: dict[str, int], depth: int) -> None:
        """Counts at the start of a turn: those before the loop, and so many for each turn."""
        self.counts = dict(before)
        for stream, count in per_turn.items():
            start = self.counts.get(stream, Affine(0))
            self.counts[stream] = start + Affine(0, (0,) * depth + (count,))

    def _instruction(self, op: InstructionOp, *, emit: bool) -> None:
        stream = op.stream()
        accesses = self.cells.of_instruction(op, self.trips)
        if emit:
            self._wait(op, stream, self._wanted(stream, accesses))
        count = self.counts.get(stream, Affine(0)) + 1
        self.counts[stream] = count
        counts = (count,)  # one object for all cells, so that it is rewritten once
        for cell, writes in accesses:
            table = self.state.written if writes else self.state.read
            table.setdefault(cell, {})[stream] = counts

    def _wanted(self, stream: str, accesses: Sequence[tuple[Cell, bool]]) -> dict[str, set[Affine]]:
        """What other streams have done to the cells that an instruction touches."""
        found: dict[str, dict[int, Counts]] = {}
        for cell, writes in accesses:
            tables = self.state.tables() if writes else (self.state.written,)
            for table in tables:
                for producer, counts in table.get(cell, {}).items():
                    if producer != stream:
                        found.setdefault(producer, {})[id(counts)] = counts
        return {
            producer: {count for counts in groups.values() for count in counts}
            for producer, groups in found.items()
        }

    def _wait(self, op: InstructionOp, stream: str, wanted: dict[str, set[Affine]]) -> None:
        waits: list[Wait] = []
        depth = len(self.trips)
        known = self.seen.setdefault(stream, {})
        for producer in sorted(wanted):
            for count in self._strongest(wanted[producer]):
                earlier = known.setdefault(producer, [])
                if any(self._covers(old, count) for old in earlier):
                    continue
                # Only the strongest are kept, or the list would grow with the program.
                known[producer] = [old for old in earlier if not self._covers(count, old)]
                known[producer].append(count)
                waits.append(Wait(producer, count.base, count.at_depth(depth)))
        if waits:
            op.properties["waits"] = WaitsAttr(tuple(waits))
        else:
            op.properties.pop("waits", None)

    def _strongest(self, counts: Iterable[Affine]) -> list[Affine]:
        """The counts that no other one implies; a count of 0 or less is no condition."""
        kept: list[Affine] = []
        for count in sorted(counts, key=lambda c: (c.base, c.steps), reverse=True):
            if self._extreme(count, largest=True) <= 0:
                continue
            if not any(self._covers(other, count) for other in kept):
                kept = [other for other in kept if not self._covers(count, other)]
                kept.append(count)
        return kept

    def _covers(self, strong: Affine, weak: Affine) -> bool:
        """Whether `strong >= weak` in every turn of the open loops."""
        if strong.steps == weak.steps:
            return strong.base >= weak.base
        return self._extreme(strong + weak * -1, largest=False) >= 0

    def _extreme(self, value: Affine, *, largest: bool) -> int:
        if not value.steps:
            return value.base
        pick = max if largest else min
        steps = zip(value.at_depth(len(self.trips)), self.trips, strict=True)
        return value.base + sum(pick(0, step * (trip - 1)) for step, trip in steps)


def instructions_by_stream(block: Block) -> dict[str, int]:
    """How many instructions each stream executes when a block runs once."""
    totals: dict[str, int] = {}
    for op in block.ops:
        if isinstance(op, nc.LoopOp):
            for stream, count in instructions_by_stream(op.body.block).items():
                totals[stream] = totals.get(stream, 0) + count * op.trips
        elif isinstance(op, InstructionOp):
            totals[op.stream()] = totals.get(op.stream(), 0) + 1
    return totals


class Cells:
    """Memory cut where any buffer of a core starts or ends: what is tracked together."""

    def __init__(self, cuts: Mapping[Space, Sequence[int]]) -> None:
        self._cuts = cuts
        self._known: dict[InstructionOp, list[tuple[Cell, bool]]] = {}

    @staticmethod
    def of(core: nc.CoreOp) -> Cells:
        cuts: dict[Space, set[int]] = {space: {0} for space in Space}
        for op in core.walk():
            if isinstance(op, nc.AllocOp) and op.address is not None:
                start = op.address.value.data
                cuts[op.type.space] |= {start, start + op.type.row_bytes}
        return Cells({space: sorted(points) for space, points in cuts.items()})

    def of_instruction(self, op: InstructionOp, trips: Sequence[int]) -> list[tuple[Cell, bool]]:
        """(cell, whether it is written) of everything that an instruction may touch."""
        if op not in self._known:
            self._known[op] = list(dict.fromkeys(self._find(op, trips)))
        return self._known[op]

    def touched(self, loop: nc.LoopOp) -> list[Cell]:
        """Every cell that a loop touches."""
        found: dict[Cell, None] = {}
        for op in loop.walk():
            if isinstance(op, InstructionOp):
                found.update(
                    (cell, None) for cell, _ in self.of_instruction(op, enclosing_trips(op))
                )
        return list(found)

    def _find(self, op: InstructionOp, trips: Sequence[int]) -> Iterator[tuple[Cell, bool]]:
        for role, value, access in zip(
            op.present_roles(), op.operands, op.accesses.data, strict=True
        ):
            owner, type = value.owner, buffer_type_of(value)
            writes = role in op.WRITES
            if isinstance(owner, nc.TensorOp):
                if owner.kind.data == OUTPUT:  # inputs and weights are never written
                    yield (owner, 0), writes
                continue
            if not isinstance(owner, nc.AllocOp) or owner.address is None:
                raise PassFailedException("a buffer has no address: run allocate before schedule")
            itemsize = element_dtype(type.element).itemsize
            low, high = access.extent(trips)
            start = owner.address.value.data
            cuts = self._cuts[type.space]
            first = bisect_right(cuts, start + low * itemsize) - 1
            last = bisect_left(cuts, start + (high + 1) * itemsize)
            for number in range(first, last):
                yield (type.space, number), writes


class _Change:
    """Rewrite the turn of the loop at one depth."""

    def __init__(self, depth: int, turn: int, *, keep: bool) -> None:
        self.depth, self.turn, self.keep = depth, turn, keep

    def __call__(self, count: Affine) -> Affine:
        if len(count.steps) <= self.depth or not (step := count.steps[self.depth]):
            return count if self.keep else Affine(count.base, count.steps[: self.depth])
        base = count.base + step * self.turn
        return Affine(base, count.steps if self.keep else count.steps[: self.depth])


def mapped(state: State, change: _Change) -> State:
    """A state with every count changed; cells that share counts share them afterwards."""
    known: dict[int, Counts] = {}

    def changed(counts: Counts) -> Counts:
        if (found := known.get(id(counts))) is None:
            found = known[id(counts)] = tuple(map(change, counts))
        return found

    return State(
        *(
            {
                cell: {stream: changed(counts) for stream, counts in entry.items()}
                for cell, entry in table.items()
            }
            for table in state.tables()
        )
    )


def merged(before: State, carried: State) -> State:
    """Both what stood before a loop and what its previous turn left, in place of the former."""
    known: dict[tuple[int, int], tuple[Counts, Counts, Counts]] = {}
    for table, other in zip(before.tables(), carried.tables(), strict=True):
        for cell, entry in other.items():
            mine = table.setdefault(cell, {})
            for stream, counts in entry.items():
                old = mine.get(stream, ())
                if (found := known.get((id(old), id(counts)))) is None:
                    both = tuple(dict.fromkeys((*old, *counts)))
                    found = known[id(old), id(counts)] = (old, counts, both)
                mine[stream] = found[2]
    return before
