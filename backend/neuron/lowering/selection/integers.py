"""The best i32 elements of lines: their upper halves decide, then their lower ones.

Halves of 16 bits are exact in f32. Bits are turned so that the order of both halves, taken as
numbers that are not negative, is that of the elements, or its reverse for the smallest.
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import i32

from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import Affine, Tile
from ranvier.backend.neuron.lowering.lines import Block, Lines
from ranvier.backend.neuron.lowering.selection.floats import Selection
from ranvier.backend.neuron.lowering.selection.plan import Order, Plan
from ranvier.backend.neuron.lowering.views import Region, View
from ranvier.dialects import nc

HALF = 1 << 16


class IntegerSelection(Selection):
    """`x` and `peaks` are upper halves; lower halves stand beside them, 1 above their number."""

    LEAST: ClassVar[float] = -1.0

    def __init__(
        self, context: Context, lines: Lines, block: Region, order: Order, fit: Plan, k: int
    ) -> None:
        super().__init__(context, lines, block, order, fit, k)
        self.low, self.low_peaks = self._block(fit.width), self._block(k)
        self.raw = Block.of(self.e, block, max(fit.part, k), i32)
        self.turn = -(2**31) if order.largest else 2**31 - 1

    def carried(self) -> list[tuple[Block, Block]]:
        return [*super().carried(), (self.low_peaks, self.low)]

    def run(self, size: int) -> None:
        if carry := self.fit.carry:
            self.e.emit(nc.MemsetOp, fields={"value": 0.0}, dst=self.low.columns(0, carry))
        super().run(size)

    def _load(self, part: Tile, size: int) -> None:
        carry, n = self.fit.carry, part.size
        raw = self.raw.columns(0, n)
        self._rank(part, size)
        for half, step in (
            (self.x, ("logical_shift_right", 16)),
            (self.low, ("bitwise_and", HALF - 1)),
        ):
            self._bring(raw, part)
            self._scalar(raw, raw, "bitwise_xor", self.turn, *step)
            self._copy(half.columns(carry, n), raw)
        low = self.low.columns(carry, n)
        self._scalar(low, low, "add", 1)

    def _take(self, step: Affine, n: int) -> None:
        x, low, work = (block.columns(0, n) for block in (self.x, self.low, self.work))
        self._largest(self.peaks.column(step), x)
        self._tensor("is_equal", work, x, self.peaks.spread(step, n))
        self._tensor("mult", work, work, low)
        self._largest(self.low_peaks.column(step), work)
        self._tensor("is_equal", work, work, self.low_peaks.spread(step, n))
        self._find(step, n)

    def store_values(self, size: int, target: View) -> None:
        """Both halves as one pattern, its bits turned back."""
        high, low = Block.of(self.e, self.block, self.k, i32), self.raw
        upper, lower = high.columns(0, self.k), low.columns(0, self.k)
        self._copy(upper, self.peaks.columns(0, self.k))
        self._scalar(upper, upper, "logical_shift_left", 16, "bitwise_xor", self.turn)
        self._scalar(lower, self.low_peaks.columns(0, self.k), "subtract", 1)
        self._tensor("bitwise_xor", upper, upper, lower)
        self._store(target, high)
