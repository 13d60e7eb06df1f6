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

from math import inf
from typing import ClassVar

from xdsl.dialects.builtin import f32, i32

from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import Affine, Ref, Tile
from ranvier.backend.neuron.lowering.lines import Block, Lines
from ranvier.backend.neuron.lowering.registry import FLOATS
from ranvier.backend.neuron.lowering.rows import ramp
from ranvier.backend.neuron.lowering.selection.plan import Order, Plan
from ranvier.backend.neuron.lowering.views import Region, View
from ranvier.dialects import nc
from ranvier.dialects.nc.types import ui8


class Selection:
    """One tile of lines."""

    LEAST: ClassVar[float] = -inf
    """What stands where an element was taken away."""

    def __init__(
        self, context: Context, lines: Lines, block: Region, order: Order, fit: Plan, k: int
    ) -> None:
        self.context, self.e = context, context.e
        self.lines, self.block, self.order, self.fit, self.k = lines, block, order, fit, k
        self.floats = lines.views[0].element in FLOATS
        self.x, self.ranks, self.work = (self._block(fit.width) for _ in range(3))
        self.mark = Block.of(self.e, block, fit.width, ui8)
        self.peaks, self.found = self._block(k), self._block(k)
        self.least, self.zero = self._number(self.LEAST), self._number(0.0)
        self.beyond = self._number(inf if order.nan_first else -inf)

    def _block(self, width: int) -> Block:
        return Block.of(self.e, self.block, width, f32)

    def _number(self, value: float) -> Block:
        """A number in one element of each line."""
        block = self._block(1)
        self.e.emit(nc.MemsetOp, fields={"value": value}, dst=block.column(0))
        return block

    def run(self, size: int) -> None:
        """Fill `peaks` and `found`."""
        carry = self.fit.carry
        if carry:
            for block, value in ((self.x, self.LEAST), (self.ranks, 0.0)):
                self.e.emit(nc.MemsetOp, fields={"value": value}, dst=block.columns(0, carry))
        for part in self.e.tiles(size, self.fit.part):
            self._load(part, size)
            for step in self.e.tiles(self.k, 1):
                self._take(step.start, carry + part.size)
            if carry:
                for best, kept in self.carried():
                    self._copy(kept.columns(0, carry), best.columns(0, carry))

    def carried(self) -> list[tuple[Block, Block]]:
        """What a part hands on to the next, and where it goes."""
        return [(self.peaks, self.x), (self.found, self.ranks)]

    def _load(self, part: Tile, size: int) -> None:
        """Elements, with the sign that makes the best one the largest, and their ranks."""
        carry, n = self.fit.carry, part.size
        x, ranks = self.x.columns(carry, n), self.ranks.columns(carry, n)
        work, mark = self.work.columns(0, n), self.mark.columns(0, n)
        self._bring(x, part)
        self._rank(part, size)
        if self.floats:
            self._tensor("is_equal", mark, x, x)  # 0 for NaN
            scale = -size if self.order.nan_first else size
            self._scalar(work, mark, "mult", scale, "add", size if self.order.nan_first else 0)
            self._tensor("add", ranks, ranks, work)
            self._scalar(mark, mark, "is_equal", 0)
        if not self.order.largest:
            self._scalar(x, x, "mult", -1)
        if self.floats:
            self._where(mark, x, self.beyond.spread(0, n))

    def _bring(self, dst: Ref, part: Tile) -> None:
        """Load elements."""
        region, source = self.lines.part(self.block, part.start, part.size), self.lines.views[0]
        self.e.emit(nc.DmaOp, dst=dst, src=region.of(source))

    def _rank(self, part: Tile, size: int) -> None:
        """1, 2, … where the last of equal elements is better, else size, size - 1, …"""
        counting = ramp(self.context, size + 1, f32)
        shape, still = (*self.lines.kept, size), (0,) * len(self.lines.kept)
        step, start = (1, 1) if self.order.last else (-1, size)
        places = View(counting.buffer, shape, (*still, step), start)
        region = self.lines.part(self.block, part.start, part.size)
        dst = self.ranks.columns(self.fit.carry, part.size)
        self.e.emit(nc.DmaOp, dst=dst, src=region.of(places))

    def _take(self, step: Affine, n: int) -> None:
        """The best of `n` elements of each line, which loses its place."""
        x, work = self.x.columns(0, n), self.work.columns(0, n)
        self._largest(self.peaks.column(step), x)
        self._tensor("is_equal", work, x, self.peaks.spread(step, n))
        self._find(step, n)

    def _find(self, step: Affine, n: int) -> None:
        """The highest rank where `work` is 1, and its element taken away."""
        x, ranks = self.x.columns(0, n), self.ranks.columns(0, n)
        work, mark = self.work.columns(0, n), self.mark.columns(0, n)
        self._tensor("mult", work, work, ranks)
        self._largest(self.found.column(step), work)
        if self.k > 1:
            self._tensor("is_equal", mark, ranks, self.found.spread(step, n))
            self._where(mark, x, self.least.spread(0, n))
            self._where(mark, ranks, self.zero.spread(0, n))

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
