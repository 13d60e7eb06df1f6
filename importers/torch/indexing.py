"""Ops of PyTorch that pick elements by index."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import i1, i32, i64
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape, broadcast_shapes
from ranvier.dialects.nn.types import element_of, shape_of
from ranvier.importers.semantics import evenly_spaced, normal_axis
from ranvier.importers.torch.call import Call, torch_op
from ranvier.importers.torch.shape import joined, sliced

REDUCTIONS = {
    "add": "add",
    "sum": "add",
    "multiply": "mul",
    "prod": "mul",
    "amax": "max",
    "amin": "min",
}


def indices(call: Call, value: SSAValue) -> SSAValue:
    return value if element_of(value) in (i32, i64) else call.cast(value, i64)


@torch_op("embedding")
def import_embedding(call: Call) -> SSAValue:
    places = indices(call, call.tensor("indices"))
    return call.build(nn.GatherOp(call.tensor("weight"), places, axis=0))


@torch_op("index_select")
def import_index_select(call: Call) -> SSAValue:
    value, places = call.tensor(), indices(call, call.tensor("index"))
    if call.rank() == 0:
        value = call.reshape(value, (1,))
    places = call.reshape(places, (prod(shape_of(places)),))
    axis = normal_axis(call["dim"], max(1, call.rank()))
    taken = call.build(nn.GatherOp(value, places, axis=axis))
    return call.reshape(taken, call.result_shape)


@torch_op("gather")
def import_gather(call: Call) -> SSAValue:
    if call.rank() == 0 or call.rank("index") != call.rank():
        call.refuse("the index has another rank")
    axis, places = normal_axis(call["dim"], call.rank()), indices(call, call.tensor("index"))
    return call.build(nn.GatherElementsOp(call.tensor(), places, axis=axis))


@torch_op("scatter", "scatter_add", "scatter_reduce")
def import_scatter(call: Call) -> SSAValue:
    """Updates may be larger than the index; what is beyond it is not used."""
    if call.rank() == 0 or not call.get("include_self", True):
        call.refuse("the operand is a scalar, or left out of the reduction")
    reduction = "add" if call.op == "scatter_add" else call.get("reduce", "none")
    if reduction != "none" and reduction not in REDUCTIONS:
        call.refuse(f"a reduction by {reduction}")
    axis, places = normal_axis(call["dim"], call.rank()), indices(call, call.tensor("index"))
    operands = (call.tensor(), places, updates_of(call, shape_of(places)))
    return call.build(
        nn.ScatterElementsOp(*operands, axis=axis, reduction=REDUCTIONS.get(reduction, "none"))
    )


def updates_of(call: Call, shape: Shape) -> SSAValue:
    if call.has("value"):
        return call.broadcast(call.operand("value"), shape)
    updates = call.tensor("src")
    for axis, size in enumerate(shape):
        updates = sliced(call, updates, axis, 0, size)
    return updates


# -- Advanced indexing ------------------------------------------------------------------------


def index_tensors(call: Call) -> list[SSAValue | None]:
    """One index tensor or None per dimension. Raises NotInNn for masks that are not fixed."""
    found: list[SSAValue | None] = []
    for value in call.arguments["indices"]:
        if value is None or element_of(value) in (i32, i64):
            found.append(value)
            continue
        mask = call.builder.constant_of(value)
        if mask is None or element_of(value) != i1:
            call.refuse("a mask that is not fixed picks as many elements as it has ones")
        found += [call.constant(places) for places in np.nonzero(mask)]
    return found + [None] * (call.rank() - len(found))


def positions(call: Call, found: Sequence[SSAValue | None]) -> tuple[SSAValue, Shape, list[int]]:
    """Indices of the indexed dimensions as tuples, their shape, and those dimensions."""
    axes = [axis for axis, value in enumerate(found) if value is not None]
    places = [value for value in found if value is not None]
    shape = broadcast_shapes(*(shape_of(value) for value in places))
    columns = [
        call.reshape(call.broadcast(indices(call, value), shape), (*shape, 1)) for value in places
    ]
    return joined(call, [call.cast(c, i64) for c in columns], len(shape)), shape, axes


@torch_op("index", "_unsafe_index")
def import_index(call: Call) -> SSAValue:
    """The indexed dimensions come first, then go where PyTorch puts the picked ones."""
    found = index_tensors(call)
    tuples, shape, axes = positions(call, found)
    if len(axes) == 1:
        places = indices(call, next(value for value in found if value is not None))
        return call.build(nn.GatherOp(call.tensor(), places, axis=axes[0]))
    rest = [axis for axis in range(call.rank()) if axis not in axes]
    front = call.transpose(call.tensor(), [*axes, *rest])
    taken = evenly_picked(call, front, tuples)
    if taken is None:
        taken = call.build(nn.GatherNdOp(front, tuples, batch=0))
    return call.transpose(taken, picked_order(axes, rest, len(shape)))


def evenly_picked(call: Call, value: SSAValue, tuples: SSAValue) -> SSAValue | None:
    """What index tuples pick of the first dimensions if they are fixed and evenly spaced:
    slice, reshape, transpose, reshape, broadcast."""
    places = call.builder.constant_of(tuples)
    if places is None:
        return None
    count = places.shape[-1]
    sizes, rest = shape_of(value)[:count], shape_of(value)[count:]
    places = np.where(places < 0, places + sizes, places)
    if not ((places >= 0) & (places < sizes)).all():
        call.refuse("an index is out of range")
    flat = np.asarray(np.ravel_multi_index(tuple(np.moveaxis(places, -1, 0)), sizes))
    if (run := evenly_spaced(flat)) is None:
        return None
    end = run.start + (run.count - 1) * run.step + 1
    rows = sliced(call, call.reshape(value, (prod(sizes), *rest)), 0, run.start, end, run.step)
    apart = call.reshape(rows, (*run.sizes, *rest))
    order = [place for place in run.order if place is not None]
    moved = call.transpose(apart, [*order, *range(len(order), len(order) + len(rest))])
    ones = [1 if place is None else run.sizes[place] for place in run.order]
    return call.broadcast(call.reshape(moved, (*ones, *rest)), (*flat.shape, *rest))


def picked_order(axes: Sequence[int], rest: Sequence[int], picked: int) -> list[int]:
    """Where the picked dimensions go: in place of the indexed ones if those are neighbours."""
    adjacent = list(axes) == list(range(axes[0], axes[0] + len(axes)))
    before = sum(axis < axes[0] for axis in rest) if adjacent else 0
    others = list(range(picked, picked + len(rest)))
    return [*others[:before], *range(picked), *others[before:]]


@torch_op("index_put", "_unsafe_index_put")
def import_index_put(call: Call) -> SSAValue:
    values = call.operand("values")
    found = call.arguments["indices"]
    if len(found) == 1 and found[0] is not None and element_of(found[0]) == i1:
        if shape_of(values) in ((), (1,)) and not call["accumulate"]:
            return masked(call, found[0], values)
    tuples, shape, axes = positions(call, index_tensors(call))
    rest = [axis for axis in range(call.rank()) if axis not in axes]
    order = [*axes, *rest]
    front = call.transpose(call.tensor(), order)
    picked = picked_order(axes, rest, len(shape))
    block = [*shape, *(call.shape()[axis] for axis in rest)]
    updates = call.broadcast(values, [block[place] for place in picked])
    updates = call.transpose(updates, inverse(picked))
    reduction = "add" if call["accumulate"] else "none"
    put = call.build(nn.ScatterNdOp(front, tuples, updates, reduction=reduction))
    return call.transpose(put, inverse(order))


def masked(call: Call, mask: SSAValue, value: SSAValue) -> SSAValue:
    """A mask covers the first dimensions."""
    trailing = call.rank() - len(shape_of(mask))
    mask = call.reshape(mask, (*shape_of(mask), *(1,) * trailing))
    return call.build(nn.SelectOp(mask, call.reshape(value, ()), call.tensor()))


def inverse(order: Sequence[int]) -> list[int]:
    return [int(place) for place in np.argsort(order)]


@torch_op("index_add", "index_copy", "index_fill")
def import_index_add(call: Call) -> SSAValue:
    """Rows along an axis, which comes first for it."""
    if call.rank() == 0 or call.get("alpha", 1) != 1:
        call.refuse("a scalar, or scaled updates")
    axis = normal_axis(call["dim"], call.rank())
    order = [axis, *(d for d in range(call.rank()) if d != axis)]
    places = indices(call, call.tensor("index"))
    count = prod(shape_of(places))
    rows = [count, *(call.shape()[d] for d in order[1:])]
    if call.op == "index_fill":
        updates = call.broadcast(call.operand("value"), rows)
    else:
        updates = call.transpose(call.operand("source"), order)
    reduction = "add" if call.op == "index_add" else "none"
    front = call.transpose(call.tensor(), order)
    tuples = call.reshape(places, (count, 1))
    put = call.build(nn.ScatterNdOp(front, tuples, updates, reduction=reduction))
    return call.transpose(put, inverse(order))


# -- Parts that are replaced ------------------------------------------------------------------


def replaced(call: Call, axis: int, places: range, source: SSAValue) -> SSAValue:
    """The operand with other elements at evenly spaced places of an axis."""
    value, size = call.tensor(), call.shape()[axis]
    if places.step == 1 or len(places) < 2:
        start, end = (places[0], places[-1] + 1) if places else (0, 0)
        low, high = sliced(call, value, axis, 0, start), sliced(call, value, axis, end, size)
        return joined(call, [low, source, high], axis)
    taken, origin = np.zeros(size, np.bool_), np.zeros(size, np.int64)
    taken[list(places)], origin[list(places)] = True, np.arange(len(places))
    spread = call.build(nn.GatherOp(source, call.constant(origin), axis=axis))
    column = call.constant(taken.reshape(-1, *(1,) * (call.rank() - axis - 1)))
    return call.build(nn.SelectOp(column, spread, value))


@torch_op("slice_scatter")
def import_slice_scatter(call: Call) -> SSAValue:
    axis = normal_axis(call["dim"], call.rank())
    bounds = slice(call.get("start"), call.get("end"), call["step"])
    places = range(*bounds.indices(call.shape()[axis]))
    return replaced(call, axis, places, call.operand("src"))


@torch_op("select_scatter")
def import_select_scatter(call: Call) -> SSAValue:
    axis = normal_axis(call["dim"], call.rank())
    index = int(call["index"]) % call.shape()[axis]
    shape = (*call.shape()[:axis], 1, *call.shape()[axis + 1 :])
    return replaced(call, axis, range(index, index + 1), call.reshape(call.operand("src"), shape))


# -- Order ------------------------------------------------------------------------------------


@torch_op("topk")
def import_topk(call: Call) -> Sequence[SSAValue]:
    if call.rank() == 0 or not call["sorted"]:
        call.refuse("a scalar, or elements in any order")
    return ordered(call, int(call["k"]), bool(call["largest"]))


@torch_op("sort")
def import_sort(call: Call) -> Sequence[SSAValue]:
    if call.rank() == 0:
        call.refuse("a scalar")
    axis = normal_axis(call["dim"], call.rank())
    return ordered(call, call.shape()[axis], bool(call["descending"]))


@torch_op("argsort")
def import_argsort(call: Call) -> SSAValue:
    _, places = import_sort(call)
    return places


def ordered(call: Call, k: int, largest: bool) -> Sequence[SSAValue]:
    axis = normal_axis(call["dim"], call.rank())
    op = nn.TopKOp(call.tensor(), axis=axis, k=k, largest=largest)
    call.build(op)
    return op.results


@torch_op("one_hot")
def import_one_hot(call: Call) -> SSAValue:
    on, off = call.scalar(1), call.scalar(0)
    depth, rank = int(call["num_classes"]), call.rank()
    return call.build(nn.OneHotOp(call.tensor(), on, off, axis=rank, depth=depth))
