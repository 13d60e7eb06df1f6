"""Ops of ONNX that pick elements by index."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.constant import DENSE_LIMIT
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import element_of, is_float, shape_of
from ranvier.importers.onnx.node import Node, NotInNn, onnx_op
from ranvier.importers.semantics import Run, evenly_spaced, normal_axis


@onnx_op("Gather")
def import_gather(node: Node) -> SSAValue:
    axis = normal_axis(node.attribute("axis", 0), node.rank())
    indices = node.builder.constant_of(node.operand(1))
    if indices is not None and indices.nbytes > DENSE_LIMIT:
        indices = np.where(indices < 0, indices + node.shape()[axis], indices)
        if (run := evenly_spaced(indices)) is not None:
            return rearranged(node, node.operand(0), axis, run, indices.shape)
    return node.build(nn.GatherOp(node.operand(0), node.operand(1), axis=axis))


def rearranged(node: Node, value: SSAValue, axis: int, run: Run, shape: Shape) -> SSAValue:
    """A gather of evenly spaced indices: slice, reshape, transpose, reshape, broadcast."""
    before, after = shape_of(value)[:axis], shape_of(value)[axis + 1 :]
    rank, own = len(before), len(run.sizes)
    taken = nn.SliceOp(
        value,
        starts=(*(0,) * rank, run.start, *(0,) * len(after)),
        sizes=(*before, run.count, *after),
        steps=(*(1,) * rank, run.step, *(1,) * len(after)),
    )
    apart = node.build(nn.ReshapeOp(node.build(taken), shape=(*before, *run.sizes, *after)))
    order = [rank + place for place in run.order if place is not None]
    permutation = (*range(rank), *order, *range(rank + own, rank + own + len(after)))
    moved = node.build(nn.TransposeOp(apart, permutation=permutation))
    ones = [1 if place is None else run.sizes[place] for place in run.order]
    spread = node.build(nn.ReshapeOp(moved, shape=(*before, *ones, *after)))
    return node.build(nn.BroadcastOp(spread, shape=(*before, *shape, *after)))


@onnx_op("Compress")
def import_compress(node: Node) -> SSAValue:
    """A gather of the places where a constant condition holds; without an axis, of all elements."""
    condition = node.builder.constant_of(node.operand(1))
    if condition is None:
        raise NotInNn  # how many elements there are depends on the condition
    value, axis = node.operand(0), node.attribute("axis")
    if axis is None:
        value = node.build(nn.ReshapeOp(value, shape=(prod(node.shape()),)))
    axis = normal_axis(axis or 0, len(shape_of(value)))
    places = node.build_constant(np.flatnonzero(condition))
    return node.build(nn.GatherOp(value, places, axis=axis))


@onnx_op("NonZero")
def import_non_zero(node: Node) -> SSAValue:
    """Of a constant; of an input the number of places is not known."""
    value = node.builder.constant_of(node.operand(0))
    if value is None:
        raise NotInNn
    return node.build_constant(np.array(np.nonzero(value), np.int64))


@onnx_op("GatherElements")
def import_gather_elements(node: Node) -> SSAValue:
    axis = normal_axis(node.attribute("axis", 0), node.rank())
    return node.build(nn.GatherElementsOp(node.operand(0), node.operand(1), axis=axis))


@onnx_op("GatherND")
def import_gather_nd(node: Node) -> SSAValue:
    batch = int(node.attribute("batch_dims", 0))
    indices = node.builder.constant_of(node.operand(1))
    if indices is not None and batch == 0 and (flat := flat_places(node, indices)) is not None:
        length = indices.shape[-1]
        rows = (prod(node.shape()[:length]), *node.shape()[length:])
        if (run := evenly_spaced(flat)) is not None:
            value = node.build(nn.ReshapeOp(node.operand(0), shape=rows))
            return rearranged(node, value, 0, run, flat.shape)
    return node.build(nn.GatherNdOp(node.operand(0), node.operand(1), batch=batch))


def flat_places(node: Node, indices: Array) -> Array | None:
    """Index tuples as single indices in row-major order; None if one is out of range."""
    sizes = node.shape()[: indices.shape[-1]]
    places = np.where(indices < 0, indices + sizes, indices)
    if len(sizes) < indices.shape[-1] or not ((places >= 0) & (places < sizes)).all():
        return None
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(places, -1, 0)), sizes))


@onnx_op("Scatter")
@onnx_op("ScatterElements")
def import_scatter_elements(node: Node) -> SSAValue:
    axis = normal_axis(node.attribute("axis", 0), node.rank())
    reduction: str = node.attribute("reduction", "none")
    return node.build(nn.ScatterElementsOp(*node.operands(), axis=axis, reduction=reduction))


@onnx_op("ScatterND")
def import_scatter_nd(node: Node) -> SSAValue:
    reduction: str = node.attribute("reduction", "none")
    return node.build(nn.ScatterNdOp(*node.operands(), reduction=reduction))


@onnx_op("TensorScatter")
def import_tensor_scatter(node: Node) -> SSAValue:
    """Without write indices every batch starts at 0."""
    value, updates = node.operand(0), node.operand(1)
    if (starts := node.optional(2)) is None:
        starts = node.build_constant(np.zeros(node.shape()[:1], np.int64))
    axis = normal_axis(node.attribute("axis", -2), node.rank())
    circular = node.attribute("mode", "linear") == "circular"
    return node.build(nn.TensorScatterOp(value, updates, starts, axis=axis, circular=circular))


@onnx_op("OneHot")
def import_one_hot(node: Node) -> SSAValue:
    """`values` holds off and on."""
    axis = normal_axis(node.attribute("axis", -1), node.rank() + 1)
    indices, depth = node.operand(0), int(node.scalar(1))
    if is_float(element_of(indices)):
        indices = node.build(nn.CastOp(indices, i32))
    off, on = (scalar_at(node, node.operand(2), place) for place in range(2))
    return node.build(nn.OneHotOp(indices, on, off, axis=axis, depth=depth))


def scalar_at(node: Node, value: SSAValue, place: int) -> SSAValue:
    element = node.build(nn.SliceOp(value, starts=(place,), sizes=(1,), steps=(1,)))
    return node.build(nn.ReshapeOp(element, shape=()))


@onnx_op("TopK")
def import_top_k(node: Node) -> Sequence[SSAValue]:
    k = int(node.attribute("k", 0)) if node.opset < 10 else int(node.scalar(1))
    axis = normal_axis(node.attribute("axis", -1), node.rank())
    op = nn.TopKOp(node.operand(0), axis=axis, k=k, largest=bool(node.attribute("largest", 1)))
    node.build(op)
    return op.results


@onnx_op("ReverseSequence")
def import_reverse_sequence(node: Node) -> SSAValue:
    axis, batch_axis = node.attribute("time_axis", 0), node.attribute("batch_axis", 1)
    return node.build(
        nn.ReverseSequenceOp(*node.operands(), axis=int(axis), batch_axis=int(batch_axis))
    )
