"""Control flow that the model fixes: loops of static length unrolled, branches chosen.

A branch whose condition is an input computes both sides and selects. A loop whose condition is one
is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.importers.tensorflow.graph import BRANCHES, CASES, LOOPS, Tensor, attribute
from ranvier.importers.tensorflow.loops import Loop
from ranvier.importers.tensorflow.node import Node
from ranvier.importers.tensorflow.protos import Message
from ranvier.importers.tensorflow.values import Dead, Value

if TYPE_CHECKING:
    from ranvier.importers.tensorflow.importer import Frame, GraphImporter

MAX_ITERATIONS = 4096


def import_control(importer: GraphImporter, node: Node) -> Sequence[Value] | None:
    """The results of a node of control flow; None for others."""
    if node.op_type in LOOPS:
        return unrolled(importer, node)
    if node.op_type in BRANCHES:
        return branched(importer, node)
    if node.op_type in CASES:
        branches = attribute(node.proto, "branches").list.func
        index = int(node.scalar(0))
        index = index if 0 <= index < len(branches) else len(branches) - 1
        return call(importer, node, branches[index].name, node.inputs[1:])
    if (function := importer.library.called(node.proto)) is not None:
        return call(importer, node, function.signature.name, node.inputs)
    if node.op_type == "Switch":
        taken = bool(node.scalar(1))
        return [Dead() if taken else node.inputs[0], node.inputs[0] if taken else Dead()]
    if node.op_type == "Merge":
        return merged(node)
    return None


def merged(node: Node) -> Sequence[Value]:
    alive = [i for i, value in enumerate(node.inputs) if not isinstance(value, Dead)]
    if len(alive) > 1:
        node.fail(Code.NODE_NOT_STATIC, "both sides of its branch may be taken")
    if not alive:
        return [Dead(), Dead()]
    return [node.inputs[alive[0]]]


def call(
    importer: GraphImporter, node: Node, name: str, arguments: Sequence[Value]
) -> Sequence[Value]:
    """The results of a function on some values; all of it has the location of the node."""
    body = importer.body(importer.library.function(node.proto, name))
    if len(arguments) != len(body.arguments):
        node.fail(
            Code.NODE_INVALID,
            f"'{name}' takes {len(body.arguments)} operands, got {len(arguments)}",
        )
    frame = importer.frame(body, node.location)
    for argument, value in zip(body.arguments, arguments, strict=True):
        frame.values[Tensor(argument, 0)] = value
    return importer.evaluate(frame, body.results)


def branched(importer: GraphImporter, node: Node) -> Sequence[Value]:
    sides = [attribute(node.proto, f"{side}_branch").func.name for side in ("then", "else")]
    known = importer.builder.constant_of(node.operand(0))
    if known is not None:
        return call(importer, node, sides[0 if known.any() else 1], node.inputs[1:])
    if node.shape():
        node.fail(Code.NODE_NOT_STATIC, "its condition is a tensor of unknown elements")
    then, other = (call(importer, node, side, node.inputs[1:]) for side in sides)
    return [selected(node, yes, no) for yes, no in zip(then, other, strict=True)]


def selected(node: Node, yes: Value, no: Value) -> Value:
    if not isinstance(yes, SSAValue) or not isinstance(no, SSAValue) or yes.type != no.type:
        node.fail(Code.NODE_NOT_STATIC, "its condition is an input and its sides differ in type")
    return node.build(nn.SelectOp(node.operand(0), yes, no))


def unrolled(importer: GraphImporter, node: Node) -> Sequence[Value]:
    condition, body = (attribute(node.proto, part).func.name for part in ("cond", "body"))
    values = list(node.inputs)
    for _ in range(MAX_ITERATIONS):
        (going,) = call(importer, node, condition, values)
        if not is_known_true(importer, node, going):
            return values
        values = list(call(importer, node, body, values))
    node.fail(Code.MODEL_UNSUPPORTED, f"it runs more than {MAX_ITERATIONS} times")


def unrolled_frames(importer: GraphImporter, frame: Frame, loop: Loop, exit: Message) -> None:
    """Run a loop of a graph without functions; its Exit nodes get their values."""
    node = Node(exit, [], importer.builder, importer.place, frame.location)
    current = [frame.values[variable.start] for variable in loop.variables]
    for _ in range(MAX_ITERATIONS):
        inner = importer.frame(frame.nodes, importer.loop_location(frame, loop))
        for enter, value in loop.invariants:
            inner.values[enter] = frame.values[value]
        for variable, value in zip(loop.variables, current, strict=True):
            inner.values |= {variable.merge: value, variable.switch: value}
        (going,) = importer.evaluate(inner, [loop.condition])
        if not is_known_true(importer, node, going):
            break
        current = importer.evaluate(inner, [variable.after for variable in loop.variables])
    else:
        node.fail(Code.MODEL_UNSUPPORTED, f"it runs more than {MAX_ITERATIONS} times")
    for variable, value in zip(loop.variables, current, strict=True):
        frame.values |= dict.fromkeys(variable.exits, value)


def is_known_true(importer: GraphImporter, node: Node, going: Value) -> bool:
    known = importer.builder.constant_of(going) if isinstance(going, SSAValue) else None
    if known is None:
        node.fail(Code.NODE_NOT_STATIC, "how often the loop runs depends on an input")
    return bool(known.all())
