"""Ops that write elements by index: rows of a copy of the operand, by indirect DMA.

Without a reduction 128 rows are written at once; equal indices leave one of their updates. With
one, updates come one by one, as the definition has them: each reads its row, combines, writes it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod

from xdsl.dialects.builtin import bf16, f16, f32, i32

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context, machine_element
from ranvier.backend.neuron.lowering.elementwise_integer import (
    INTEGERS,
    Rule,
    add,
    larger,
    multiply,
    smaller,
)
from ranvier.backend.neuron.lowering.emitter import Affine, Emitter, OnChip, Ref
from ranvier.backend.neuron.lowering.indexing import axis_last, reached
from ranvier.backend.neuron.lowering.integer_math import IntegerMath
from ranvier.backend.neuron.lowering.registry import HELD, Lowering, register
from ranvier.backend.neuron.lowering.rows import (
    EXACT,
    MAX_ROW,
    flat_indices,
    indices_by_step,
    joined,
    ramp,
    row_tiles,
    why_not_exact,
    why_not_i32,
)
from ranvier.backend.neuron.lowering.views import View, copy_view, load, regions
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.indexing_scatter import ScatterOp
from ranvier.dialects.nn.types import element_of, is_float, shape_of

MAX_INTEGERS = 512
"""Elements of a row of integers, whose arithmetic takes some 20 tiles."""
RULES: dict[str, Rule] = {"add": add, "mul": multiply, "max": larger, "min": smaller}
ALU = {"add": "add", "mul": "mult", "max": "max", "min": "min"}
NARROW = (bf16, f16)


def why_not_combined(op: ScatterOp) -> Reason | None:
    """Why updates are not combined with what stands there."""
    element, reduction = element_of(op.operand), op.reduction.data
    if reduction == "none" or is_float(element) or element in INTEGERS:
        return None
    return Reason(Code.OP_ELEMENT_TYPE, f"reduction {reduction} takes numbers, got {element}")


def scattered(op: ScatterOp, context: Context) -> View:
    """A copy of the operand to write into: narrow floats are combined in f32."""
    shape, element = shape_of(op.operand), element_of(op.operand)
    sums = op.reduction.data != "none" and element in NARROW
    copy = (
        View.whole(context.e.dram(prod(shape), f32), shape) if sums else context.define(op.result)
    )
    copy_view(context.e, copy, context.view(op.operand))
    return copy


def scatter_rows(context: Context, table: View, picks: View, updates: View) -> None:
    """`table[outer…, picks[outer…, n]] = updates[outer…, n]`, the rows of `updates` flat."""
    for tile in row_tiles(context, table, picks, updates):
        rows = load(context.e, tile.region, tile.rows)
        context.e.emit(nc.ScatterOp, dst=tile.table, src=rows.ref(), index=tile.index.ref())


def combine_rows(context: Context, op: ScatterOp, table: View, picks: View, updates: View) -> None:
    """The same one by one, with what `op` makes of a row and its update."""
    e = context.e
    longest = MAX_ROW if is_float(element_of(op.operand)) else MAX_INTEGERS
    for tile in row_tiles(context, table, picks, updates, one_by_one=True, longest=longest):
        rows = load(e, tile.region, tile.rows)
        old, new = (e.sbuf(rows.partitions, rows.width, table.element) for _ in range(2))
        e.emit(nc.GatherOp, dst=old.ref(), src=tile.table, index=tile.index.ref())
        combine(e, op, old, rows, new)
        e.emit(nc.ScatterOp, dst=tile.table, src=new.ref(), index=tile.index.ref())


def combine(e: Emitter, op: ScatterOp, old: OnChip, update: OnChip, new: OnChip) -> None:
    reduction, element = op.reduction.data, element_of(op.operand)
    if is_float(element):
        step: dict[str, object] = {"op": ALU[reduction]}
        e.emit(nc.TensorTensorOp, fields=step, dst=new.ref(), lhs=old.ref(), rhs=update.ref())
        return
    math = IntegerMath(e, new, small=element != i32 and reduction != "mul")
    RULES[reduction](math, op, [math.widened(old), math.widened(update)], new)


def write(context: Context, op: ScatterOp, table: View, picks: View, updates: View) -> None:
    """Put the updates where they belong, or combine them with what stands there."""
    if op.reduction.data == "none":
        scatter_rows(context, table, picks, updates)
    else:
        combine_rows(context, op, table, picks, updates)


def finish(op: ScatterOp, context: Context, copy: View) -> None:
    """Round what was combined in f32."""
    if copy.element != machine_element(element_of(op.result)):
        copy_view(context.e, context.define(op.result), copy)


@register
class LowerScatterElements(Lowering[nn.ScatterElementsOp]):
    """Rows of one element, of a table for each place off the axis."""

    ops = (nn.ScatterElementsOp,)
    elements = HELD

    def why_unsupported(self, op: nn.ScatterElementsOp, machine: Machine) -> Reason | None:
        return why_not_i32(op.indices) or why_not_combined(op)

    def lower(self, op: nn.ScatterElementsOp, context: Context) -> None:
        axis, copy = int(op.get("axis")), scattered(op, context)
        picks, updates = context.view(op.indices), axis_last(context.view(op.updates), axis)
        table = reached(copy, axis, picks)
        single = replace(updates, shape=(*updates.shape, 1), strides=(*updates.strides, 0))
        write(context, op, table, axis_last(picks, axis), single)
        finish(op, context, copy)


@register
class LowerScatterNd(Lowering[nn.ScatterNdOp]):
    """Index tuples become rows of a table that joins the dimensions which they index."""

    ops = (nn.ScatterNdOp,)
    elements = HELD

    def why_unsupported(self, op: nn.ScatterNdOp, machine: Machine) -> Reason | None:
        rows = prod(shape_of(op.operand)[: shape_of(op.indices)[-1]])
        return (
            why_not_i32(op.indices) or why_not_exact("tables of rows", rows) or why_not_combined(op)
        )

    def lower(self, op: nn.ScatterNdOp, context: Context) -> None:
        copy, tuples = scattered(op, context), context.view(op.indices)
        parts = tuples.shape[-1]
        sizes, length = copy.shape[:parts], prod(copy.shape[parts:])
        count = prod(tuples.shape[:-1])
        picks = joined(context, flat_indices(context, tuples, sizes), (count,))
        updates = joined(context, context.view(op.updates), (count, length))
        table = View.whole(copy.buffer, (prod(sizes), length))
        write(context, op, table, picks, updates)
        finish(op, context, copy)


@register
class LowerTensorScatter(Lowering[nn.TensorScatterOp]):
    """The place of each step of a batch, then rows as in every scatter."""

    ops = (nn.TensorScatterOp,)
    elements = HELD

    def why_unsupported(self, op: nn.TensorScatterOp, machine: Machine) -> Reason | None:
        size = shape_of(op.operand)[op.get("axis")]
        return why_not_i32(op.starts) or why_not_exact("sequences", 2 * size)

    def lower(self, op: nn.TensorScatterOp, context: Context) -> None:
        axis, copy = int(op.get("axis")), context.define(op.result)
        copy_view(context.e, copy, context.view(op.operand))
        outer, size = copy.shape[:axis], copy.shape[axis]
        steps, length = shape_of(op.updates)[axis], prod(copy.shape[axis + 1 :])
        starts = context.view(op.starts)
        if op.get("circular"):
            check_range(context, starts)
        places = indices_by_step(
            context, starts, steps, partial(moved, context.e, size if op.get("circular") else None)
        )
        strides = (places.strides[0], *(0 for _ in outer[1:]), places.strides[1])
        picks = replace(places, shape=(*outer, steps), strides=strides)
        updates = joined(context, context.view(op.updates), (*outer, steps, length))
        scatter_rows(context, View.whole(copy.buffer, (*outer, size, length)), picks, updates)


def moved(e: Emitter, size: int | None, start: OnChip, step: OnChip) -> OnChip:
    """`start + step`, modulo the size where there is one."""
    out = e.sbuf(start.partitions, start.width, i32)
    fields: dict[str, object] = {"op0": "add"}
    if size is not None:
        fields |= {"op1": "mod", "scalar1": float(size)}
    views = {"dst": out.ref(), "src": start.ref(), "operand0": step.ref()}
    e.emit(nc.TensorScalarOp, fields=fields, **views)
    return out


def check_range(context: Context, indices: View) -> None:
    """Stop the program at an index whose sums are not exact: look it up in a repeated element."""
    e, dummy = context.e, ramp(context, 1, i32)
    for region in regions(e, (indices.size, 1), 0, (), 1):
        index = load(
            e, region, replace(indices, shape=(indices.size, 1), strides=(indices.strides[0], 0))
        )
        found = e.sbuf(region.partitions, 1, i32)
        rows = Ref(dummy.buffer, Affine(0), ((0, EXACT // 2), (1, 1)))
        e.emit(nc.GatherOp, dst=found.ref(), src=rows, index=index.ref())
