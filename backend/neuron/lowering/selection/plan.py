"""Which elements are better, and how lines fit the chip."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import i32
from xdsl.ir import Attribute

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.rows import EXACT
from ranvier.dialects.diagnostics import Code, Reason

MAX_WIDTH = 2048
"""Elements per partition that short lines share."""
SHORTEST = 128
"""Elements of a line that come on chip at once, at least."""


@dataclass(frozen=True)
class Order:
    """Which element is better: the largest or the smallest, NaN first or last, ties."""

    largest: bool
    nan_first: bool
    last: bool = False
    """Whether of equal elements the last is better."""


@dataclass(frozen=True)
class Plan:
    """How lines fit the chip: `carry` best ones of earlier parts, and `part` new elements."""

    carry: int
    part: int

    @property
    def width(self) -> int:
        return self.carry + self.part


def bytes_each(element: Attribute) -> int:
    """Of an element on chip: of f32 its value, rank, what is compared, and a truth value; integers
    have two halves, and come whole."""
    return 21 if element == i32 else 13


BYTES_BEST = 28
"""Of each of the best: peaks, ranks, places and what they are computed of."""


def plan(size: int, k: int, element: Attribute, machine: Machine) -> Plan | None:
    """Whole lines if they fit, else parts; None where the best ones alone do not fit."""
    each = bytes_each(element)
    room = machine.sbuf_bytes * 3 // 4 - BYTES_BEST * k
    if each * size <= room:
        return Plan(0, size)
    part = room // each - k
    return Plan(k, part) if part >= SHORTEST else None


def why_not_selected(size: int, k: int, element: Attribute, machine: Machine) -> Reason | None:
    """Why the `k` best of lines of some size are not found on chip."""
    if 2 * size > EXACT:
        return Reason(Code.OP_SIZE, f"lines up to {EXACT // 2} elements lower, got {size}")
    if plan(size, k, element, machine) is None:
        each = bytes_each(element)
        limit = (machine.sbuf_bytes * 3 // 4 - each * SHORTEST) // (BYTES_BEST + each)
        return Reason(Code.OP_SIZE, f"the best {limit} of a line lower, got {k}")
    return None


def room_for(fit: Plan, k: int, element: Attribute, machine: Machine) -> int:
    """How many lines stand beside each other on a partition."""
    room = machine.sbuf_bytes * 3 // 4
    lines = room // (bytes_each(element) * fit.width + BYTES_BEST * k)
    return max(1, min(MAX_WIDTH // fit.width, lines))
