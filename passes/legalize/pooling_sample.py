"""Sampling at any places by gathers of rows: an operand's channels are one row per place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.constant import DENSE_LIMIT
from ranvier.dialects.nn.pooling_resize import CUBIC
from ranvier.dialects.nn.types import TensorOp, element_of, shape_of
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
    slice_along,
)

EXACT = 1 << 24
"""Whole numbers up to this are exact in f32."""


class GridSampleByGathers(Decomposition[nn.GridSampleOp]):
    """`grid_sample(x, grid) -> sum of gather(rows of x, tap) * weight(tap)`

    2 taps per dimension for linear, 4 for cubic, 1 for nearest. A tap beyond the operand reads its
    edge, and weighs nothing where padding is zeros.
    """

    wide = True

    def decompose(self, op: nn.GridSampleOp, emit: Emitter) -> SSAValue | None:
        n, channels, *image = shape_of(op.operand)
        if n * prod(image) > EXACT or 4 * n > DENSE_LIMIT:
            return None
        last = (0, *range(2, 2 + len(image)), 1)
        rows = emit(nn.TransposeOp(op.operand, permutation=last))
        table = emit(nn.ReshapeOp(rows, shape=(n * prod(image), channels)))
        axes = [_Axis(op, axis, emit).taps() for axis in range(len(image))]
        total: SSAValue | None = None
        for taps in product(*axes):
            part = self._part(op, table, taps, emit)
            total = part if total is None else emit(nn.AddOp(total, part))
        assert total is not None, "there is a tap"
        out = shape_of(op.result)
        apart = emit(nn.ReshapeOp(total, shape=(n, prod(out[2:]), channels)))
        turned = emit(nn.TransposeOp(apart, permutation=(0, 2, 1)))
        return emit(nn.ReshapeOp(turned, shape=out))

    def _part(
        self, op: nn.GridSampleOp, table: SSAValue, taps: Sequence[Tap], emit: Emitter
    ) -> SSAValue:
        """What one tap of each axis contributes, a row for each place."""
        n, _, *image = shape_of(op.operand)
        first = np.arange(n, dtype=np.float32).reshape(n, 1) * prod(image)
        index, step = emit(nn.ConstantOp(first)), prod(image)
        for tap, size in zip(taps, image, strict=True):
            step //= size
            index = emit(nn.AddOp(index, emit(nn.MulOp(tap.place, emit.scalar(step, index)))))
        places = prod(shape_of(index))
        picks = emit(nn.ReshapeOp(emit(nn.CastOp(index, i32)), shape=(places,)))
        row = emit(nn.GatherOp(table, picks, axis=0))
        weight: SSAValue | None = None
        for tap in taps:
            if tap.weight is not None:
                weight = tap.weight if weight is None else emit(nn.MulOp(weight, tap.weight))
        if weight is None:
            return row
        if element_of(weight) != element_of(row):
            weight = emit(nn.CastOp(weight, element_of(row)))
        return emit(nn.MulOp(row, emit(nn.ReshapeOp(weight, shape=(places, 1)))))


@dataclass(frozen=True)
class Tap:
    """Whole places along one axis, and what elements there are multiplied by, if not 1."""

    place: SSAValue
    weight: SSAValue | None


class _Axis:
    """The coordinates of one axis as `Nx(places)`, and what is computed of them."""

    def __init__(self, op: nn.GridSampleOp, axis: int, emit: Emitter) -> None:
        self.emit = emit
        self.size = shape_of(op.operand)[2 + axis]
        self.mode, self.padding = op.mode.data, op.padding.data
        self.corners: bool = op.get("align_corners")
        grid = shape_of(op.grid)
        part = slice_along(op.grid, len(grid) - 1, grid[-1] - 1 - axis, 1)
        flat = emit(nn.ReshapeOp(emit(part), shape=(grid[0], prod(grid[1:-1]))))
        self.coordinate = emit(nn.CastOp(flat, f32)) if element_of(flat) != f32 else flat

    def taps(self) -> list[Tap]:
        place = self._inside(self._place())
        if self.mode == "nearest":
            whole = self.emit(nn.RoundOp(place))
            return [Tap(self._read(whole), self._known(whole))]
        floor = self.emit(nn.FloorOp(place))
        share = self._binary(nn.SubOp, place, floor)
        reach = 1 if self.mode == "linear" else 2
        taps: list[Tap] = []
        for offset in range(1 - reach, 1 + reach):
            tap = self._binary(nn.AddOp, floor, offset)
            weight = self._weight(share, offset)
            known = self._known(tap)
            if known is not None:
                weight = self._binary(nn.MulOp, weight, known)
            taps.append(Tap(self._read(tap), weight))
        return taps

    def _binary(self, op: type[TensorOp], lhs: SSAValue | float, rhs: SSAValue | float) -> SSAValue:
        values = [
            self.emit.scalar(value, self.coordinate) if isinstance(value, int | float) else value
            for value in (lhs, rhs)
        ]
        return self.emit(op(*values))

    def _place(self) -> SSAValue:
        """The coordinate in elements."""
        from_low = self._binary(nn.AddOp, self.coordinate, 1)
        if self.corners:
            half = self._binary(nn.MulOp, from_low, 0.5)
            return self._binary(nn.MulOp, half, self.size - 1)
        twice = self._binary(nn.SubOp, self._binary(nn.MulOp, from_low, self.size), 1)
        return self._binary(nn.MulOp, twice, 0.5)

    def _inside(self, place: SSAValue) -> SSAValue:
        """The place that stands for one beyond the operand."""
        match self.padding:
            case "border":
                return self._clamped(place, 0, self.size - 1)
            case "reflection":
                return self._reflected(place)
            case _:  # so far out that every tap is outside
                return self._clamped(place, -3, self.size + 2)

    def _clamped(self, place: SSAValue, low: float, high: float) -> SSAValue:
        return self.emit(nn.ClampOp(place, low=float(low), high=float(high)))

    def _reflected(self, place: SSAValue) -> SSAValue:
        low, high = (0, self.size - 1) if self.corners else (-0.5, self.size - 0.5)
        if high == low:
            return self._binary(nn.MulOp, place, 0)
        period = 2 * (high - low)
        turns = self.emit(nn.FloorOp(self._binary(nn.MulOp, self._from(place, low), 1 / period)))
        rest = self._from(place, low)
        rest = self._binary(nn.SubOp, rest, self._binary(nn.MulOp, turns, period))
        back = self._binary(nn.SubOp, period, rest)
        return self._binary(nn.AddOp, self.emit(nn.MinOp(rest, back)), low)

    def _from(self, place: SSAValue, low: float) -> SSAValue:
        return self._binary(nn.SubOp, place, low) if low else place

    def _read(self, tap: SSAValue) -> SSAValue:
        """The element that is read for a whole place."""
        if self.padding == "reflection":
            tap = self._reflected(tap)
        return self._clamped(tap, 0, self.size - 1)

    def _known(self, tap: SSAValue) -> SSAValue | None:
        """1 inside the operand and 0 outside; None where nothing is outside."""
        if self.padding != "zeros":
            return None
        above = self._clamped(self._binary(nn.AddOp, tap, 1), 0, 1)
        below = self._clamped(self._binary(nn.SubOp, self.size, tap), 0, 1)
        return self._binary(nn.MulOp, above, below)

    def _weight(self, share: SSAValue, offset: int) -> SSAValue:
        """The kernel at the distance of a tap: `share` past its floor, `offset` after that."""
        distance = share if offset == 0 else self._binary(nn.SubOp, offset, share)
        if offset < 0:
            distance = self._binary(nn.SubOp, share, offset)
        if self.mode == "linear":
            return self._binary(nn.SubOp, 1, distance)
        near = offset in (0, 1)
        powers = (CUBIC + 2, -(CUBIC + 3), 0.0, 1.0)
        if not near:
            powers = (CUBIC, -5 * CUBIC, 8 * CUBIC, -4 * CUBIC)
        value = self._binary(nn.MulOp, distance, powers[0])
        for factor in powers[1:-1]:
            if factor:
                value = self._binary(nn.AddOp, value, factor)
            value = self._binary(nn.MulOp, value, distance)
        return self._binary(nn.AddOp, value, powers[-1])


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (GridSampleByGathers(),)
