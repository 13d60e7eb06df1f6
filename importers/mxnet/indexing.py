"""Gathers, selections and positions of MXNet. Indices are floats unless a model says otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import element_of, is_float, shape_of
from ranvier.importers.mxnet.node import Node, mx_op


def integral(node: Node, value: SSAValue) -> SSAValue:
    """Indices as integers, toward zero."""
    return node.cast(value, i32) if is_float(element_of(value)) else value


def bounded(node: Node, indices: SSAValue, size: int, mode: str) -> SSAValue:
    """Indices inside a dimension, by MXNet's mode for those outside."""
    whole = integral(node, indices)
    match mode:
        case "clip":
            return node.build(nn.ClampOp(whole, low=0.0, high=float(size - 1)))
        case "wrap":
            return node.build(nn.ModOp(whole, node.constant(size, element_of(whole))))
        case "raise":
            return whole
        case _:
            node.unsupported(f"mode is clip, wrap or raise, got {mode}")


@mx_op("take")
def import_take(node: Node) -> SSAValue:
    axis = node.axis(default=0)
    indices = bounded(node, node.operand(1), node.shape()[axis], node.text("mode", "clip"))
    return node.build(nn.GatherOp(node.operand(0), indices, axis=axis))


@mx_op("Embedding")
def import_embedding(node: Node) -> SSAValue:
    rows = node.shape(1)[0]
    indices = bounded(node, node.operand(0), rows, "clip")
    return node.build(nn.GatherOp(node.operand(1), indices, axis=0))


@mx_op("batch_take")
def import_batch_take(node: Node) -> SSAValue:
    return picked(node, axis=1, keepdims=False, mode="clip")


@mx_op("pick")
def import_pick(node: Node) -> SSAValue:
    axis = node.axis(default=-1)
    return picked(node, axis, node.flag("keepdims"), node.text("mode", "clip"))


def picked(node: Node, axis: int, keepdims: bool, mode: str) -> SSAValue:
    """One element along an axis for each of the others."""
    shape = node.shape()
    column = (*shape[:axis], 1, *shape[axis + 1 :])
    indices = node.reshape(bounded(node, node.operand(1), shape[axis], mode), column)
    found = node.build(nn.GatherElementsOp(node.operand(0), indices, axis=axis))
    return found if keepdims else node.reshape(found, (*shape[:axis], *shape[axis + 1 :]) or (1,))


@mx_op("gather_nd")
def import_gather_nd(node: Node) -> SSAValue:
    """MXNet's coordinates stand in the first dimension, those of `nn` in the last."""
    indices = integral(node, node.operand(1))
    rank = len(shape_of(indices))
    turned = node.transpose(indices, (*range(1, rank), 0))
    return node.build(nn.GatherNdOp(node.operand(0), turned, batch=0))


@mx_op("one_hot")
def import_one_hot(node: Node) -> SSAValue:
    indices, element = integral(node, node.operand(0)), node.dtype(default="float32")
    on = node.constant(node.number("on_value", 1.0), element)
    off = node.constant(node.number("off_value", 0.0), element)
    axis, depth = len(shape_of(indices)), node.integer("depth")
    # A negative index is none, as is `depth`; for `nn` it would count from the end.
    zero, none = (node.constant(value, element_of(indices)) for value in (0, depth))
    chosen = node.build(nn.SelectOp(node.build(nn.LessOp(indices, zero)), none, indices))
    return node.build(nn.OneHotOp(chosen, on, off, axis=axis, depth=depth))


@mx_op("topk")
def import_topk(node: Node) -> Sequence[SSAValue]:
    axis, kind = node.axis(default=-1), node.text("ret_typ", "indices")
    k = node.integer("k", 1) or node.shape()[axis]
    largest = not node.flag("is_ascend")
    op = nn.TopKOp(node.operand(0), axis=axis, k=k, largest=largest)
    node.build(op)
    values, positions = op.results
    indices = node.cast(positions, node.dtype(default="float32"))
    results = {"value": [values], "indices": [indices], "both": [values, indices]}
    if kind not in results:
        node.unsupported(f"ret_typ is one of {', '.join(results)}, got {kind}")
    return results[kind]


@mx_op("sort")
def import_sort(node: Node) -> SSAValue:
    return ordered(node)[0]


@mx_op("argsort")
def import_argsort(node: Node) -> SSAValue:
    return node.cast(ordered(node)[1], node.dtype(default="float32"))


def ordered(node: Node) -> Sequence[SSAValue]:
    axis = node.axis(default=-1)
    largest = not node.flag("is_ascend", True)
    op = nn.TopKOp(node.operand(0), axis=axis, k=node.shape()[axis], largest=largest)
    node.build(op)
    return op.results
