"""Ops that write elements by index: rows of a copy of the operand, by indirect DMA.

Without a reduction 128 rows are written at once; equal indices leave one of their updates. With one,
updates come one by one, as the definition has them: each reads its row, combines, and writes it.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from xdsl.dialects.builtin import bf16, f16, f32

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context, machine_element
from ranvier.backend.neuron.lowering.indexing import axis_last, reached
from ranvier.backend.neuron.lowering.registry import HELD, Lowering, register
from ranvier.backend.neuron.lowering.rows import (
    flat_indices,
    joined,
    row_tiles,
    why_not_exact,
    why_not_i32,
)
from ranvier.backend.neuron.lowering.views import View, copy_view, load
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.indexing import ScatterOp
from ranvier.dialects.nn.types import element_of, is_float, shape_of

ALU = {"add": "add", "mul": "mult", "max": "max", "min": "min"}
NARROW = (bf16, f16)


def why_not_combined(op: ScatterOp) -> Reason | None:
    """Why updates are not combined with what stands there."""
    element, reduction = element_of(op.operand), op.reduction.data
    if reduction == "none" or is_float(element):
        return None
    return Reason(
        Code.OP_ELEMENT_TYPE, f"reduction {reduction} is computed in f32, which {element} exceeds"
    )


def scattered(op: ScatterOp, context: Context) -> View:
    """A copy of the operand to write into: narrow floats are combined in f32."""
    shape, element = shape_of(op.operand), element_of(op.operand)
    sums = op.reduction.data != "none" and element in NARROW
    copy = (
        View.whole(context.e.dram(prod(shape), f32), shape) if sums else context.define(op.result)
    )
    copy_view(context.e, copy, context.view(op.operand))
    return copy


def scatter_rows(context: Context, op: ScatterOp, table: View, picks: View, updates: View) -> None:
    """`table[outer…, picks[outer…, n]] = updates[outer…, n]`, the rows of `updates` flat."""
    e, reduction = context.e, op.reduction.data
    for tile in row_tiles(context, table, picks, updates, one_by_one=reduction != "none"):
        rows = load(e, tile.region, tile.rows)
        if reduction != "none":
            old, new = (e.sbuf(rows.partitions, rows.width, table.element) for _ in range(2))
            e.emit(nc.GatherOp, dst=old.ref(), src=tile.table, index=tile.index.ref())
            step: dict[str, object] = {"op": ALU[reduction]}
            e.emit(nc.TensorTensorOp, fields=step, dst=new.ref(), lhs=old.ref(), rhs=rows.ref())
            rows = new
        e.emit(nc.ScatterOp, dst=tile.table, src=rows.ref(), index=tile.index.ref())


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
        scatter_rows(context, op, table, axis_last(picks, axis), single)
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
        scatter_rows(context, op, View.whole(copy.buffer, (prod(sizes), length)), picks, updates)
        finish(op, context, copy)
