"""One flat graph of what a signature computes: calls inlined, variables constant.

Control inputs go, as nothing with an effect stays, but for those that put a constant into a loop
without functions. A graph that assigns to a variable which it also reads is refused, since its
results depend on the order. Loops and branches stay nodes that name functions; their functions get
variables as values too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import Array
from ranvier.importers.tensorflow.graph import BRANCHES, CASES, LOOPS, Tensor, attribute, fail
from ranvier.importers.tensorflow.inline import VARIABLES, Inliner, Place, Scope
from ranvier.importers.tensorflow.loops import nodes_in_frames
from ranvier.importers.tensorflow.protos import Message, NodeDef
from ranvier.importers.tensorflow.specialize import Specializer, become_gather, become_read
from ranvier.importers.tensorflow.tensors import code_of_dtype, proto_of_array

WITH_DEFAULT = "PlaceholderWithDefault"
PLACEHOLDERS = ("Placeholder", "PlaceholderV2", WITH_DEFAULT)
_DROPPED = ("_class", "_XlaMustCompile", "_read_only_resource_inputs")


class Variables(Protocol):
    """The values of a graph's variables."""

    def value(self, node: Message, name: str) -> Array:
        """Of the variable of a node. Raises ModelImportError if there is none."""
        ...


@dataclass
class FlatGraph:
    """Nodes by name in an order where operands come first, unless a loop forbids that."""

    place: str
    nodes: dict[str, Message] = field(default_factory=dict[str, Message])
    constants: dict[str, Array] = field(default_factory=dict[str, Array])
    """Values of variables by the name of their constant, which does not hold them itself."""
    functions: dict[str, Message] = field(default_factory=dict[str, Message])
    outputs: list[Tensor] = field(default_factory=list[Tensor])
    session_nodes: int = 0
    """Nodes of the whole graph that it is part of, those of called functions included."""


def flatten(
    graph: Message,
    outputs: Sequence[Tensor],
    *,
    inputs: AbstractSet[str],
    variables: Variables,
    place: str,
) -> FlatGraph:
    """The part of a graph that `outputs` need, from the nodes named by `inputs`."""
    return Flattener(graph, inputs, variables, place).run(outputs)


class Flattener:
    def __init__(
        self, graph: Message, inputs: AbstractSet[str], variables: Variables, place: str
    ) -> None:
        self.inliner = Inliner(graph, place)
        self.inputs = inputs
        self.variables = variables
        self.flat = FlatGraph(place, functions=dict(self.inliner.library.functions))
        self.specializer = Specializer(self.inliner.library, self.flat.functions)
        self._read: dict[str, str] = {}
        """Readers of variables, by the variable's name."""

    def run(self, outputs: Sequence[Tensor]) -> FlatGraph:
        root = self.inliner.root
        pending = [self.inliner.resolve(root, tensor) for tensor in outputs]
        self.flat.outputs = [place.tensor for place in pending]
        while pending:
            place = pending.pop()
            if place.name not in self.flat.nodes:
                pending += self._emit(place)
        self._check_effects(root, [root.nodes.node(tensor.node) for tensor in outputs])
        self.flat.nodes = in_order(self.flat.nodes)
        self.flat.session_nodes = self.inliner.size(root)
        return self.flat

    def _emit(self, place: Place) -> Sequence[Place]:
        """Add a node; returns its operands."""
        node = NodeDef()
        node.CopyFrom(place.node)
        node.name, node.device = place.name, ""
        for name in _DROPPED:
            node.attr.pop(name, None)
        if place.node.op in VARIABLES:
            self._emit_constant(node, self.variables.value(place.node, place.name))
            return []
        if node.op in PLACEHOLDERS and node.op != WITH_DEFAULT and node.name in self.inputs:
            self.flat.nodes[node.name] = node
            return []
        operands = self.inliner.inputs(place.scope, place.node)
        read = {i: self._variable_type(o) for i, o in enumerate(operands) if is_variable(o)}
        for position in read:
            self._read[operands[position].name] = place.name
        inputs = [str(operand.tensor) for operand in operands]
        inputs += self._freeze(node, read)
        controls = [] if operands else self._loop_of(place)
        del node.input[:]
        node.input.extend([*inputs, *(f"^{control.name}" for control in controls)])
        self.flat.nodes[node.name] = node
        return [*operands, *controls]

    def _loop_of(self, place: Place) -> list[Place]:
        """A node in the loop that a node without operands is part of."""
        if place.scope is not self.inliner.root:
            return []
        names = self.inliner.root.nodes.control_inputs(place.node)
        inside = [name for name in names if name in self._in_frames]
        return [self.inliner.resolve(place.scope, Tensor(name, 0)) for name in inside[:1]]

    @cached_property
    def _in_frames(self) -> set[str]:
        return nodes_in_frames(self.inliner.root.nodes)

    def _variable_type(self, place: Place) -> int:
        return int(attribute(place.node, "dtype").type)

    def _emit_constant(self, node: Message, value: Array) -> None:
        constant = NodeDef(name=node.name, op="Const")
        constant.attr["dtype"].type = code_of_dtype(value.dtype)
        self.flat.nodes[node.name] = constant
        self.flat.constants[node.name] = value

    def _freeze(self, node: Message, read: Mapping[int, int]) -> list[str]:
        """Make a node read values where it reads variables; returns further inputs."""
        if node.op == WITH_DEFAULT and node.name not in self.inputs:
            node.op = "Identity"
            node.attr["T"].type = node.attr["dtype"].type
        if not read:
            return []
        match node.op:
            case "ReadVariableOp":
                become_read(node)
            case "ResourceGather":
                become_gather(node)
                axis = NodeDef(name=f"{node.name}/axis_of_rows", op="Const")
                axis.attr["dtype"].type = code_of_dtype(np.dtype(np.int32))
                axis.attr["value"].tensor.CopyFrom(proto_of_array(np.array(0, np.int32)))
                self.flat.nodes[axis.name] = axis
                return [f"{axis.name}:0"]
            case "VariableShape":
                node.op, node.attr["T"].type = "Shape", read[0]
            case op if op in LOOPS or op in BRANCHES or op in CASES:
                self.specializer.specialize_control_flow(node, read)
            case op if op.startswith("Assign") or "Apply" in op:
                self._refuse(node.name, op)
            case _:
                pass  # reads the value of a reference
        return []

    def _refuse(self, name: str, op: str) -> None:
        fail(
            self.flat.place,
            Code.MODEL_UNSUPPORTED,
            f"node '{name}' ({op}) changes a variable as the model runs",
        )

    def _check_effects(self, root: Scope, ends: Sequence[Message]) -> None:
        for scope, node in self.inliner.effects(root, ends):
            if node.op.startswith("Assign") and scope.nodes.data_inputs(node):
                target = self.inliner.inputs(scope, node)[0]
                if target.name in self._read:
                    self._refuse(scope.prefix + node.name, node.op)


def is_variable(place: Place) -> bool:
    return place.node.op in VARIABLES


def in_order(nodes: Mapping[str, Message]) -> dict[str, Message]:
    """The nodes so that operands come first; a cycle, which a loop is, breaks at its first node."""
    ordered: dict[str, Message] = {}
    opened: set[str] = set()
    for start in nodes:
        pending = [start]
        while pending:
            name = pending[-1]
            if name in ordered or name not in nodes:
                pending.pop()
            elif name in opened:
                ordered[name] = nodes[pending.pop()]
            else:
                opened.add(name)
                names = [text.removeprefix("^").rpartition(":")[0] for text in nodes[name].input]
                pending += [other for other in reversed(names) if other not in opened]
    return ordered
