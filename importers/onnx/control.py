"""Control flow that the model fixes, and sequences: neither is left in the module.

A branch is chosen where its condition is constant; where it is an input, both sides are computed
and one is selected. Loops are unrolled; one whose length depends on an input is refused. A
sequence is a tuple of values while the graph is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from onnx import GraphProto
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.types import shape_of
from ranvier.importers.onnx.node import Node, number_of
from ranvier.importers.semantics import normal_axis

if TYPE_CHECKING:
    from ranvier.importers.onnx import GraphImporter

Value: TypeAlias = "SSAValue | tuple[SSAValue, ...]"
Operands: TypeAlias = "Sequence[Value | None]"
ControlHandler: TypeAlias = "Callable[[GraphImporter, Node, Operands], Sequence[Value]]"

MAX_ITERATIONS = 4096

CONTROL: dict[str, ControlHandler] = {}


def control_op(op_type: str) -> Callable[[ControlHandler], ControlHandler]:
    def enter(handler: ControlHandler) -> ControlHandler:
        CONTROL[op_type] = handler
        return handler

    return enter


# -- Branches ---------------------------------------------------------------------------------


@control_op("If")
def import_if(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    sides: list[GraphProto] = [node.attribute(f"{side}_branch") for side in ("then", "else")]
    condition = node.operand(0)
    known = node.builder.constant_of(condition)
    if known is not None:
        return importer.run_inner(sides[0 if number_of(known) else 1])
    if shape_of(condition):
        condition = node.build(nn.ReshapeOp(condition, shape=()))
    then, other = (importer.run_inner(side) for side in sides)
    if len(then) != len(other):
        raise VerifyException(f"its branches have {len(then)} and {len(other)} results")
    return [selected(node, condition, yes, no) for yes, no in zip(then, other, strict=True)]


def selected(node: Node, condition: SSAValue, yes: Value, no: Value) -> SSAValue:
    if isinstance(yes, tuple) or isinstance(no, tuple) or yes.type != no.type:
        node.fail(
            Code.NODE_NOT_STATIC,
            f"its condition '{node.proto.input[0]}' depends on an input, and its branches differ "
            "in type",
        )
    return node.build(nn.SelectOp(condition, yes, no))


# -- Loops ------------------------------------------------------------------------------------


@control_op("Loop")
def import_loop(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    body: GraphProto = node.attribute("body")
    carried = [value for value in operands[2:] if value is not None]
    going = node.optional(1) or node.build_constant(np.array(True))
    stacked: list[list[SSAValue]] = [[] for _ in body.output[1 + len(carried) :]]
    limit, count = node.scalar(0), 0
    while (limit is None or count < limit) and is_known_true(node, going):
        if count == MAX_ITERATIONS:
            node.fail(Code.MODEL_UNSUPPORTED, f"it runs more than {MAX_ITERATIONS} times")
        step = node.build_constant(np.array(count, np.int64))
        results = importer.run_inner(body, [step, going, *carried])
        going, carried = tensor_of(results[0]), results[1 : 1 + len(carried)]
        for values, value in zip(stacked, results[1 + len(carried) :], strict=True):
            values.append(tensor_of(value))
        count += 1
    return [*carried, *(stack(node, values, 0) for values in stacked)]


def is_known_true(node: Node, going: SSAValue) -> bool:
    if (known := node.builder.constant_of(going)) is None:
        node.fail(Code.NODE_NOT_STATIC, "how often the loop runs depends on an input")
    return bool(number_of(known))


@control_op("Scan")
def import_scan(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    """Scan inputs are cut along an axis, scan outputs are joined along one."""
    if node.opset < 9:
        node.fail(Code.MODEL_UNSUPPORTED, "scans over batches, of opset 8, are not supported")
    body: GraphProto = node.attribute("body")
    count: int = node.attribute("num_scan_inputs")
    values = [tensor_of(value) for value in operands]
    states: list[Value] = list(values[: len(values) - count])
    cuts = [
        pieces(node, value, axis, backward)
        for value, axis, backward in zip(
            values[len(values) - count :], *directed(node, "input", count), strict=True
        )
    ]
    if len({len(cut) for cut in cuts}) > 1:
        raise VerifyException(f"its operands have {[len(cut) for cut in cuts]} steps")
    outputs = len(body.output) - len(states)
    stacked: list[list[SSAValue]] = [[] for _ in range(outputs)]
    for slices in zip(*cuts, strict=True):
        results = importer.run_inner(body, [*states, *slices])
        states = results[: len(states)]
        for found, value in zip(stacked, results[len(states) :], strict=True):
            found.append(tensor_of(value))
    joined = [
        stack(node, found[::-1] if backward else found, axis)
        for found, axis, backward in zip(stacked, *directed(node, "output", outputs), strict=True)
    ]
    return [*states, *joined]


def directed(node: Node, side: str, count: int) -> tuple[Sequence[int], Sequence[int]]:
    """The axis and the direction of each scan input or output."""
    zeros = (0,) * count
    return (
        node.ints(f"scan_{side}_axes") or zeros,
        node.ints(f"scan_{side}_directions") or zeros,
    )


def pieces(node: Node, value: SSAValue, axis: int, backward: int) -> list[SSAValue]:
    """The slices of a tensor along an axis, without that axis."""
    shape = shape_of(value)
    axis = normal_axis(axis, len(shape))
    rest = (*shape[:axis], *shape[axis + 1 :])
    slices = split(node, value, axis, [1] * shape[axis])
    found = [node.build(nn.ReshapeOp(piece, shape=rest)) for piece in slices]
    return found[::-1] if backward else found


def stack(node: Node, values: Sequence[SSAValue], axis: int) -> SSAValue:
    """Tensors of one shape along a new axis."""
    if not values:
        node.fail(Code.MODEL_UNSUPPORTED, "it runs no iteration, so a result has no elements")
    shape = shape_of(values[0])
    axis = normal_axis(axis, len(shape) + 1)
    shape = (*shape[:axis], 1, *shape[axis:])
    return concat(node, [node.build(nn.ReshapeOp(v, shape=shape)) for v in values], axis)


def concat(node: Node, values: Sequence[SSAValue], axis: int) -> SSAValue:
    return values[0] if len(values) == 1 else node.build(nn.ConcatOp(*values, axis=axis))


def split(node: Node, value: SSAValue, axis: int, sizes: Sequence[int]) -> list[SSAValue]:
    shape, start = shape_of(value), 0
    if sum(sizes) != shape[axis]:
        raise VerifyException(f"lengths {list(sizes)} do not fill an axis of {shape[axis]}")
    found: list[SSAValue] = []
    for size in sizes:
        starts = (*[0] * axis, start, *[0] * (len(shape) - axis - 1))
        kept = (*shape[:axis], size, *shape[axis + 1 :])
        steps = (1,) * len(shape)
        found.append(node.build(nn.SliceOp(value, starts=starts, sizes=kept, steps=steps)))
        start += size
    return found


# -- Sequences --------------------------------------------------------------------------------


def tensor_of(value: Value | None) -> SSAValue:
    if not isinstance(value, SSAValue):
        raise VerifyException(f"expected a tensor, got {'none' if value is None else 'a sequence'}")
    return value


def sequence_of(value: Value | None) -> tuple[SSAValue, ...]:
    if not isinstance(value, tuple):
        raise VerifyException(f"expected a sequence, got {'none' if value is None else 'a tensor'}")
    return value


def position(node: Node, operand: int, length: int, default: int) -> int:
    """A place in a sequence, counted from the end if negative."""
    given: Any = node.scalar(operand)
    place = default if given is None else int(given)
    if not -length <= place < length:
        raise VerifyException(f"position {place} is not in a sequence of {length}")
    return place % length


def insertion(node: Node, length: int) -> int:
    """Where a tensor comes into a sequence: before a position, or at the end."""
    if node.optional(2) is None or node.scalar(2) == length:
        return length
    return position(node, 2, length, length)


@control_op("SequenceEmpty")
def import_empty(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    return [()]


@control_op("SequenceConstruct")
def import_construct(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    return [tuple(map(tensor_of, operands))]


@control_op("SequenceInsert")
def import_insert(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    values = sequence_of(operands[0])
    place = insertion(node, len(values))
    return [(*values[:place], tensor_of(operands[1]), *values[place:])]


@control_op("SequenceErase")
def import_erase(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    values = sequence_of(operands[0])
    place = position(node, 1, len(values), -1)
    return [(*values[:place], *values[place + 1 :])]


@control_op("SequenceAt")
def import_at(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    values = sequence_of(operands[0])
    return [values[position(node, 1, len(values), 0)]]


@control_op("SequenceLength")
def import_length(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    return [node.build_constant(np.array(len(sequence_of(operands[0])), np.int64))]


@control_op("SplitToSequence")
def import_split(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    """Into chunks of one length, into given lengths, or into slices that may lose their axis."""
    value = node.operand(0)
    axis = normal_axis(node.attribute("axis", 0), node.rank())
    if (given := node.constant(1)) is None:
        if node.attribute("keepdims", 1):
            return [tuple(split(node, value, axis, [1] * node.shape()[axis]))]
        return [tuple(pieces(node, value, axis, False))]
    size = node.shape()[axis]
    if given.shape:
        sizes = [int(length) for length in given]
    else:
        length = int(number_of(given))
        if length < 1:
            raise VerifyException(f"chunks have at least one element, got {length}")
        sizes = [min(length, size - start) for start in range(0, size, length)]
    return [tuple(split(node, value, axis, sizes))]


@control_op("ConcatFromSequence")
def import_concat(importer: GraphImporter, node: Node, operands: Operands) -> Sequence[Value]:
    values = sequence_of(operands[0])
    axis: int = node.attribute("axis", 0)
    if node.attribute("new_axis", 0):
        return [stack(node, values, axis)]
    if not values:
        raise VerifyException("a sequence without tensors has nothing to join")
    return [concat(node, values, normal_axis(axis, len(shape_of(values[0]))))]
