"""Reductions: kept dimensions on the partitions, reduced ones inside, in f32 or exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from xdsl.dialects.builtin import i1, i32

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.elementwise_integer import INTEGERS
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.reduction_rows import (
    INTEGER_REDUCERS,
    FloatReducer,
    IntegerSum,
    RowReducer,
)
from ranvier.backend.neuron.lowering.registry import FLOATS, Lowering, register
from ranvier.backend.neuron.lowering.views import (
    Region,
    View,
    load,
    merge_jointly,
    regions,
    rows_of,
    store,
)
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.access import FREE_DIMS
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.reduction import ReduceOp
from ranvier.dialects.nn.types import element_of, is_float


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
        nn.ReduceProdOp: "mult",
        nn.ReduceL2Op: "add",
    }
    ops = tuple(ALU)
    elements = (*FLOATS, *INTEGERS, i1)

    def why_unsupported(self, op: ReduceOp, machine: Machine) -> Reason | None:
        element = element_of(op.operand)
        if isinstance(op, nn.ReduceL2Op) and element not in INTEGERS:
            return Reason(Code.OP_ELEMENT_TYPE, f"norms lower for integers, got {element}")
        return None

    def lower(self, op: ReduceOp, context: Context) -> None:
        view, axes = context.view(op.operand), ints(op.axes)
        result = context.define(op.result)
        kept = tuple(1 if d in axes else size for d, size in enumerate(view.shape))
        target = result.reshaped(kept)
        assert target is not None, "dimensions of 1 fit any strides"
        reduce_view(
            context, view, target, axes, self.reducer(op, prod(view.shape[d] for d in axes))
        )

    def reducer(self, op: ReduceOp, count: int) -> RowReducer:
        """How rows of the op's element type become one element."""
        alu, element = self.ALU[type(op)], element_of(op.operand)
        if is_float(element):
            return FloatReducer(alu, 1.0 / count if isinstance(op, nn.ReduceMeanOp) else 1.0)
        if element == i1:  # a sum of truth values is whether any holds, a product whether all do
            return FloatReducer({"add": "max", "mult": "min"}.get(alu, alu))
        if alu in ("max", "min") and element != i32:
            return FloatReducer(alu)
        match op:
            case nn.ReduceMeanOp():
                return IntegerSum(divisor=count)
            case nn.ReduceL2Op():
                return IntegerSum(squares=True, root=True)
            case _:
                return INTEGER_REDUCERS[alu]


def reduce_view(
    context: Context, view: View, target: View, axes: Sequence[int], reducer: RowReducer
) -> None:
    """Reduce `view` along `axes` into `target`, whose dimensions are 1 there."""
    space = row_space((view, target), axes)
    source, into = space.views
    if prod(space.kept) == 1 and (rows := rows_of(space.inner[-1])) > 1 < prod(space.inner) // rows:
        # One long row: 128 partial results first, then theirs.
        width = space.inner[-1] // rows
        split = source.reshaped((*space.kept, *space.inner[:-1], rows, width))
        if split is not None:
            partial = View.whole(context.e.dram(rows, reducer.accumulator), (rows, 1))
            folded = split.transposed(
                (len(split.shape) - 2, *range(len(split.shape) - 2), len(split.shape) - 1)
            )
            ones = (rows,) + (1,) * (len(folded.shape) - 1)
            column = partial.reshaped(ones)
            assert column is not None
            reduce_view(context, folded, column, range(1, len(ones)), reducer.partial())
            whole = View(into.buffer, (1, 1), (0, 0), into.offset)
            reduce_view(context, partial, whole, (0,), reducer.again())
            return
    e = context.e
    free = range(len(space.kept), len(space.kept) + len(space.inner))
    destination = View(into.buffer, space.kept, into.strides[: len(space.kept)], into.offset)
    for kept in regions(e, space.kept, space.partition, [], 1):
        total = _reduce_rows(e, kept, source, space, list(free), reducer)
        out = e.sbuf(total.partitions, 1, target.element)
        reducer.finish(e, total, out)
        store(e, kept, destination, out)


def _reduce_rows(
    e: Emitter,
    kept: Region,
    source: View,
    space: RowSpace,
    free: list[int],
    reducer: RowReducer,
) -> OnChip:
    """The reduction of some rows, one accumulator for each partition."""
    width = reducer.max_width
    total = e.sbuf(kept.partitions, 1, reducer.accumulator)
    whole = prod(space.inner) <= width and len(space.inner) <= FREE_DIMS
    if not whole:
        reducer.start(e, total)
    for part in regions(e, space.inner, None, range(len(space.inner)), width):
        region = Region(
            kept.starts + part.starts, kept.sizes + part.sizes, kept.partition, tuple(free)
        )
        tile = load(e, region, source)
        reduced = total if whole else e.sbuf(kept.partitions, 1, reducer.accumulator)
        reducer.reduce(e, tile, reduced)
        if not whole:
            reducer.join(e, total, reduced)
    return total
