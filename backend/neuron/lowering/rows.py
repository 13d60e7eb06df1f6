"""Rows of a table by index: 128 indices on the partitions, their rows moved by indirect DMA.

The DMA checks every index: one that is out of range stops the program with its value, and a
negative one counts from the end. So no lowering here reads or writes outside a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from xdsl.dialects.builtin import i32
from xdsl.ir import Attribute, SSAValue

from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import Affine, Emitter, OnChip, Ref, merged
from ranvier.backend.neuron.lowering.views import (
    Region,
    View,
    load,
    merge_jointly,
    regions,
    store,
)
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nc.access import DRAM_DIMS
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of, tensor

MAX_ROW = 8 << 10
"""Elements of a row that are on chip at once."""
EXACT = 1 << 24
"""Whole numbers up to here are exact in f32, in which engines compute."""


@dataclass(frozen=True)
class RowTile:
    """Some indices on chip, and what belongs to them."""

    region: Region
    """In the space of (outer dimensions, indices, elements of a row)."""
    index: OnChip
    table: Ref
    """The rows that an index may name."""
    rows: View
    """The tensor with one row for each index, in the space of the region."""


def row_tiles(
    context: Context,
    table: View,
    picks: View,
    rows: View,
    *,
    one_by_one: bool = False,
    longest: int = MAX_ROW,
) -> Iterator[RowTile]:
    """Cut the indices `picks[outer…, n]` into tiles, for a table of `[outer…, size, row…]`.

    `rows` is `[outer…, n, elements of a row]`. The table is `reachable`; rows that exceed the chip
    are cut too.
    """
    axis = len(picks.shape) - 1
    count, length = rows.shape[axis:]
    inside = merged(list(zip(table.strides, table.shape, strict=True))[axis + 1 :])
    outer, (t, p, r) = merge_jointly(
        table.shape[:axis], [view.strides[:axis] for view in (table, picks, rows)]
    )
    shape, place = (*outer, count, length), len(outer)
    index_view = View(picks.buffer, shape, (*p, picks.strides[axis], 0), picks.offset)
    row_view = View(rows.buffer, shape, (*r, *rows.strides[axis:]), rows.offset)
    partition = None if one_by_one else place
    for region in regions(context.e, shape, partition, (place + 1,), longest):
        index = load(context.e, Region(region.starts, region.sizes, partition, ()), index_view)
        start = Affine(table.offset) + region.starts[-1] * inside[-1][0]
        for position, stride in zip(region.starts[:place], t, strict=True):
            start = start + position * stride
        cut = inside if region.width == length else ((inside[-1][0], region.width),)
        whole = Ref(table.buffer, start, ((table.strides[axis], table.shape[axis]), *cut))
        yield RowTile(region, index, whole, row_view)


def gather_rows(context: Context, target: View, table: View, picks: View) -> None:
    """`target[outer…, n] = table[outer…, picks[outer…, n]]`, the rows of `target` flat."""
    e = context.e
    table = reachable(context, table, len(picks.shape))
    for tile in row_tiles(context, table, picks, target):
        out = e.sbuf(tile.region.partitions, tile.region.width, table.element)
        e.emit(nc.GatherOp, dst=out.ref(), src=tile.table, index=tile.index.ref())
        store(e, tile.region, tile.rows, out)


def reachable(context: Context, table: View, row_from: int) -> View:
    """The table, copied where its rows have more strides than a transfer, or must be cut."""
    inner = list(zip(table.strides, table.shape, strict=True))[row_from:]
    dims, length = merged(inner), prod(table.shape[row_from:])
    strided = len(dims) >= DRAM_DIMS or (length > MAX_ROW and len(dims) > 1)
    return context.copied(table) if strided else table


def joined(context: Context, view: View, shape: Sequence[int]) -> View:
    """The elements of a view under another shape, copied where strides cannot say it."""
    if (seen := view.reshaped(shape)) is not None:
        return seen
    return View.whole(context.copied(view).buffer, shape)


def home(context: Context, value: SSAValue, shape: Sequence[int]) -> View:
    """A new home for a value, under another shape."""
    view = context.define(value).reshaped(shape)
    assert view is not None, "a home is contiguous"
    return view


def flat_indices(context: Context, tuples: View, sizes: Sequence[int]) -> View:
    """Index tuples along the last dimension as row-major indices of `sizes`.

    Each part is looked up in a table of the offsets that it stands for: that checks its own range,
    and counts from the end where it is negative.
    """
    shape, parts = tuples.shape[:-1], len(sizes)
    columns = joined(context, tuples, (prod(shape), parts))
    if parts == 1:
        return joined(context, columns.sliced((0, 0), (prod(shape), 1), (1, 1)), shape)
    e = context.e
    flat = View.whole(e.dram(prod(shape), i32), (prod(shape), 1))
    offsets = [ramp(context, size, i32, prod(sizes[part + 1 :])) for part, size in enumerate(sizes)]
    for region in regions(e, (prod(shape), 1), 0, (), 1):
        total: OnChip | None = None
        for part, table in enumerate(offsets):
            column = columns.sliced((0, part), (prod(shape), 1), (1, 1))
            index, found = load(e, region, column), e.sbuf(region.partitions, 1, i32)
            rows = Ref(table.buffer, Affine(0), ((1, sizes[part]), (1, 1)))
            e.emit(nc.GatherOp, dst=found.ref(), src=rows, index=index.ref())
            total = found if total is None else added(e, total, found)
        assert total is not None
        store(e, region, flat, total)
    return joined(context, flat, shape)


def indices_by_step(
    context: Context, values: View, steps: int, compute: Callable[[OnChip, OnChip], OnChip]
) -> View:
    """Indices `[batch, step]`, computed of a value for each batch and the number of each step.

    `compute` takes tiles of `[step, batch]` and `[step, 1]`, both i32, and gives one of the former.
    """
    e, shape = context.e, (steps, values.size)
    home = View.whole(e.dram(prod(shape), i32), (values.size, steps))
    numbers = replace(ramp(context, steps, i32), shape=shape, strides=(1, 0))
    spread = replace(values, shape=shape, strides=(0, values.strides[0]))
    for region in regions(e, shape, 0, (1,), MAX_ROW // 8):
        number = load(e, replace(region, free=()), numbers)
        store(e, region, home.transposed((1, 0)), compute(load(e, region, spread), number))
    return home


def added(e: Emitter, lhs: OnChip, rhs: OnChip) -> OnChip:
    """The sum of two tiles of whole numbers, exact up to `EXACT`."""
    out = e.sbuf(lhs.partitions, lhs.width, lhs.element)
    e.emit(nc.TensorTensorOp, fields={"op": "add"}, dst=out.ref(), lhs=lhs.ref(), rhs=rhs.ref())
    return out


def ramp(context: Context, size: int, element: Attribute, step: int = 1) -> View:
    """A weight of `0, step, 2 * step, …`."""

    def build(ones: SSAValue) -> list[TensorOp]:
        count = nn.CumSumOp(ones, axis=0, exclusive=True, reverse=False)
        scale = nn.ConstantOp(np.full((), step, dtype_of(element)))
        return [count, scale, nn.MulOp(count.result, scale.result)]

    return context.ones_weight(tensor((size,), element), f"ramp.{step}", build)


def why_not_exact(what: str, size: int) -> Reason | None:
    """Why positions below `size` are not computed: they pass through f32."""
    if size <= EXACT:
        return None
    return Reason(Code.OP_SIZE, f"{what} up to {EXACT} lower, got {size}")


def why_not_i32(indices: SSAValue) -> Reason | None:
    """Why indices are not read: the machine has no wider integer than i32."""
    if (element := element_of(indices)) == i32:
        return None
    return Reason(Code.OP_ELEMENT_TYPE, f"indices of i32 lower, got {element}")
