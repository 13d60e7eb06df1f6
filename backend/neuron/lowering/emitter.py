"""Writes the body of one core: buffers, loops, instructions.

Positions are affine in the loop variables. `tiles` cuts a range into equal tiles and a remainder:
the body of a `for` over it is emitted once in a loop and once more for the remainder, so a lowering
reads as if it ran.

    for rows in e.tiles(height, 9):            # nc.loop 6 { … }, then a body for the last 2 rows
        e.emit(nc.DmaOp, dst=…, src=view.at(rows.start, rows.size))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xdsl.builder import Builder
from xdsl.dialects.builtin import UNKNOWN_LOC, LocationAttr
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.rewriter import InsertPoint

from ranvier.backend.neuron.limits import Machine
from ranvier.dialects import nc
from ranvier.dialects.nc.access import LOOP_DEPTH, Access
from ranvier.dialects.nc.instruction import InstructionOp
from ranvier.dialects.nc.types import Space, buffer_type_of

Dims = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Affine:
    """`base + steps[0]*i0 + steps[1]*i1 + …` over the loops open where it was made."""

    base: int
    steps: tuple[int, ...] = ()

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.base + other, self.steps)
        longer, shorter = sorted((self.steps, other.steps), key=len, reverse=True)
        padded = shorter + (0,) * (len(longer) - len(shorter))
        steps = tuple(a + b for a, b in zip(longer, padded, strict=True))
        return Affine(self.base + other.base, steps)

    def __mul__(self, factor: int) -> Affine:
        return Affine(self.base * factor, tuple(step * factor for step in self.steps))

    def scaled(self, numerator: int, denominator: int) -> Affine:
        """The position in units of `denominator` times `numerator`; it must divide."""
        if any(value % denominator for value in (self.base, *self.steps)):
            raise ValueError(f"{self} is no multiple of {denominator}")
        return Affine(
            self.base // denominator * numerator,
            tuple(step // denominator * numerator for step in self.steps),
        )

    def at_depth(self, depth: int) -> tuple[int, ...]:
        """Steps of exactly `depth` loops."""
        return self.steps + (0,) * (depth - len(self.steps))


ZERO = Affine(0)


@dataclass(frozen=True, slots=True)
class Tile:
    """Part of a range: where it starts and how long it is."""

    start: Affine
    size: int
    first_at: tuple[int, ...] | None = ()
    """Loop variables that are all 0 in the range's first tile; None where no turn is the first."""


@dataclass(frozen=True, slots=True)
class Ref:
    """One operand of an instruction: elements of a buffer. `partitions` is 0 in DRAM."""

    buffer: SSAValue
    start: Affine
    dims: Dims
    partitions: int = 0
    partition: int = 0

    def access(self, depth: int) -> Access:
        return Access(
            self.partition,
            self.partitions,
            self.start.base,
            self.start.at_depth(depth),
            self.dims,
        )


@dataclass(frozen=True, slots=True)
class OnChip:
    """A buffer in SBUF or PSUM whose rows hold a tile: `width` elements from `first` on."""

    buffer: SSAValue
    partitions: int
    width: int
    first: int = 0

    @property
    def element(self) -> Attribute:
        return buffer_type_of(self.buffer).element

    @property
    def space(self) -> Space:
        return buffer_type_of(self.buffer).space

    def ref(self, start: Affine | int = 0, dims: Dims | None = None) -> Ref:
        """All of the tile, or `dims` from `start` on."""
        start = Affine(start) if isinstance(start, int) else start
        return Ref(self.buffer, start + self.first, dims or ((1, self.width),), self.partitions)

    def columns(self, first: int, width: int) -> OnChip:
        """Some of the tile's columns as a tile of its own."""
        return OnChip(self.buffer, self.partitions, width, self.first + first)

    def rows(
        self, first: int, count: int, start: Affine | int = 0, dims: Dims | None = None
    ) -> Ref:
        """The same elements of only some partitions."""
        start = Affine(start) if isinstance(start, int) else start
        return Ref(self.buffer, start + self.first, dims or ((1, self.width),), count, first)


class Emitter:
    """Appends to the body of a core. `location` goes to every op that it makes."""

    def __init__(self, core: nc.CoreOp, machine: Machine) -> None:
        self.core = core
        self.machine = machine
        self.location: LocationAttr = UNKNOWN_LOC
        self._points = [InsertPoint.at_end(core.body.block)]

    @property
    def depth(self) -> int:
        return len(self._points) - 1

    def add(self, op: Operation) -> None:
        """Append an op."""
        op.location = self.location
        Builder(self._points[-1]).insert(op)

    def emit(
        self, op: type[InstructionOp], *, fields: dict[str, object] | None = None, **views: Ref
    ) -> None:
        """Append an instruction with operands by role."""
        depth = self.depth
        operands = {role: (ref.buffer, ref.access(depth)) for role, ref in views.items()}
        self.add(op.make(operands, **(fields or {})))

    def sbuf(self, partitions: int, width: int, element: Attribute) -> OnChip:
        """A new tile in SBUF."""
        alloc = nc.AllocOp(nc.SbufType.of((partitions, width), element))
        self.add(alloc)
        return OnChip(alloc.buffer, partitions, width)

    def psum(self, partitions: int, width: int, element: Attribute) -> OnChip:
        """A new tile in a bank of PSUM."""
        alloc = nc.AllocOp(nc.PsumType.of((partitions, width), element))
        self.add(alloc)
        return OnChip(alloc.buffer, partitions, width)

    def dram(self, length: int, element: Attribute) -> SSAValue:
        """Scratch in DRAM, alive from its first write to its last read wherever they stand."""
        alloc = nc.AllocOp(nc.DramType.of((length,), element))
        alloc.location = self.location
        self.declare(alloc)
        return alloc.buffer

    def declare(self, op: Operation) -> None:
        """Insert an op before the outermost open loop, so that every loop sees its buffer."""
        if self.depth and (loop := self._points[1].block.parent_op()) is not None:
            self.core.body.block.insert_op_before(op, loop)
        else:
            Builder(self._points[-1]).insert(op)

    def tiles(self, total: int, size: int) -> Iterator[Tile]:
        """Cut `total` into tiles of `size` and a remainder; one full tile needs no loop.

        Below the deepest loop of the machine the turns are written out.
        """
        size = min(size, total)
        full, rest = divmod(total, size)
        if full == 1:
            yield Tile(ZERO, size)
        elif self.depth >= LOOP_DEPTH:
            for turn in range(full):
                yield Tile(Affine(turn * size), size, () if turn == 0 else None)
        else:
            loop = nc.LoopOp(full)
            self.add(loop)
            depth = self.depth
            self._points.append(InsertPoint.at_end(loop.body.block))
            yield Tile(Affine(0, (0,) * depth + (size,)), size, (depth,))
            self._points.pop()
        if rest:
            yield Tile(Affine(full * size), rest, None)


def first_at(*tiles: Tile) -> tuple[int, ...] | None:
    """The `first_at` of a matmul that sums over these nested tiles."""
    depths: list[int] = []
    for tile in tiles:
        if tile.first_at is None:
            return None
        depths.extend(tile.first_at)
    return tuple(depths)


def merged(dims: Sequence[tuple[int, int]]) -> Dims:
    """Join neighbours that are contiguous and drop dimensions of one element."""
    joined: list[tuple[int, int]] = []
    for stride, count in dims:
        if count == 1:
            continue
        if joined and joined[-1][0] == stride * count:
            joined[-1] = (stride, joined[-1][1] * count)
        else:
            joined.append((stride, count))
    return tuple(joined) or ((1, 1),)
