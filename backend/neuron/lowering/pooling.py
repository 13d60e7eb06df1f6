"""Pooling: channels on the partitions, each window reduced by one strided tensor_reduce."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip, Tile, merged
from ranvier.backend.neuron.lowering.registry import Lowering, register
from ranvier.backend.neuron.lowering.views import (
    Region,
    View,
    merge_jointly,
    padded_copy,
    store,
    tile_of,
)
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.access import MAX_ELEMENTS
from ranvier.dialects.nc.types import PARTITIONS, Space
from ranvier.dialects.nn.pooling import PoolOp
from ranvier.dialects.nn.types import TensorOp, shape_of, tensor

STRIP = 8 << 10
"""Elements per partition of the padded image that are on chip at once."""


@dataclass(frozen=True)
class Window:
    """A 2-D window; 1-D has a height of 1."""

    taps: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    low: tuple[int, int]
    high: tuple[int, int]

    def reach(self, axis: int, positions: int) -> int:
        """Elements along an axis that so many windows cover."""
        extent = (self.taps[axis] - 1) * self.dilations[axis] + 1
        return (positions - 1) * self.strides[axis] + extent


def window_of(op: PoolOp) -> Window:
    padding, rank = ints(op.padding), len(ints(op.kernel))

    def pair(values: tuple[int, ...], fill: int) -> tuple[int, int]:
        return (fill, values[0]) if rank == 1 else (values[0], values[1])

    return Window(
        pair(ints(op.kernel), 1),
        pair(ints(op.strides), 1),
        pair(ints(op.dilations), 1),
        pair(padding[:rank], 0),
        pair(padding[rank:], 0),
    )


@register
class LowerPool(Lowering[PoolOp]):
    """Maximum and mean; padding is memset to minus infinity or 0."""

    ops = (nn.MaxPoolOp, nn.AvgPoolOp)

    def why_unsupported(self, op: PoolOp, machine: Machine) -> Reason | None:
        if len(ints(op.kernel)) == 3:
            return Reason(Code.OP_RANK, "windows of 1 or 2 dimensions lower, got 3")
        w = window_of(op)
        if (cover := w.reach(0, 1) * w.reach(1, 1)) > STRIP:
            return Reason(Code.OP_SIZE, f"windows over {STRIP} elements lower, got {cover}")
        return None

    def lower(self, op: PoolOp, context: Context) -> None:
        mean = isinstance(op, nn.AvgPoolOp)
        pool = _Pool(context, window_of(op), "add" if mean else "max", 0.0 if mean else -inf)
        x, out = context.view(op.operand), context.define(op.result)
        if len(x.shape) == 3:
            x, out = _with_height(x), _with_height(out)
        scale = _divisor(op, context) if isinstance(op, nn.AvgPoolOp) else None
        pool.emit(x, out, scale)


def _with_height(view: View) -> View:
    strides = (*view.strides[:2], 0, view.strides[2])
    return View(view.buffer, (*view.shape[:2], 1, view.shape[2]), strides, view.offset)


def _divisor(op: nn.AvgPoolOp, context: Context) -> float | View:
    """What sums are multiplied by: one number, or one for each position."""
    taps = prod(ints(op.kernel))
    if op.get("count_padding") or not any(ints(op.padding)):
        return 1.0 / taps

    def build(ones: SSAValue) -> list[TensorOp]:
        # The mean of ones over all taps is the share of taps inside the image.
        share = nn.AvgPoolOp(
            ones,
            kernel=op.kernel,
            strides=op.strides,
            padding=op.padding,
            dilations=op.dilations,
            count_padding=True,
        )
        full = nn.ConstantOp(np.full((), taps, np.float32))
        counted = nn.MulOp(share.result, full.result)
        return [share, full, counted, nn.ReciprocalOp(counted.result)]

    spatial = shape_of(op.operand)[2:]
    source = tensor((1, 1, *spatial), f32)
    view = context.ones_weight(source, f"divisor.{op.properties!r}", build)
    return view if len(spatial) == 2 else _with_height(view)


@dataclass(frozen=True)
class _Pool:
    context: Context
    window: Window
    alu: str
    fill: float

    @property
    def e(self) -> Emitter:
        return self.context.e

    def emit(self, x: View, out: View, scale: float | View | None) -> None:
        w, e = self.window, self.e
        rows, columns = out.shape[2:]
        while rows > 1 and w.reach(0, rows) * w.reach(1, columns) > STRIP:
            rows = -(-rows // 2)
        while columns > 1 and (
            w.reach(0, rows) * w.reach(1, columns) > STRIP
            or columns * prod(w.taps) > MAX_ELEMENTS[Space.SBUF]
        ):
            columns = -(-columns // 2)
        margins = (w.low, w.high)
        if (rows, columns) != out.shape[2:] and any(w.low + w.high):
            x = padded_copy(self.context, x, (0, 0, *w.low), (0, 0, *w.high), self.fill)
            margins = ((0, 0), (0, 0))
        outer, (xs, os) = merge_jointly(x.shape[:2], (x.strides[:2], out.strides[:2]))
        outer, xs, os = (outer, xs, os) if outer else ((1,), (0,), (0,))
        x = View(x.buffer, (*outer, *x.shape[2:]), (*xs, *x.strides[2:]), x.offset)
        out = View(out.buffer, (*outer, *out.shape[2:]), (*os, *out.strides[2:]), out.offset)
        if len(outer) == 1:
            x, out = _with_batch(x), _with_batch(out)
        for n in e.tiles(x.shape[0], 1):
            for c in e.tiles(x.shape[1], tile_of(x.shape[1], PARTITIONS)):
                for row in e.tiles(out.shape[2], rows):
                    for column in e.tiles(out.shape[3], columns):
                        strip = self._load(x, (n, c, row, column), margins)
                        self._reduce(strip, out, (n, c, row, column), scale)

    def _load(
        self,
        x: View,
        at: tuple[Tile, Tile, Tile, Tile],
        margins: tuple[tuple[int, int], tuple[int, int]],
    ) -> OnChip:
        w, e = self.window, self.e
        n, c, row, column = at
        low, high = margins
        tall, wide = w.reach(0, row.size), w.reach(1, column.size)
        tile = e.sbuf(c.size, tall * wide, x.element)
        if any(low + high):
            e.emit(nc.MemsetOp, fields={"value": self.fill}, dst=tile.ref())
        height, length = min(tall - low[0], x.shape[2]), min(wide - low[1], x.shape[3])
        if min(height, length) <= 0:  # every window lies in the margin
            return tile
        starts = (n.start, c.start, row.start * w.strides[0], column.start * w.strides[1])
        onto = merged([(wide, height), (1, length)])
        e.emit(
            nc.DmaOp,
            dst=tile.ref(low[0] * wide + low[1], onto),
            src=x.at(starts, [(1, c.size), (2, height), (3, length)]),
        )
        return tile

    def _reduce(
        self,
        strip: OnChip,
        out: View,
        at: tuple[Tile, Tile, Tile, Tile],
        scale: float | View | None,
    ) -> None:
        w, e = self.window, self.e
        n, c, row, column = at
        wide = w.reach(1, column.size)
        most = MAX_ELEMENTS[Space.SBUF] // (column.size * prod(w.taps))
        for y in e.tiles(row.size, tile_of(row.size, max(1, min(most, row.size)))):
            dims = (
                (w.strides[0] * wide, y.size),
                (w.strides[1], column.size),
                (w.dilations[0] * wide, w.taps[0]),
                (w.dilations[1], w.taps[1]),
            )
            width = y.size * column.size
            element = f32 if scale is not None else out.element
            pooled = e.sbuf(c.size, width, element)
            e.emit(
                nc.ReduceOp,
                fields={"op": self.alu, "axes": 2},
                dst=pooled.ref(),
                src=strip.ref(y.start * (w.strides[0] * wide), dims),
            )
            starts = (n.start, c.start, row.start + y.start, column.start)
            region = Region(starts, (1, c.size, y.size, column.size), 1, (2, 3))
            store(e, region, out, self._scaled(pooled, out, region, scale))

    def _scaled(
        self, pooled: OnChip, out: View, region: Region, scale: float | View | None
    ) -> OnChip:
        e = self.e
        if scale is None:
            return pooled
        result = e.sbuf(pooled.partitions, pooled.width, out.element)
        if not isinstance(scale, View):
            fields: dict[str, object] = {"op0": "mult", "scalar0": scale}
            e.emit(nc.TensorScalarOp, fields=fields, dst=result.ref(), src=pooled.ref())
            return result
        factors = e.sbuf(pooled.partitions, pooled.width, scale.element)
        spread = scale.broadcast(out.shape)
        e.emit(nc.DmaOp, dst=factors.ref(), src=region.of(spread))
        e.emit(
            nc.TensorTensorOp,
            fields={"op": "mult"},
            dst=result.ref(),
            lhs=pooled.ref(),
            rhs=factors.ref(),
        )
        return result


def _with_batch(view: View) -> View:
    return View(view.buffer, (1, *view.shape), (0, *view.strides), view.offset)
