"""Ops of TensorFlow that pick elements by index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import dtype_of, element_of
from ranvier.importers.semantics import normal_axis
from ranvier.importers.tensorflow.elementwise import cast
from ranvier.importers.tensorflow.node import Node, NotInNn, tf_op
from ranvier.importers.tensorflow.shape import reshape

REDUCTIONS = {
    "TensorScatterUpdate": "none",
    "TensorScatterAdd": "add",
    "TensorScatterMax": "max",
    "TensorScatterMin": "min",
}
INT32 = 3


@tf_op("Gather", "GatherV2")
def import_gather(node: Node) -> SSAValue:
    """With batch dimensions each batch picks from its own part, along its first axis only."""
    axis = normal_axis(int(node.scalar(2)), node.rank()) if len(node.inputs) > 2 else 0
    batch = int(node.attribute("batch_dims", 0))
    if not batch:
        return node.build(nn.GatherOp(node.operand(0), node.operand(1), axis=axis))
    batch = normal_axis(batch, len(node.shape(1)) + 1)
    if axis != batch:
        raise NotInNn
    places = reshape(node, node.operand(1), (*node.shape(1), 1))
    return node.build(nn.GatherNdOp(node.operand(0), places, batch=batch))


@tf_op("GatherNd")
def import_gather_nd(node: Node) -> SSAValue:
    return node.build(nn.GatherNdOp(node.operand(0), node.operand(1), batch=0))


@tf_op("ScatterNd")
def import_scatter_nd(node: Node) -> SSAValue:
    """Updates are added to zeros."""
    updates = node.operand(1)
    zero = node.build_constant(np.zeros((), dtype_of(element_of(updates))))
    base = node.build(nn.BroadcastOp(zero, shape=node.constant_ints(2)))
    return node.build(nn.ScatterNdOp(base, node.operand(0), updates, reduction="add"))


@tf_op(*REDUCTIONS)
def import_tensor_scatter(node: Node) -> SSAValue:
    return node.build(nn.ScatterNdOp(*node.operands(), reduction=REDUCTIONS[node.op_type]))


@tf_op("UnsortedSegmentSum")
def import_unsorted_segment_sum(node: Node) -> SSAValue:
    """Rows of one number are added. Negative numbers, which drop rows, must be known not to be."""
    rank = len(node.shape(1))
    if node.constant(1).min(initial=0) < 0:
        raise NotInNn
    places = reshape(node, node.operand(1), (*node.shape(1), 1))
    shape = (*node.constant_ints(2), *node.shape()[rank:])
    zero = node.build_constant(np.zeros((), dtype_of(node.element())))
    base = node.build(nn.BroadcastOp(zero, shape=shape))
    return node.build(nn.ScatterNdOp(base, places, node.operand(0), reduction="add"))


@tf_op("OneHot")
def import_one_hot(node: Node) -> SSAValue:
    """A negative index gives no `on`; in `nn` it counts from the end, so it is moved beyond."""
    axis, depth = normal_axis(int(node.attribute("axis", -1)), node.rank() + 1), node.scalar(1)
    indices, on, off = node.operand(0), node.operand(2), node.operand(3)
    zero = node.build_constant(np.zeros((), dtype_of(node.element())))
    beyond = node.build_constant(np.array(depth, dtype_of(node.element())))
    negative = node.build(nn.LessOp(indices, zero))
    indices = node.build(nn.SelectOp(negative, beyond, indices))
    return node.build(nn.OneHotOp(indices, on, off, axis=axis, depth=int(depth)))


@tf_op("TopK", "TopKV2")
def import_top_k(node: Node) -> Sequence[SSAValue]:
    k = int(node.scalar(1)) if node.op_type == "TopKV2" else int(node.attribute("k", 0))
    op = nn.TopKOp(node.operand(0), axis=node.rank() - 1, k=k, largest=True)
    node.build(op)
    return [op.values, cast(node, op.indices, node.element_attribute("index_type", INT32))]


@tf_op("ReverseSequence")
def import_reverse_sequence(node: Node) -> SSAValue:
    axis, batch = int(node.attribute("seq_dim", 0)), int(node.attribute("batch_dim", 0))
    lengths = node.operand(1)
    return node.build(nn.ReverseSequenceOp(node.operand(0), lengths, axis=axis, batch_axis=batch))
