"""Reductions: kept dimensions on the partitions, reduced ones inside, in f32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod
from typing import ClassVar

from xdsl.dialects.builtin import f32

from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.registry import Lowering, register
from ranvier.backend.neuron.lowering.views import (
    Region,
    View,
    load,
    merge_jointly,
    regions,
    rows_of,
    store,
)
from ranvier.dialects import nc, nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.access import FREE_DIMS
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.reduction import ReduceOp

MAX_WIDTH = 4096
"""Elements per partition that are reduced at once: 16 KiB in f32."""
_NEUTRAL = {"add": 0.0, "max": -inf, "min": inf}


@dataclass(frozen=True)
class RowSpace:
    """Dimensions that a row op keeps, merged, and those inside a row, merged."""

    kept: tuple[int, ...]
    inner: tuple[int, ...]
    views: tuple[View, ...]
    """The views over `kept + inner`; a view without the inner dimensions has size 1 there."""

    @property
    def partition(self) -> int:
        return max(range(len(self.kept)), key=lambda d: (min(self.kept[d], PARTITIONS), d))


def row_space(views: Sequence[View], axes: Sequence[int]) -> RowSpace:
    """Split equal-rank views into kept dimensions and rows along `axes`."""
    rank = len(views[0].shape)
    kept_dims = [d for d in range(rank) if d not in axes]
    shape = views[0].shape

    def merge(dims: Sequence[int]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        strides = [tuple(view.strides[d] for d in dims) for view in views]
        sizes, merged = merge_jointly(tuple(shape[d] for d in dims), strides)
        return (sizes, merged) if sizes else ((1,), [(0,) for _ in views])

    kept, outer = merge(kept_dims)
    inner, rows = merge(axes)
    found = [
        View(view.buffer, kept + inner, own + row, view.offset)
        for view, own, row in zip(views, outer, rows, strict=True)
    ]
    return RowSpace(kept, inner, tuple(found))


@register
class LowerReduce(Lowering[ReduceOp]):
    """tensor_reduce over tiles of rows; long rows accumulate tile by tile."""

    ALU: ClassVar[dict[type[ReduceOp], str]] = {
        nn.ReduceSumOp: "add",
        nn.ReduceMeanOp: "add",
        nn.ReduceMaxOp: "max",
        nn.ReduceMinOp: "min",
    }
    ops = tuple(ALU)

    def lower(self, op: ReduceOp, context: Context) -> None:
        view, axes = context.view(op.operand), ints(op.axes)
        result = context.define(op.result)
        kept = tuple(1 if d in axes else size for d, size in enumerate(view.shape))
        target = result.reshaped(kept)
        assert target is not None, "dimensions of 1 fit any strides"
        count = prod(view.shape[d] for d in axes)
        scale = 1.0 / count if isinstance(op, nn.ReduceMeanOp) else 1.0
        reduce_view(context, view, target, axes, self.ALU[type(op)], scale)


def reduce_view(
    context: Context, view: View, target: View, axes: Sequence[int], alu: str, scale: float
) -> None:
    """Reduce `view` along `axes` into `target`, whose dimensions are 1 there, times `scale`."""
    space = row_space((view, target), axes)
    source, into = space.views
    if prod(space.kept) == 1 and (rows := rows_of(space.inner[-1])) > 1 < prod(space.inner) // rows:
        # One long row: 128 partial sums first, then their sum.
        width = space.inner[-1] // rows
        split = source.reshaped((*space.kept, *space.inner[:-1], rows, width))
        if split is not None:
            partial = View.whole(context.e.dram(rows, f32), (rows, 1))
            folded = split.transposed(
                (len(split.shape) - 2, *range(len(split.shape) - 2), len(split.shape) - 1)
            )
            ones = (rows,) + (1,) * (len(folded.shape) - 1)
            column = partial.reshaped(ones)
            assert column is not None
            reduce_view(context, folded, column, range(1, len(ones)), alu, 1.0)
            reduce_view(
                context, partial, View(into.buffer, (1, 1), (0, 0), into.offset), (0,), alu, scale
            )
            return
    e = context.e
    free = range(len(space.kept), len(space.kept) + len(space.inner))
    for kept in regions(e, space.kept, space.partition, [], 1):
        total = _reduce_rows(e, kept, source, space, list(free), alu)
        out = e.sbuf(total.partitions, 1, target.element)
        fields: dict[str, object] = {"op0": "mult", "scalar0": scale}
        if scale == 1.0:
            e.emit(nc.CopyOp, dst=out.ref(), src=total.ref())
        else:
            e.emit(nc.TensorScalarOp, fields=fields, dst=out.ref(), src=total.ref())
        store(
            e,
            kept,
            View(into.buffer, space.kept, into.strides[: len(space.kept)], into.offset),
            out,
        )


def _reduce_rows(
    e: Emitter, kept: Region, source: View, space: RowSpace, free: list[int], alu: str
) -> OnChip:
    """The reduction of some rows, one f32 for each partition."""
    total = e.sbuf(kept.partitions, 1, f32)
    whole = prod(space.inner) <= MAX_WIDTH and len(space.inner) <= FREE_DIMS
    if not whole:
        e.emit(nc.MemsetOp, fields={"value": _NEUTRAL[alu]}, dst=total.ref())
    for part in regions(e, space.inner, None, range(len(space.inner)), MAX_WIDTH):
        region = Region(
            kept.starts + part.starts, kept.sizes + part.sizes, kept.partition, tuple(free)
        )
        tile = load(e, region, source)
        reduced = total if whole else e.sbuf(kept.partitions, 1, f32)
        fields: dict[str, object] = {"op": alu, "axes": 1}
        e.emit(nc.ReduceOp, fields=fields, dst=reduced.ref(), src=tile.ref())
        if not whole:
            step: dict[str, object] = {"op": alu}
            e.emit(
                nc.TensorTensorOp,
                fields=step,
                dst=total.ref(),
                lhs=total.ref(),
                rhs=reduced.ref(),
            )
    return total
