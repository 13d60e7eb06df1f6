"""The best elements of rows and where they stand: extremes of rows, one after another.

Each place of a row has a rank, a whole number that is unique in the row: of equal elements the one
of higher rank is better, and the rank tells the place. One step finds the best element,

    peak = max(x),  rank = max((x == peak) * ranks),

and then takes it away: `x = -inf` and `ranks = 0` at its place, so that it is never found again,
not even among elements that are `-inf` themselves. Ranks of up to `EXACT / 2` elements are exact.

A smallest element is the largest of `-x`. NaN stands for infinity (the sign says whether it is
better than numbers or worse), with a rank of its own class, which is `size` higher than that of
worse elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from xdsl.dialects.builtin import f32, i32
from xdsl.ir import Attribute

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import Affine, Ref, Tile
from ranvier.backend.neuron.lowering.lines import Block, Lines, lines_along
from ranvier.backend.neuron.lowering.registry import FLOATS
from ranvier.backend.neuron.lowering.rows import EXACT, ramp
from ranvier.backend.neuron.lowering.views import Region, View
from ranvier.dialects import nc
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nc.types import ui8

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


def plan(size: int, k: int, machine: Machine) -> Plan | None:
    """Whole lines if they fit, else parts; None where the best ones alone do not fit."""
    # Three f32 and a byte for each element; peaks, ranks, places and what they are computed of.
    room = machine.sbuf_bytes * 3 // 4 - 24 * k
    if 13 * size <= room:
        return Plan(0, size)
    part = room // 13 - k
    return Plan(k, part) if part >= SHORTEST else None


def why_not_selected(size: int, k: int, element: Attribute, machine: Machine) -> Reason | None:
    """Why the `k` best of lines of some size are not found on chip."""
    if element == i32:
        return Reason(
            Code.OP_ELEMENT_TYPE, f"elements are compared in f32, which {element} exceeds"
        )
    if 2 * size > EXACT:
        return Reason(Code.OP_SIZE, f"lines up to {EXACT // 2} elements lower, got {size}")
    if plan(size, k, machine) is None:
        limit = (machine.sbuf_bytes * 3 // 4 - 13 * SHORTEST) // 37
        return Reason(Code.OP_SIZE, f"the best {limit} of a line lower, got {k}")
    return None


def select(
    context: Context, source: View, axis: int, order: Order, places: View, values: View | None
) -> None:
    """The best elements along an axis, as many as `places` has there; `places` is of i32."""
    e, size, k = context.e, source.shape[axis], places.shape[axis]
    given = (source, places) if values is None else (source, places, values)
    lines = lines_along(axis, *given)
    fit = plan(size, k, context.machine)
    assert fit is not None, "why_not_selected says so"
    room = context.machine.sbuf_bytes * 3 // 4
    limit = min(MAX_WIDTH // fit.width, room // (13 * fit.width + 24 * k))
    for block in lines.blocks(e, max(1, limit)):
        one = _Selection(context, lines, block, order, fit, k)
        one.run(size)
        one.store_places(size, lines.views[1])
        if values is not None:
            one.store_values(size, lines.views[2])


class _Selection:
    """One tile of lines."""

    def __init__(
        self, context: Context, lines: Lines, block: Region, order: Order, fit: Plan, k: int
    ) -> None:
        self.context, self.e = context, context.e
        self.lines, self.block, self.order, self.fit, self.k = lines, block, order, fit, k
        self.floats = lines.views[0].element in FLOATS
        self.x, self.ranks, self.work = (self._block(fit.width) for _ in range(3))
        self.mark = Block.of(self.e, block, fit.width, ui8)
        self.peaks, self.found = self._block(k), self._block(k)

    def _block(self, width: int) -> Block:
        return Block.of(self.e, self.block, width, f32)

    def _number(self, value: float) -> Block:
        """A number in one element of each line."""
        block = self._block(1)
        self.e.emit(nc.MemsetOp, fields={"value": value}, dst=block.column(0))
        return block

    def run(self, size: int) -> None:
        """Fill `peaks` and `found`."""
        carry, least, zero = self.fit.carry, self._number(-inf), self._number(0.0)
        beyond = self._number(inf if self.order.nan_first else -inf)
        if carry:
            for block, value in ((self.x, -inf), (self.ranks, 0.0)):
                self.e.emit(nc.MemsetOp, fields={"value": value}, dst=block.columns(0, carry))
        for part in self.e.tiles(size, self.fit.part):
            self._load(part, size, beyond)
            for step in self.e.tiles(self.k, 1):
                self._take(step.start, carry + part.size, least, zero)
            if carry:
                for best, kept in ((self.peaks, self.x), (self.found, self.ranks)):
                    self._copy(kept.columns(0, carry), best.columns(0, carry))

    def _load(self, part: Tile, size: int, beyond: Block) -> None:
        """Elements and their ranks; with the sign that makes the best one the largest."""
        e, carry, n = self.e, self.fit.carry, part.size
        region, source = self.lines.part(self.block, part.start, n), self.lines.views[0]
        x, ranks = self.x.columns(carry, n), self.ranks.columns(carry, n)
        work, mark = self.work.columns(0, n), self.mark.columns(0, n)
        e.emit(nc.DmaOp, dst=x, src=region.of(source))
        # 1, 2, … where the last of equal elements is better, else size, size - 1, …
        counting = ramp(self.context, size + 1, f32)
        shape, still = (*self.lines.kept, size), (0,) * len(self.lines.kept)
        rising = self.order.last
        step, start = (1, 1) if rising else (-1, size)
        places = View(counting.buffer, shape, (*still, step), start)
        e.emit(nc.DmaOp, dst=ranks, src=region.of(places))
        if self.floats:
            self._tensor("is_equal", mark, x, x)  # 0 for NaN
            scale = -size if self.order.nan_first else size
            self._scalar(work, mark, "mult", scale, "add", size if self.order.nan_first else 0)
            self._tensor("add", ranks, ranks, work)
            self._scalar(mark, mark, "is_equal", 0)
        if not self.order.largest:
            self._scalar(x, x, "mult", -1)
        if self.floats:
            self._where(mark, x, beyond.spread(0, n))

    def _take(self, step: Affine, n: int, least: Block, zero: Block) -> None:
        """The best of `n` elements of each line, which loses its place."""
        x, ranks = self.x.columns(0, n), self.ranks.columns(0, n)
        work, mark = self.work.columns(0, n), self.mark.columns(0, n)
        self._largest(self.peaks.column(step), x)
        self._tensor("is_equal", work, x, self.peaks.spread(step, n))
        self._tensor("mult", work, work, ranks)
        self._largest(self.found.column(step), work)
        if self.k > 1:
            self._tensor("is_equal", mark, ranks, self.found.spread(step, n))
            self._where(mark, x, least.spread(0, n))
            self._where(mark, ranks, zero.spread(0, n))

    def store_places(self, size: int, target: View) -> None:
        """Ranks become places."""
        k, found = self.k, self.found.columns(0, self.k)
        high, place = self._block(k), Block.of(self.e, self.block, k, i32)
        self._scalar(high.columns(0, k), found, "is_gt", size, "mult", size)
        self._tensor("subtract", high.columns(0, k), found, high.columns(0, k))
        scale, shift = (1, -1) if self.order.last else (-1, size)
        self._scalar(place.columns(0, k), high.columns(0, k), "mult", scale, "add", shift)
        self._store(target, place)

    def store_values(self, size: int, target: View) -> None:
        """Peaks with their sign, and NaN where its class of ranks says so."""
        k, peaks = self.k, self.peaks.columns(0, self.k)
        if not self.order.largest:
            self._scalar(peaks, peaks, "mult", -1, "add", 0)  # no zero turns negative
        if self.floats:
            mark, nan = Block.of(self.e, self.block, k, ui8), self._number(inf)
            self._scalar(nan.column(0), nan.column(0), "mult", 0)
            above = "is_gt" if self.order.nan_first else "is_le"
            self._scalar(mark.columns(0, k), self.found.columns(0, k), above, size)
            self._where(mark.columns(0, k), peaks, nan.spread(0, k))
        self._store(target, self.peaks)

    def _store(self, target: View, block: Block) -> None:
        region = self.lines.part(self.block, Affine(0), self.k)
        self.e.emit(nc.DmaOp, dst=region.of(target), src=block.columns(0, self.k))

    # -- Instructions -------------------------------------------------------------------------

    def _tensor(self, op: str, dst: Ref, lhs: Ref, rhs: Ref) -> None:
        self.e.emit(nc.TensorTensorOp, fields={"op": op}, dst=dst, lhs=lhs, rhs=rhs)

    def _scalar(
        self,
        dst: Ref,
        src: Ref,
        op0: str,
        scalar0: float,
        op1: str | None = None,
        scalar1: float = 0,
    ) -> None:
        fields: dict[str, object] = {"op0": op0, "scalar0": float(scalar0)}
        if op1 is not None:
            fields |= {"op1": op1, "scalar1": float(scalar1)}
        self.e.emit(nc.TensorScalarOp, fields=fields, dst=dst, src=src)

    def _largest(self, dst: Ref, src: Ref) -> None:
        self.e.emit(nc.ReduceOp, fields={"op": "max", "axes": 1}, dst=dst, src=src)

    def _where(self, mark: Ref, dst: Ref, src: Ref) -> None:
        self.e.emit(nc.CopyPredicatedOp, dst=dst, src=src, predicate=mark)

    def _copy(self, dst: Ref, src: Ref) -> None:
        self.e.emit(nc.CopyOp, dst=dst, src=src)
