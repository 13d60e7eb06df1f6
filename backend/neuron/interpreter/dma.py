"""Data movement between memories, and between cores.

Equal types keep every bit. A cast rounds floats to nearest even and turns floats into integers
toward zero, as `nn.cast` does; out of range they saturate. Integers of other sizes wrap around.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from ranvier.backend.neuron.interpreter.core import CoreState, Fetch, Issue
from ranvier.backend.neuron.interpreter.faults import MachineFault
from ranvier.backend.neuron.interpreter.layout import align, shape_of
from ranvier.backend.neuron.interpreter.values import saturated
from ranvier.backend.neuron.program import Instruction, Operand
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array


def move(target: Array, values: Array) -> None:
    """Write values of the same shape in the type of the target."""
    if target.dtype.kind in "iu" and values.dtype.kind not in "iu":
        values = saturated(np.trunc(values.astype(np.float32)), target.dtype)
    np.copyto(target, values, casting="unsafe")


def bind_dma(state: CoreState, instruction: Instruction) -> Issue:
    """Elements of `src` in order to the elements of `dst` in order."""
    src, dst = instruction.operands["src"], instruction.operands["dst"]
    source, target = state.layout(src), state.layout(dst)
    if (aligned := align(target, source)) is not None:
        target, source = aligned
        read, write = state.fetch(src, source), state.fetch(dst, target)
        return lambda: move(write(), read())
    read, write = state.fetch(src, source), state.fetch(dst, target)
    shape = shape_of(target)
    return lambda: move(write(), read().reshape(shape))


def bind_gather(state: CoreState, instruction: Instruction) -> Issue:
    """The row of `src` that each partition's index names. Raises CallerError for no such row."""
    table, target = instruction.operands["src"], instruction.operands["dst"]
    fetch, write = (
        state.fetch(table, state.layout(table)),
        state.fetch(target, state.layout(target)),
    )
    pick = _indices(state, instruction.operands["index"], table)

    def issue() -> None:
        out = write()
        move(out, fetch()[pick()].reshape(out.shape))

    return issue


def bind_scatter(state: CoreState, instruction: Instruction) -> Issue:
    """Each partition to the row of `dst` that its index names. Raises CallerError as a gather."""
    table, source = instruction.operands["dst"], instruction.operands["src"]
    fetch, read = state.fetch(table, state.layout(table)), state.fetch(source, state.layout(source))
    pick = _indices(state, instruction.operands["index"], table)
    shape = (source.access.partitions, *table.access.counts[1:])
    cast = np.empty(shape, table.dtype)

    def issue() -> None:
        move(cast, read().reshape(shape))
        fetch()[pick()] = cast

    return issue


def _indices(state: CoreState, index: Operand, table: Operand) -> Fetch:
    """A function that gives the row of each partition, or raises CallerError."""
    rows = table.access.counts[0]
    fetch = state.fetch(index, state.layout(index))

    def pick() -> Array:
        picked = fetch().reshape(-1)
        wrong = picked[(picked < -rows) | (picked >= rows)]
        if wrong.size:
            raise CallerError(
                Code.INPUT_RANGE, f"index {wrong[0]} is outside a table of {rows} rows"
            )
        return picked

    return pick


def bind_send(state: CoreState, instruction: Instruction) -> Issue:
    """Hand a copy of the elements to the channel of this core, the peer and the tag."""
    operand = instruction.operands["src"]
    fetch = state.fetch(operand, state.layout(operand))
    key = (state.index, instruction.fields["peer"], instruction.fields["tag"])

    def issue() -> None:
        state.channels.setdefault(key, deque()).append(fetch().reshape(-1).copy())

    return issue


def bind_receive(state: CoreState, instruction: Instruction) -> Issue:
    """Take the next elements from the channel. Raises MachineFault if there are none."""
    operand = instruction.operands["dst"]
    layout = state.layout(operand)
    shape, fetch = shape_of(layout), state.fetch(operand, layout)
    source, tag = instruction.fields["peer"], instruction.fields["tag"]
    where = f"core {state.index} receives tag {tag} of core {source}"

    def issue() -> None:
        queue = state.channels.get((source, state.index, tag))
        if not queue:
            raise MachineFault(f"{where}, which has sent nothing more")
        values = queue.popleft()
        if values.size != operand.access.size:
            raise MachineFault(
                f"{where}: {values.size} elements sent, {operand.access.size} received"
            )
        move(fetch(), values.reshape(shape))

    return issue
