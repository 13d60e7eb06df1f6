"""Lists of tensors, in which loops keep their steps: TensorList and TensorArray.

Where indices are known a list is a Python tuple of values, and nothing of it is left in the module.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import dtype_of, element_of, shape_of
from ranvier.importers.tensorflow.node import Node, tf_op
from ranvier.importers.tensorflow.shape import row_of, stacked
from ranvier.importers.tensorflow.tensors import static_shape
from ranvier.importers.tensorflow.values import TensorList, Value

MAX_ITEMS = 1 << 16


def shape_operand(node: Node, position: int) -> Shape | None:
    """The shape that a node states for items, if it is static."""
    stated = node.builder.constant_of(node.operand(position))
    if stated is None or not stated.ndim or stated.min(initial=0) < 0:
        return None
    return tuple(map(int, stated))


def empty_items(node: Node, position: int) -> tuple[None, ...]:
    count = int(node.scalar(position))
    if not 0 <= count <= MAX_ITEMS:
        raise VerifyException(f"a list of {count} tensors")
    return (None,) * count


def item(node: Node, own: TensorList, index: int) -> SSAValue:
    if not 0 <= index < len(own.items):
        raise VerifyException(f"item {index} of a list of {len(own.items)}")
    value = own.items[index]
    return zeros(node, own) if value is None else value


def zeros(node: Node, own: TensorList) -> SSAValue:
    known = next((shape_of(value) for value in own.items if value is not None), own.shape)
    if known is None:
        raise VerifyException("items of a list have no known shape")
    zero = node.build_constant(np.zeros((), dtype_of(own.element)))
    return node.build(nn.BroadcastOp(zero, shape=known))


def replaced(own: TensorList, index: int, value: SSAValue) -> TensorList:
    if not 0 <= index < len(own.items):
        raise VerifyException(f"item {index} of a list of {len(own.items)}")
    return TensorList((*own.items[:index], value, *own.items[index + 1 :]), own.element)


def all_items(node: Node, own: TensorList) -> list[SSAValue]:
    return [item(node, own, index) for index in range(len(own.items))]


def stack(node: Node, own: TensorList) -> SSAValue:
    if not own.items:
        shape = own.shape
        if shape is None:
            raise VerifyException("an empty list has no known shape")
        return node.build_constant(np.zeros((0, *shape), dtype_of(own.element)))
    return stacked(node, all_items(node, own), 0)


def rows(node: Node, value: SSAValue) -> tuple[SSAValue, ...]:
    return tuple(row_of(node, value, 0, index) for index in range(shape_of(value)[0]))


# -- TensorList -------------------------------------------------------------------------------


@tf_op("TensorListReserve")
def import_reserve(node: Node) -> Value:
    element = node.element_attribute("element_dtype")
    return TensorList(empty_items(node, 1), element, shape_operand(node, 0))


@tf_op("EmptyTensorList")
def import_empty(node: Node) -> Value:
    return TensorList((), node.element_attribute("element_dtype"), shape_operand(node, 0))


@tf_op("TensorListFromTensor")
def import_from_tensor(node: Node) -> Value:
    value = node.operand(0)
    return TensorList(rows(node, value), element_of(value), node.shape()[1:])


@tf_op("TensorListGetItem")
def import_get_item(node: Node) -> Value:
    return item(node, with_shape(node, 2), int(node.scalar(1)))


def with_shape(node: Node, position: int) -> TensorList:
    """The list of a node, with the shape of items that the node states."""
    own = node.list_operand(0)
    return TensorList(own.items, own.element, own.shape or shape_operand(node, position))


@tf_op("TensorListSetItem")
def import_set_item(node: Node) -> Value:
    return replaced(node.list_operand(0), int(node.scalar(1)), node.operand(2))


@tf_op("TensorListStack")
def import_stack(node: Node) -> Value:
    return stack(node, with_shape(node, 1))


@tf_op("TensorListGather")
def import_list_gather(node: Node) -> Value:
    own = with_shape(node, 2)
    return stacked(node, [item(node, own, index) for index in node.constant_ints(1)], 0)


@tf_op("TensorListLength")
def import_length(node: Node) -> Value:
    return node.build_constant(np.array(len(node.list_operand(0).items), np.int32))


@tf_op("TensorListPushBack")
def import_push_back(node: Node) -> Value:
    own = node.list_operand(0)
    return TensorList((*own.items, node.operand(1)), own.element)


@tf_op("TensorListPopBack")
def import_pop_back(node: Node) -> Sequence[Value]:
    own = with_shape(node, 1)
    last = item(node, own, len(own.items) - 1)
    return [TensorList(own.items[:-1], own.element, own.shape), last]


@tf_op("TensorListConcatV2", "TensorListConcat")
def import_list_concat(node: Node) -> Sequence[Value]:
    items = all_items(node, node.list_operand(0))
    lengths = np.array([shape_of(value)[0] for value in items], np.int64)
    return [node.build(nn.ConcatOp(*items, axis=0)), node.build_constant(lengths)]


# -- TensorArray: the handle is nothing, its flow is the list ---------------------------------


@tf_op("TensorArrayV3")
def import_array(node: Node) -> Sequence[Value]:
    shape = static_shape(node.attribute("element_shape"))
    array = TensorList(empty_items(node, 0), node.element_attribute("dtype"), shape or None)
    return [array, array]


@tf_op("TensorArrayWriteV3")
def import_array_write(node: Node) -> Value:
    return replaced(node.list_operand(3), int(node.scalar(1)), node.operand(2))


@tf_op("TensorArrayReadV3")
def import_array_read(node: Node) -> Value:
    return item(node, node.list_operand(2), int(node.scalar(1)))


@tf_op("TensorArrayGatherV3")
def import_array_gather(node: Node) -> Value:
    own = node.list_operand(2)
    return stacked(node, [item(node, own, index) for index in node.constant_ints(1)], 0)


@tf_op("TensorArrayScatterV3")
def import_array_scatter(node: Node) -> Value:
    array = node.list_operand(3)
    for index, value in zip(node.constant_ints(1), rows(node, node.operand(2)), strict=True):
        array = replaced(array, index, value)
    return array


@tf_op("TensorArraySizeV3")
def import_array_size(node: Node) -> Value:
    return node.build_constant(np.array(len(node.list_operand(1).items), np.int32))
