"""Running sums and products along lines, by doubling: `y[i] += y[i - s]` for `s = 1, 2, 4, …`.

A line that exceeds the chip goes on from the last result of its part before. A reverse scan runs on
lines seen from their end, an exclusive one leaves out their last element and stores one place on.
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import f32

from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.lines import Block, Lines, lines_along
from ranvier.backend.neuron.lowering.registry import FLOATS, Lowering, register
from ranvier.backend.neuron.lowering.views import View, copy_view
from ranvier.dialects import nc, nn
from ranvier.dialects.nn.reduction import CumulativeOp

MAX_WIDTH = 2048
"""Elements per partition that are on chip at once."""


@register
class LowerScan(Lowering[CumulativeOp]):
    """Lines on the partitions, in f32."""

    ALU: ClassVar[dict[type[CumulativeOp], str]] = {nn.CumSumOp: "add", nn.CumProdOp: "mult"}
    ops = tuple(ALU)
    elements = FLOATS

    def lower(self, op: CumulativeOp, context: Context) -> None:
        axis = int(op.get("axis"))
        source, target = context.view(op.operand), context.define(op.result)
        if op.get("reverse"):
            source, target = _from_end(source, axis), _from_end(target, axis)
        if op.get("exclusive"):
            first = _part(target, axis, 0, 1)
            neutral = context.splat(float(op.neutral()), target.element)
            copy_view(context.e, first, neutral.broadcast(first.shape))
            count = source.shape[axis] - 1
            if count == 0:
                return
            source, target = _part(source, axis, 0, count), _part(target, axis, 1, count)
        _scan(context, self.ALU[type(op)], float(op.neutral()), axis, source, target)


def _from_end(view: View, axis: int) -> View:
    rank = len(view.shape)
    starts = [view.shape[d] - 1 if d == axis else 0 for d in range(rank)]
    return view.sliced(starts, view.shape, [-1 if d == axis else 1 for d in range(rank)])


def _part(view: View, axis: int, start: int, count: int) -> View:
    rank = len(view.shape)
    sizes = [count if d == axis else size for d, size in enumerate(view.shape)]
    return view.sliced([start if d == axis else 0 for d in range(rank)], sizes, [1] * rank)


def _scan(
    context: Context, alu: str, neutral: float, axis: int, source: View, target: View
) -> None:
    e, size = context.e, source.shape[axis]
    lines, width = lines_along(axis, source, target), min(size, MAX_WIDTH)
    source, target = lines.views
    for block in lines.blocks(e, max(1, MAX_WIDTH // width)):
        last = Block.of(e, block, 1, f32)
        e.emit(nc.MemsetOp, fields={"value": neutral}, dst=last.column(0))
        for part in e.tiles(size, width):
            now, then = (Block.of(e, block, part.size, f32) for _ in range(2))
            region = Lines.part(block, part.start, part.size)
            e.emit(nc.DmaOp, dst=now.columns(0, part.size), src=region.of(source))
            step = 1
            while step < part.size:
                rest = part.size - step
                e.emit(nc.CopyOp, dst=then.columns(0, step), src=now.columns(0, step))
                e.emit(
                    nc.TensorTensorOp,
                    fields={"op": alu},
                    dst=then.columns(step, rest),
                    lhs=now.columns(step, rest),
                    rhs=now.columns(0, rest),
                )
                now, then, step = then, now, 2 * step
            e.emit(
                nc.TensorTensorOp,
                fields={"op": alu},
                dst=then.columns(0, part.size),
                lhs=now.columns(0, part.size),
                rhs=last.spread(0, part.size),
            )
            e.emit(nc.CopyOp, dst=last.column(0), src=then.column(part.size - 1))
            e.emit(nc.DmaOp, dst=region.of(target), src=then.columns(0, part.size))
