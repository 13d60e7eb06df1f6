"""Ops that pick elements by index: rows of a table by indirect DMA, one for each partition."""

from __future__ import annotations

from math import prod

from xdsl.dialects.builtin import i32

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import ZERO, Ref, merged
from ranvier.backend.neuron.lowering.registry import HELD, Lowering, register
from ranvier.backend.neuron.lowering.views import Region, View, load, regions, store
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nc.access import DRAM_DIMS
from ranvier.dialects.nn.types import element_of, shape_of, size_of

MAX_ROW = 8 << 10
"""Elements of a row that is on chip as a whole."""


@register
class LowerGather(Lowering[nn.GatherOp]):
    """128 indices at a time on the partitions, then their rows beside them."""

    ops = (nn.GatherOp,)
    elements = HELD

    def why_unsupported(self, op: nn.GatherOp, machine: Machine) -> Reason | None:
        if element_of(op.indices) != i32:
            return Reason(
                Code.OP_ELEMENT_TYPE, f"indices of i32 lower, got {element_of(op.indices)}"
            )
        row = prod(shape_of(op.operand)[op.get("axis") + 1 :])
        if row > MAX_ROW:
            return Reason(Code.OP_SIZE, f"rows up to {MAX_ROW} elements lower, got {row}")
        return None

    def lower(self, op: nn.GatherOp, context: Context) -> None:
        e, axis = context.e, int(op.get("axis"))
        table, indices = context.view(op.operand), context.view(op.indices)
        count, row = max(1, size_of(op.indices)), prod(table.shape[axis + 1 :])
        shape = (*table.shape[:axis], count, row)
        target = context.define(op.result).reshaped(shape)
        picks = indices.reshaped((count,)) or context.copied(indices).reshaped((count,))
        assert target is not None, "a home is contiguous"
        assert picks is not None, "a copy is contiguous"
        inside = merged(list(zip(table.strides, table.shape, strict=True))[axis + 1 :])
        if len(inside) + 1 > DRAM_DIMS:
            table, inside = context.copied(table), ((1, row),)
        index_strides = (*(0 for _ in shape[:axis]), picks.strides[0], 0)
        spread = View(picks.buffer, shape, index_strides, picks.offset)
        for region in regions(e, shape, axis, (axis + 1,), MAX_ROW):
            one = Region(region.starts, region.sizes, region.partition, ())
            index = load(e, one, spread)
            tile = e.sbuf(region.partitions, row, table.element)
            outer = [*region.starts[:axis], *(ZERO for _ in table.shape[axis:])]
            dims = ((table.strides[axis], table.shape[axis]), *inside)
            e.emit(
                nc.GatherOp,
                dst=tile.ref(),
                src=Ref(table.buffer, table.at(outer, []).start, dims),
                index=index.ref(),
            )
            store(e, region, target, tile)
