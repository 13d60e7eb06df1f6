"""Let a loop load its next tile while it computes on this one.

Before: a loop of 8 turns that loads a tile into one buffer and computes on it.
After:  a loop of 4 turns, each of them two turns of before, with buffers of their own.

A turn then waits for the one before the last only: while one half computes, the other is loaded.
Order and arithmetic stay, so no bit changes. A loop is doubled if it loads into a buffer of its own
turn, is short, and fits twice; `allocate` gives the halves different places.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import DenseArrayBase, ModuleOp, i64
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from ranvier.backend.neuron.allocate import Lifetime, lifetimes_of, machine_of, positions_of
from ranvier.dialects import nc
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.access import Access, AccessesAttr
from ranvier.dialects.nc.instruction import InstructionOp
from ranvier.dialects.nc.types import PSUM_BANKS, Space, buffer_type_of

SHORTEST = 4
"""Turns of a loop that is doubled: fewer gain less than their text costs."""
LONGEST = 24
"""Ops of a body that is written twice."""
TEXT = 2900
"""Ops that doubling may bring a core to. One that is longer grows by an eighth at most: loops with
the most turns are doubled first."""
SHARE = 3 / 4
"""Of SBUF, that buffers around a doubled loop may take; the rest is lost between them."""


@dataclass(frozen=True)
class DoubleBufferPass(ModulePass):
    """Overlap loads with computation in loops that stream tiles."""

    name = "double-buffer"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for program in op.body.block.ops:
            if isinstance(program, nc.ProgramOp):
                double_buffer(program)


def double_buffer(program: nc.ProgramOp) -> None:
    """Double the streaming loops of every core. Raises PassFailedException without a machine."""
    room = int(machine_of(program).sbuf_bytes * SHARE)
    for core in program.cores:
        found: list[Streaming] = []
        for loop, around in loops_of(core):
            taken = around + sum(map(_bytes, loop.body.walk()))
            found.extend(_streaming(loop, (), taken, room))
        growth = growth_of(sum(1 for _ in core.walk()))
        # Of equals the first ones: sorting is stable.
        for streaming in sorted(found, key=lambda it: -it.turns):
            if (growth := growth - streaming.ops) < 0:
                break
            _double(streaming.loop, streaming.depth)


def growth_of(ops: int) -> int:
    """How many ops doubling may add to a core of so many."""
    return max(TEXT - ops, 0) if ops <= TEXT else ops // 8


@dataclass(frozen=True)
class Streaming:
    """A loop that may be doubled, and its depth."""

    loop: nc.LoopOp
    depth: int
    turns: int
    """Of the loop, over all turns of those around it."""

    @property
    def ops(self) -> int:
        """How many ops doubling adds: the body again, and once more for an odd turn."""
        return (1 + self.loop.trips % 2) * sum(1 for _ in self.loop.body.walk())


def loops_of(core: nc.CoreOp) -> list[tuple[nc.LoopOp, int]]:
    """The outermost loops of a core, and the bytes of SBUF that are alive around each."""
    starts, ends = positions_of(core)
    pending = [life for life in lifetimes_of(core)[Space.SBUF] if life.op.parent is core.body.block]
    pending.reverse()
    alive: list[Lifetime] = []
    found: list[tuple[nc.LoopOp, int]] = []
    for op in core.body.block.ops:
        if isinstance(op, nc.LoopOp):
            while pending and pending[-1].start <= ends[op]:
                alive.append(pending.pop())
            alive = [life for life in alive if life.end >= starts[op]]
            found.append((op, sum(life.bytes for life in alive)))
    return found


def _streaming(loop: nc.LoopOp, around: tuple[int, ...], taken: int, room: int) -> list[Streaming]:
    """The innermost loops that stream; all buffers in and around them take `taken` bytes.

    Loops around such a one overlap well enough.
    """
    trips = (*around, loop.trips)
    inner = [op for op in loop.body.block.ops if isinstance(op, nc.LoopOp)]
    if found := [found for op in inner for found in _streaming(op, trips, taken, room)]:
        return found
    if loop.trips < SHORTEST or not _streams(loop) or not _fits_twice(loop, room - taken):
        return []
    return [Streaming(loop, len(around), prod(trips))]


def _streams(loop: nc.LoopOp) -> bool:
    """Whether a turn loads a tile into a buffer of its own."""
    return any(
        isinstance(op, nc.DmaOp)
        and buffer_type_of(op.operands[0]).space == Space.SBUF
        and isinstance(owner := op.operands[0].owner, nc.AllocOp)
        and owner.parent is loop.body.block
        for op in loop.body.block.ops
    )


def _fits_twice(loop: nc.LoopOp, room: int) -> bool:
    ops = list(loop.body.walk())
    banks = sum(isinstance(op, nc.AllocOp) and op.type.space == Space.PSUM for op in ops)
    return len(ops) <= LONGEST and 2 * banks < PSUM_BANKS and sum(map(_bytes, ops)) <= room


def _bytes(op: Operation) -> int:
    """Bytes per partition of a buffer in SBUF."""
    if not isinstance(op, nc.AllocOp) or op.type.space != Space.SBUF:
        return 0
    return op.type.row_bytes


def _double(loop: nc.LoopOp, depth: int) -> None:
    """Write the body twice in a loop of half the turns, and once more for an odd one."""
    half, rest = divmod(loop.trips, 2)
    block = loop.parent
    assert block is not None
    turns = [Turn(depth, base, 2 if half > 1 else None) for base in range(2)]
    if half > 1:
        body = Block([op for turn in turns for op in turn.copy(loop.body.block)])
        doubled = nc.LoopOp(half, Region(body))
        doubled.location = loop.location
        block.insert_op_before(doubled, loop)
        turns = []
    if rest:
        turns.append(Turn(depth, loop.trips - 1, None))
    for turn in turns:
        block.insert_ops_before(list(turn.copy(loop.body.block)), loop)
    loop.detach()
    loop.erase()


@dataclass(frozen=True)
class Turn:
    """Turn `base + scale * i` of the loop at a depth; turn `base` alone without a scale."""

    depth: int
    base: int
    scale: int | None

    def copy(self, block: Block, seen: dict[SSAValue, SSAValue] | None = None) -> list[Operation]:
        """The ops of a body as they are in this turn."""
        values = {} if seen is None else seen
        copies: list[Operation] = []
        for op in block.ops:
            if isinstance(op, nc.LoopOp):
                inner = Block(self.copy(op.body.block, values))
                twin: Operation = nc.LoopOp(op.trips, Region(inner))
            else:
                twin = op.clone(values)
                if isinstance(twin, InstructionOp):
                    self._place(twin)
            twin.location = op.location
            copies.append(twin)
        return copies

    def _place(self, op: InstructionOp) -> None:
        accesses = tuple(map(self._moved, op.accesses.data))
        op.properties["accesses"] = AccessesAttr(accesses)
        first_at = op.properties.get("first_at")
        if not isinstance(first_at, DenseArrayBase):
            return
        loops = [int(loop) for loop in ints(first_at)]
        if self.depth in loops and self.base:
            del op.properties["first_at"]  # never the first turn
        elif self.scale is None:
            kept = [loop - (loop > self.depth) for loop in loops if loop != self.depth]
            op.properties["first_at"] = DenseArrayBase.from_list(i64, kept)

    def _moved(self, access: Access) -> Access:
        steps = list(access.steps)
        step = steps.pop(self.depth)
        if self.scale is not None:
            steps.insert(self.depth, step * self.scale)
        start = access.start + step * self.base
        return Access(access.partition, access.partitions, start, tuple(steps), access.dims)
