"""Where operands lie in the memory of the simulation, as addresses that kernels take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ranvier.backend.neuron.interpreter.core import CoreState
from ranvier.backend.neuron.program import Operand
from ranvier.dialects.nc.types import Space

Address: TypeAlias = Callable[[], int]


def is_separate(dst: Operand, source: Operand, alike: bool, trips: Sequence[int]) -> bool:
    """Whether no element of `source` is written before it is read.

    That is so in other memory, in other bytes, and in the same place if both walk alike. `trips`
    are those of the loops around, 0 where they are not known.
    """
    if (dst.space, dst.memory) != (source.space, source.memory):
        return True
    if dst.access.steps != source.access.steps:
        return _are_apart(dst, source, trips)
    if alike and dst.access.partition == source.access.partition and _start(dst) == _start(source):
        return True
    ours, theirs = (_partitions(o) for o in (dst, source))
    if dst.space != Space.DRAM and (ours[1] <= theirs[0] or theirs[1] <= ours[0]):
        return True
    return _are_apart(dst, source, [1] * len(trips))


def _are_apart(one: Operand, other: Operand, trips: Sequence[int]) -> bool:
    """Whether the operands touch no byte of each other in all turns of the loops."""
    known = trips[: len(one.access.steps)]
    if not all(known):
        return False
    ours, theirs = (_extent(operand, known) for operand in (one, other))
    return ours[1] <= theirs[0] or theirs[1] <= ours[0]


def _start(operand: Operand) -> int:
    return operand.address + operand.access.start * operand.dtype.itemsize


def _partitions(operand: Operand) -> tuple[int, int]:
    return operand.access.partition, operand.access.partition + operand.access.partitions


def _extent(operand: Operand, trips: Sequence[int]) -> tuple[int, int]:
    """First byte in a partition or in DRAM, and the byte behind the last, over all turns."""
    low, high = operand.access.extent(trips)
    size = operand.dtype.itemsize
    return operand.address + low * size, operand.address + (high + 1) * size


def address_of(state: CoreState, operand: Operand) -> Address:
    """A function that gives the address of the operand's first element in the current turns."""
    access, size = operand.access, operand.dtype.itemsize
    moves = [(depth, step * size) for depth, step in enumerate(access.steps) if step]
    start = _start(operand)
    if operand.space == Space.DRAM:
        places, number, moved = (
            state.dram_addresses,
            operand.memory,
            _moved(state.turns, start, moves),
        )
        return lambda: places[number] + moved()
    memory = state.memory(operand.space)
    start += memory.ctypes.data + access.partition * memory.strides[0]
    return _moved(state.turns, start, moves)


def _moved(turns: list[int], start: int, moves: Sequence[tuple[int, int]]) -> Address:
    """A function that gives `start`, moved by the current turns; short where there are few."""
    if not moves:
        return lambda: start
    if len(moves) == 1:
        ((depth, move),) = moves
        return lambda: start + move * turns[depth]
    if len(moves) == 2:
        (outer, far), (inner, near) = moves
        return lambda: start + far * turns[outer] + near * turns[inner]
    return lambda: start + sum(turns[depth] * move for depth, move in moves)
