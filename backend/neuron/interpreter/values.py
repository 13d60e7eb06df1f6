"""Operands as f32 values: engines read any element type, compute in f32 and round when they store.

Stores round to nearest even; integers also saturate, and take 0 for NaN. Values of equal types that
an instruction only moves keep their bits and do not come here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ranvier.backend.neuron.interpreter.core import F32, CoreState, Fetch
from ranvier.backend.neuron.interpreter.layout import Layout, align, shape_of
from ranvier.backend.neuron.program import Operand
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nc.types import Space

Store: TypeAlias = Callable[[Array], None]
OUT = 3
"""Workspace of results; inputs use those before it."""


def saturated(values: Array, dtype: np.dtype[Any]) -> Array:
    """Whole f32 or f64 values as integers of a type: clipped to its range, 0 for NaN."""
    info = np.iinfo(dtype)
    wide = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=info.max, neginf=info.min)
    return np.clip(wide, info.min, info.max).astype(dtype)


def put(target: Array, values: Array) -> None:
    """Write f32 values: rounded to nearest even, integers saturated."""
    if target.dtype.kind in "iu":
        values = saturated(np.rint(values), target.dtype)
    np.copyto(target, values, casting="unsafe")


def spread(state: CoreState, operand: Operand, like: Operand) -> Layout:
    """The layout of an operand of one element per partition, repeated along the free elements."""
    return (state.layout(operand)[0], (0, like.access.free_size))


class Elementwise:
    """Operands of one instruction in one shape. Inputs come as f32, in `inputs`, by role."""

    def __init__(self, state: CoreState, operands: dict[str, Operand], dst: str = "dst") -> None:
        self.state = state
        self.operands = operands
        target = operands[dst]
        layouts = {
            role: (
                spread(state, operand, target)
                if operand.access.free_size != target.access.free_size
                else state.layout(operand)
            )
            for role, operand in operands.items()
        }
        aligned = align(*layouts.values())
        self.layouts = dict(zip(layouts, aligned, strict=True)) if aligned is not None else layouts
        self.nested = aligned is not None
        self.shape = shape_of(self.layouts[dst])
        self.out = state.workspace(OUT, self.shape)
        self.dst = state.fetch(target, self.layouts[dst])
        self.direct = target.dtype == F32 and not any(
            operand.dtype == F32 and operand.space == target.space
            for role, operand in operands.items()
            if role != dst
        )
        """Whether results may be computed in place: f32, and no input is a view of that memory."""

    def read(self, role: str, slot: int) -> Fetch:
        """A function that gives an input as f32, broadcastable to `shape`."""
        operand, layout = self.operands[role], self.layouts[role]
        if not self.nested:
            return self._read_flat(operand, layout, slot)
        narrow = tuple((stride, count if stride else 1) for stride, count in layout)
        return read_f32(self.state, operand, narrow, slot)

    def _read_flat(self, operand: Operand, layout: Layout, slot: int) -> Fetch:
        """Through a copy, where the operands' cuts do not nest."""
        fetch = self.state.fetch(operand, layout)
        copy = self.state.workspace(slot, shape_of(layout))
        flat = copy.reshape(self.shape)

        def read() -> Array:
            np.copyto(copy, fetch(), casting="unsafe")
            return flat

        return read

    def target(self) -> Array:
        """Where to compute: the destination itself, or a workspace that `store` copies from."""
        return self.dst() if self.direct else self.out

    def store(self, values: Array) -> None:
        """Put results, which are in `target()`, into the destination."""
        if not self.direct:
            put(self.dst(), values)


def read_f32(state: CoreState, operand: Operand, layout: Layout, slot: int) -> Fetch:
    """A function that gives an operand as f32: a view of f32 memory, else a converted copy."""
    fetch = state.fetch(operand, layout)
    if operand.dtype == F32:
        return fetch
    copy = state.workspace(slot, shape_of(layout))

    def read() -> Array:
        np.copyto(copy, fetch(), casting="unsafe")
        return copy

    return read


def matrix(state: CoreState, operand: Operand, slot: int) -> Fetch:
    """A function that gives an on-chip operand as an f32 matrix, partitions by free elements."""
    rows, columns = operand.access.partitions, operand.access.free_size
    aligned = align(state.layout(operand)[1:])
    assert aligned is not None  # one layout nests with itself
    (free,) = aligned
    row = state.layout(operand)[0]
    if operand.dtype == F32 and len(free) == 1:
        return state.fetch(operand, (row, free[0]))
    fetch = state.fetch(operand, (row, *free))
    copy = state.workspace(slot, (rows, *shape_of(free)))
    result = copy.reshape(rows, columns)

    def read() -> Array:
        np.copyto(copy, fetch(), casting="unsafe")
        return result

    return read


def disown(state: CoreState, operand: Operand) -> Callable[[], None] | None:
    """A function that notes that another engine than the PE wrote to PSUM; None elsewhere."""
    if operand.space != Space.PSUM:
        return None
    words = state.words(operand)

    def note() -> None:
        words()[...] = False

    return note
