"""A loop nest of products into one accumulator, run as one product.

`for i: dst (+)= stationary[i]^T . moving[i]` is the product of the operands' slices stacked along
the partition axis; affine steps make every stack a strided view. Nothing here knows convolutions:
a nest qualifies by its form. The sum over all issues is then one BLAS sum instead of one per issue,
so the last bit of f32 may differ from issue-by-issue execution, which stays the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ranvier.backend.neuron.interpreter.core import WORKSPACE, CoreState, Fetch, Issue
from ranvier.backend.neuron.interpreter.layout import Layout, align, shape_of
from ranvier.backend.neuron.interpreter.pe import Accumulator
from ranvier.backend.neuron.program import Instruction, Loop, Operand
from ranvier.dialects import nc


def matmul_nest(loop: Loop, depth: int) -> tuple[Instruction, tuple[int, ...]] | None:
    """The one matmul of a perfect nest that opens at `depth`, and its trip counts.

    None where the nest does something else: several records, a moving destination, a sum that
    starts again inside, or operands that are too large together.
    """
    trips = [loop.trip]
    while len(loop.body) == 1 and isinstance(inner := loop.body[0], Loop):
        loop = inner
        trips.append(loop.trip)
    if len(loop.body) != 1:
        return None
    (record,) = loop.body
    if not isinstance(record, Instruction) or record.op is not nc.MatmulOp:
        return None
    own = range(depth, depth + len(trips))
    if any(record.operands["dst"].access.steps[turn] for turn in own):
        return None
    first_at: tuple[int, ...] | None = record.fields.get("first_at")
    if first_at is not None and not set(own) <= set(first_at):
        return None
    inputs = (record.operands["stationary"], record.operands["moving"])
    if max(operand.access.size for operand in inputs) * prod(trips) > WORKSPACE:
        return None
    return record, tuple(trips)


def bind_matmul_nest(
    state: CoreState, instruction: Instruction, trips: Sequence[int], depth: int
) -> Issue:
    """One function for all issues of the nest."""
    stationary = _stack(state, instruction.operands["stationary"], trips, depth, 0)
    moving = _stack(state, instruction.operands["moving"], trips, depth, 1)
    dst = Accumulator(state, instruction.operands["dst"], f"core {state.index}: nc.matmul")
    first_at: tuple[int, ...] | None = instruction.fields.get("first_at")
    turns = state.turns
    if first_at is None:
        return lambda: dst.add(stationary().T, moving())
    outer = [turn for turn in first_at if turn < depth]

    def issue() -> None:
        step = dst.add if any(turns[turn] for turn in outer) else dst.start
        step(stationary().T, moving())

    return issue


def _stack(
    state: CoreState, operand: Operand, trips: Sequence[int], depth: int, slot: int
) -> Fetch:
    """A function that gives the operand's slices over a nest as one f32 matrix."""
    steps = operand.access.steps[depth : depth + len(trips)]
    turns = tuple(
        (step * operand.dtype.itemsize, trip) for step, trip in zip(steps, trips, strict=True)
    )
    row, *free = state.layout(operand)
    aligned = align(tuple(free))
    assert aligned is not None  # one layout nests with itself
    layout: Layout = (*turns, row, *aligned[0])
    shape = shape_of(layout)
    rows, columns = prod(shape[: len(trips) + 1]), operand.access.free_size
    fetch = state.fetch(operand, layout)
    copy = state.workspace(slot, shape)
    result = copy.reshape(rows, columns)

    def read() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        np.copyto(copy, fetch(), casting="unsafe")
        return result

    return read
