"""The state of one core while it runs, and how instructions reach it.

SBUF and PSUM are byte arrays of 128 partitions, DRAM a list of byte areas; all that a program has
not written is 0xFF, a NaN for every float. An instruction binds its operands once, when a program
is loaded; an issue only moves their offsets with the turns of its loops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ranvier.backend.neuron.interpreter.kernels import Kernels
from ranvier.backend.neuron.interpreter.layout import Layout, shape_of, strides_of
from ranvier.backend.neuron.program import Operand
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nc.access import LOOP_DEPTH, MAX_ELEMENTS
from ranvier.dialects.nc.types import PARTITIONS, PSUM_BANK_BYTES, PSUM_BANKS, Space

Issue: TypeAlias = Callable[[], None]
Fetch: TypeAlias = Callable[[], Array]
Transfer: TypeAlias = tuple[int, int, int]
"""Source core, destination core, tag."""

POISON = 0xFF
ROW_GAP = 192
"""Bytes between partitions in host memory, so that rows do not share cache sets."""
WORKSPACES = 4
WORKSPACE = PARTITIONS * MAX_ELEMENTS[Space.SBUF]
"""Elements of a workspace: as many as an instruction may touch."""
QUADRANTS = 4
_QUADRANT = PARTITIONS // QUADRANTS
F32 = np.dtype(np.float32)


@dataclass
class Counters:
    """What the machine has done."""

    macs: int = 0
    """Multiply-accumulates: K * M * N of a matmul, one for each element of `x * a + y`."""
    elements: int = 0
    """Elements written by other instructions."""
    instructions: int = 0
    """Issues."""

    def add(self, other: Counters) -> None:
        self.macs += other.macs
        self.elements += other.elements
        self.instructions += other.instructions

    def times(self, count: int) -> Counters:
        """The work of `count` issues."""
        return Counters(self.macs * count, self.elements * count, self.instructions * count)


@dataclass
class CoreState:
    """Memories of a core, and the turn of each open loop."""

    index: int
    sbuf: Array
    psum: Array
    workspaces: list[Array]
    """f32 memory of the simulation, by slot."""
    channels: dict[Transfer, deque[Array]]
    dram: list[Array] = field(default_factory=list[Array])
    """Byte areas of the tensors; the last is the scratch area."""
    turns: list[int] = field(default_factory=lambda: [0] * LOOP_DEPTH)
    trips: list[int] = field(default_factory=lambda: [0] * LOOP_DEPTH)
    """Of the loops around what is being bound; 0 where they are not known."""
    kernels: Kernels | None = None
    """What compiled kernels there are to bind instructions to."""
    threads: int = 1
    """Of one compiled kernel."""
    dram_addresses: list[int] = field(default_factory=list[int])
    """Of the byte areas of `dram`, where there are kernels."""

    def __post_init__(self) -> None:
        words = PSUM_BANKS * PSUM_BANK_BYTES // 4
        self.accumulated = np.zeros((QUADRANTS, words), np.bool_)
        """Which words of PSUM the PE wrote last, by quadrant of 32 partitions."""

    def workspace(self, slot: int, shape: tuple[int, ...]) -> Array:
        """f32 values of a shape; all instructions that use the slot share its memory."""
        return self.workspaces[slot][: prod(shape)].reshape(shape)

    def place(self, areas: Sequence[Array]) -> None:
        """Take byte areas as the tensors in DRAM and the scratch area."""
        self.dram[:] = areas
        if self.kernels is not None:
            self.dram_addresses[:] = [area.ctypes.data for area in areas]

    def poison(self) -> None:
        """Forget all that earlier programs left on chip."""
        self.sbuf.fill(POISON)
        self.psum.fill(POISON)
        self.accumulated.fill(False)

    def layout(self, operand: Operand) -> Layout:
        """Strides in bytes and counts, partitions first."""
        itemsize = operand.dtype.itemsize
        dims = tuple((stride * itemsize, count) for stride, count in operand.access.dims)
        if operand.space == Space.DRAM:
            return dims
        return ((self.memory(operand.space).strides[0], operand.access.partitions), *dims)

    def fetch(self, operand: Operand, layout: Layout) -> Fetch:
        """A function that gives the operand's elements in the current turns, as a view."""
        itemsize, access = operand.dtype.itemsize, operand.access
        start = operand.address + access.start * itemsize
        moves = [(depth, step * itemsize) for depth, step in enumerate(access.steps) if step]
        if operand.space == Space.DRAM:
            return self._fetch_dram(operand, layout, start, moves)
        memory = self.memory(operand.space)
        start += access.partition * memory.strides[0]
        return self._fetch_at(memory, operand.dtype, layout, start, moves)

    def words(self, operand: Operand) -> Fetch:
        """The entries of `accumulated` for a PSUM operand in the current turns."""
        access, itemsize = operand.access, operand.dtype.itemsize
        row = self.accumulated.strides[0]
        first = access.partition // _QUADRANT
        last = (access.partition + access.partitions - 1) // _QUADRANT
        low = (operand.address + access.start * itemsize) // 4
        layout = [(row, last - first + 1)]
        for stride, count in access.dims:
            if stride * itemsize % 4:
                # Several elements share words: take the words that they span.
                count, stride = (abs(stride) * (count - 1) * itemsize) // 4 + 1, 4 // itemsize
            layout.append((stride * itemsize // 4, count))
        moves = [(d, step * itemsize // 4) for d, step in enumerate(access.steps) if step]
        start = first * row + low
        return self._fetch_at(self.accumulated, np.dtype(np.bool_), tuple(layout), start, moves)

    def memory(self, space: Space) -> Array:
        """The bytes of an on-chip memory, partitions first."""
        return self.sbuf if space == Space.SBUF else self.psum

    def _fetch_at(
        self,
        memory: Array,
        dtype: np.dtype[Any],
        layout: Layout,
        start: int,
        moves: list[tuple[int, int]],
    ) -> Fetch:
        shape, strides, turns = shape_of(layout), strides_of(layout), self.turns
        if not moves:
            view = np.ndarray(shape, dtype, memory, start, strides)
            return lambda: view
        if len(moves) == 1:
            ((depth, move),) = moves
            return lambda: np.ndarray(shape, dtype, memory, start + move * turns[depth], strides)

        def fetch() -> Array:
            offset = start
            for depth, move in moves:
                offset += move * turns[depth]
            return np.ndarray(shape, dtype, memory, offset, strides)

        return fetch

    def _fetch_dram(
        self, operand: Operand, layout: Layout, start: int, moves: list[tuple[int, int]]
    ) -> Fetch:
        shape, strides, dtype = shape_of(layout), strides_of(layout), operand.dtype
        areas, number, turns = self.dram, operand.memory, self.turns

        def fetch() -> Array:
            offset = start
            for depth, move in moves:
                offset += move * turns[depth]
            return np.ndarray(shape, dtype, areas[number], offset, strides)

        return fetch


def workspaces() -> list[Array]:
    """Workspaces as large as an instruction may need; untouched pages of them cost nothing."""
    return [np.empty(WORKSPACE, F32) for _ in range(WORKSPACES)]


def on_chip(row_bytes: int) -> Array:
    """A memory of 128 partitions, with a gap after each; not yet poisoned."""
    return np.empty((PARTITIONS, row_bytes + ROW_GAP), np.uint8)
