"""Find accesses that nothing puts in order: a happens-before check with vector clocks.

Streams keep their own order, and a wait orders an issue after what it waits for. Two issues of
different streams that touch the same bytes, one of them writing, must be ordered by that; program
order alone says nothing to the hardware. Loops are expanded, so every turn is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ranvier.backend.neuron.interpreter.faults import MachineFault
from ranvier.backend.neuron.program import CoreProgram, Instruction, Operand, Program, issues
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nc.structure import OUTPUT
from ranvier.dialects.nc.types import PSUM_BANK_BYTES, Space

PAGE = {Space.SBUF: 1024, Space.PSUM: PSUM_BANK_BYTES, Space.DRAM: 1 << 16}
"""Bytes that share a list of accesses; it changes the speed of the check, not its result."""

Page = tuple[Space, int, int]
"""Memory, number of the tensor in DRAM, number of the page."""


@dataclass(frozen=True, slots=True)
class _Access:
    """One operand of one issue."""

    stream: str
    sequence: int
    """Number of the issue in its stream, from 1."""
    instruction: Instruction
    operand: Operand
    turns: tuple[int, ...]
    low: int
    """First byte in the partition or DRAM area."""
    high: int
    """Last byte."""
    writes: bool

    def touches(self, other: _Access) -> bool:
        """Whether both reach one byte of the same partition."""
        mine, theirs = self.operand.access, other.operand.access
        if self.high < other.low or other.high < self.low:
            return False
        if mine.partitions and (
            mine.partition + mine.partitions <= theirs.partition
            or theirs.partition + theirs.partitions <= mine.partition
        ):
            return False
        return bool(np.intersect1d(self._bytes(), other._bytes()).size)

    def _bytes(self) -> Array:
        """Every byte of one partition; partitions are the same range for all of them."""
        itemsize = self.operand.dtype.itemsize
        access = self.operand.access
        places = np.asarray(access.start_at(self.turns), np.int64)
        for stride, count in access.dims:
            places = np.add.outer(places, np.arange(count, dtype=np.int64) * stride)
        first = self.operand.address + places.reshape(-1) * itemsize
        return np.add.outer(first, np.arange(itemsize)).reshape(-1)

    def __str__(self) -> str:
        return f"{self.stream} {self.instruction.op.name} {self.sequence} in turns {self.turns}"


def check_races(program: Program) -> None:
    """Raises MachineFault naming the first two issues that no wait puts in order."""
    for index, core in enumerate(program.cores):
        _CoreCheck(index, core).run()


class _CoreCheck:
    def __init__(self, index: int, core: CoreProgram) -> None:
        self.index = index
        self.core = core
        names = dict.fromkeys(instruction.stream for instruction, _ in core.instructions())
        self.numbers = {name: number for number, name in enumerate(names)}
        self.clocks: dict[str, list[list[int]]] = {name: [] for name in names}
        """Of each issue of a stream: how far it knows every stream to have come, and itself."""
        self.pages: dict[Page, dict[str, list[_Access]]] = {}

    def run(self) -> None:
        for instruction, turns in issues(self.core.body):
            clock = self._clock(instruction, turns)
            for access in self._accesses(instruction, turns):
                for page in self._pages(access):
                    lists = self.pages.setdefault(page, {})
                    self._compare(access, lists, clock)
                    lists.setdefault(access.stream, []).append(access)

    def _clock(self, instruction: Instruction, turns: tuple[int, ...]) -> list[int]:
        """What is known to be complete when the instruction starts."""
        stream = instruction.stream
        mine = self.clocks[stream]
        clock = list(mine[-1]) if mine else [0] * len(self.numbers)
        for wait in instruction.waits:
            if (count := wait.count_at(turns)) < 1:
                continue
            known = self.clocks.get(wait.stream, [])
            if count > len(known):
                raise MachineFault(
                    f"core {self.index}: {stream} {instruction.op.name} waits for {wait.stream} "
                    f">= {count}, which comes later in program order"
                )
            clock = list(map(max, clock, known[count - 1]))
        clock[self.numbers[stream]] = len(mine) + 1
        mine.append(clock)
        return clock

    def _accesses(self, instruction: Instruction, turns: tuple[int, ...]) -> Iterator[_Access]:
        stream = instruction.stream
        sequence = len(self.clocks[stream])
        for role, operand in instruction.operands.items():
            if operand.space == Space.DRAM and operand.memory >= 0:
                if self.core.tensors[operand.memory].kind != OUTPUT:
                    continue  # inputs and weights are never written
            itemsize, access = operand.dtype.itemsize, operand.access
            start = access.start_at(turns)
            reach = [stride * (count - 1) for stride, count in access.dims]
            low = operand.address + (start + sum(r for r in reach if r < 0)) * itemsize
            high = operand.address + (start + sum(r for r in reach if r > 0) + 1) * itemsize - 1
            writes = role in instruction.op.WRITES
            yield _Access(stream, sequence, instruction, operand, turns, low, high, writes)

    def _pages(self, access: _Access) -> Iterator[Page]:
        space = access.operand.space
        size = PAGE[space]
        for page in range(access.low // size, access.high // size + 1):
            yield space, access.operand.memory, page

    def _compare(self, access: _Access, lists: dict[str, list[_Access]], clock: list[int]) -> None:
        """Raises MachineFault if an earlier access of another stream may still be under way."""
        for stream, earlier in lists.items():
            if stream == access.stream:
                continue
            complete = clock[self.numbers[stream]]
            for other in reversed(earlier):
                if other.sequence <= complete:
                    break
                if (access.writes or other.writes) and access.touches(other):
                    raise MachineFault(
                        f"core {self.index}: nothing orders {access} after {other}, and both touch "
                        f"bytes {max(access.low, other.low)} to {min(access.high, other.high)} of "
                        f"{access.operand.space}"
                    )
