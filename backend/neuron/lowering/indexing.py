"""Ops that pick elements by index."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod

from xdsl.dialects.builtin import i32

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.reduction import row_space
from ranvier.backend.neuron.lowering.registry import HELD, Lowering, register
from ranvier.backend.neuron.lowering.rows import (
    added,
    flat_indices,
    gather_rows,
    home,
    indices_by_step,
    joined,
    ramp,
    why_not_exact,
    why_not_i32,
)
from ranvier.backend.neuron.lowering.views import (
    View,
    copy_view,
    load,
    regions,
    store,
)
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Reason
from ranvier.dialects.nc.types import ui8
from ranvier.dialects.nn.types import shape_of, size_of

MAX_WIDTH = 2048
"""Elements per partition of a tile that is computed here."""


@register
class LowerGather(Lowering[nn.GatherOp]):
    """The same indices for all that stands before the axis."""

    ops = (nn.GatherOp,)
    elements = HELD

    def why_unsupported(self, op: nn.GatherOp, machine: Machine) -> Reason | None:
        return why_not_i32(op.indices)

    def lower(self, op: nn.GatherOp, context: Context) -> None:
        axis, count = int(op.get("axis")), size_of(op.indices)
        table = context.view(op.operand)
        outer, row = table.shape[:axis], prod(table.shape[axis + 1 :])
        picks = joined(context, context.view(op.indices), (count,)).broadcast((*outer, count))
        target = home(context, op.result, (*outer, count, row))
        gather_rows(context, target, table, picks)


def axis_last(view: View, axis: int) -> View:
    rest = [d for d in range(len(view.shape)) if d != axis]
    return view.transposed((*rest, axis))


def reached(view: View, axis: int, indices: View) -> View:
    """The part of a tensor that single-element indices along an axis reach, the axis last."""
    sizes = list(indices.shape)
    sizes[axis] = view.shape[axis]
    rank = len(sizes)
    return axis_last(view.sliced([0] * rank, sizes, [1] * rank), axis)


@register
class LowerGatherElements(Lowering[nn.GatherElementsOp]):
    """Rows of one element, of a table for each place off the axis."""

    ops = (nn.GatherElementsOp,)
    elements = HELD

    def why_unsupported(self, op: nn.GatherElementsOp, machine: Machine) -> Reason | None:
        return why_not_i32(op.indices)

    def lower(self, op: nn.GatherElementsOp, context: Context) -> None:
        axis, picks = int(op.get("axis")), context.view(op.indices)
        table = reached(context.view(op.operand), axis, picks)
        target = axis_last(context.define(op.result), axis)
        single = View(target.buffer, (*target.shape, 1), (*target.strides, 0), target.offset)
        gather_rows(context, single, table, axis_last(picks, axis))


@register
class LowerGatherNd(Lowering[nn.GatherNdOp]):
    """Index tuples become rows of a table that joins the dimensions which they index."""

    ops = (nn.GatherNdOp,)
    elements = HELD

    def why_unsupported(self, op: nn.GatherNdOp, machine: Machine) -> Reason | None:
        batch, parts = int(op.get("batch")), shape_of(op.indices)[-1]
        rows = prod(shape_of(op.operand)[batch : batch + parts])
        return why_not_i32(op.indices) or why_not_exact("tables of rows", rows)

    def lower(self, op: nn.GatherNdOp, context: Context) -> None:
        x, tuples, batch = context.view(op.operand), context.view(op.indices), int(op.get("batch"))
        outer, end = x.shape[:batch], batch + tuples.shape[-1]
        sizes, inner = x.shape[batch:end], x.shape[end:]
        count = prod(tuples.shape[batch:-1])
        picks = joined(context, flat_indices(context, tuples, sizes), (*outer, count))
        table = joined(context, x, (*outer, prod(sizes), *inner))
        target = home(context, op.result, (*outer, count, prod(inner)))
        gather_rows(context, target, table, picks)


@register
class LowerReverseSequence(Lowering[nn.ReverseSequenceOp]):
    """A gather: step `t` of a sequence of length `n` is step `n - 1 - t`, if that is not negative.

    A length beyond the sequence names a step that it does not have, which the gather refuses.
    """

    ops = (nn.ReverseSequenceOp,)
    elements = HELD

    def why_unsupported(self, op: nn.ReverseSequenceOp, machine: Machine) -> Reason | None:
        steps = shape_of(op.operand)[op.get("axis")]
        return why_not_i32(op.lengths) or why_not_exact("sequences", steps)

    def lower(self, op: nn.ReverseSequenceOp, context: Context) -> None:
        axes = (int(op.get("batch_axis")), int(op.get("axis")))
        order = (*axes, *(d for d in range(len(shape_of(op.operand))) if d not in axes))
        table = context.view(op.operand).transposed(order)
        target = context.define(op.result).transposed(order)
        batch, steps = table.shape[:2]
        flat = (batch, steps, prod(table.shape[2:]))
        picks = indices_by_step(
            context, context.view(op.lengths), steps, partial(mirrored, context.e)
        )
        if (rows := target.reshaped(flat)) is not None:
            gather_rows(context, rows, table, picks)
            return
        home = View.whole(context.e.dram(prod(flat), table.element), table.shape)
        gather_rows(context, View.whole(home.buffer, flat), table, picks)
        copy_view(context.e, target, home)


def mirrored(e: Emitter, length: OnChip, step: OnChip) -> OnChip:
    """`length - 1 - step` where the step is inside the length, else the step."""
    back, order = (e.sbuf(length.partitions, length.width, i32) for _ in range(2))
    inside = e.sbuf(length.partitions, length.width, ui8)
    steps = step.ref(0, ((0, length.width),))
    below: dict[str, object] = {"op0": "subtract", "scalar0": 1.0, "op1": "subtract"}
    greater: dict[str, object] = {"op0": "is_gt"}
    src = length.ref()
    e.emit(nc.TensorScalarOp, fields=greater, dst=inside.ref(), src=src, operand0=step.ref())
    e.emit(nc.TensorScalarOp, fields=below, dst=back.ref(), src=src, operand1=step.ref())
    e.emit(nc.CopyOp, dst=order.ref(), src=steps)
    e.emit(nc.CopyPredicatedOp, dst=order.ref(), src=back.ref(), predicate=inside.ref())
    return order


@register
class LowerOneHot(Lowering[nn.OneHotOp]):
    """Indices on the partitions, each compared with all places of the new axis."""

    ops = (nn.OneHotOp,)
    elements = HELD

    def why_unsupported(self, op: nn.OneHotOp, machine: Machine) -> Reason | None:
        # An index one below the depth is still exact.
        return why_not_i32(op.indices) or why_not_exact("depths", int(op.get("depth")) + 1)

    def lower(self, op: nn.OneHotOp, context: Context) -> None:
        e, depth = context.e, int(op.get("depth"))
        result = axis_last(context.define(op.result), int(op.get("axis")))
        indices = context.view(op.indices)
        spread = View(indices.buffer, result.shape, (*indices.strides, 0), indices.offset)
        space = row_space((result, spread), (len(result.shape) - 1,))
        target, picks = space.views
        shape, none = target.shape, (0,) * len(space.kept)
        places = View(ramp(context, depth, i32).buffer, shape, (*none, 1))
        on, off = (
            replace(context.view(value), shape=shape, strides=(*none, 0))
            for value in (op.on, op.off)
        )
        for region in regions(e, shape, space.partition, (len(none),), MAX_WIDTH):
            narrow = replace(region, free=())
            place = counted_from_start(e, load(e, narrow, picks), depth)
            hot = e.sbuf(region.partitions, region.width, ui8)
            equal: dict[str, object] = {"op0": "is_equal"}
            row = load(e, region, places)
            e.emit(
                nc.TensorScalarOp,
                fields=equal,
                dst=hot.ref(),
                src=row.ref(),
                operand0=place.ref(),
            )
            out = e.sbuf(region.partitions, region.width, target.element)
            columns = ((0, region.width),)
            e.emit(nc.CopyOp, dst=out.ref(), src=load(e, narrow, off).ref(0, columns))
            e.emit(
                nc.CopyPredicatedOp,
                dst=out.ref(),
                src=load(e, narrow, on).ref(0, columns),
                predicate=hot.ref(),
            )
            store(e, region, target, out)


def counted_from_start(e: Emitter, index: OnChip, size: int) -> OnChip:
    """`index + size` where it is negative."""
    shift = e.sbuf(index.partitions, index.width, i32)
    fields: dict[str, object] = {"op0": "is_lt", "scalar0": 0.0, "op1": "mult"}
    e.emit(
        nc.TensorScalarOp,
        fields=fields | {"scalar1": float(size)},
        dst=shift.ref(),
        src=index.ref(),
    )
    return added(e, index, shift)
