"""Follow the results of a graph through the functions that it calls.

A node is found in a scope: the graph itself, or the body of a function at one call of it. What a
function's argument stands for lies in the scope of the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ranvier.dialects.diagnostics import Code
from ranvier.importers.tensorflow.graph import (
    LOOPS,
    Body,
    Library,
    Nodes,
    Tensor,
    attribute,
    fail,
)
from ranvier.importers.tensorflow.protos import Message
from ranvier.importers.tensorflow.tensors import RESOURCE

VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
MAX_DEPTH = 200


@dataclass(eq=False)
class Scope:
    """A graph, or a function's body at one call."""

    nodes: Nodes
    prefix: str = ""
    """Of the names that its nodes have in the flat graph."""
    arguments: Sequence[tuple[Scope, Tensor]] = ()
    depth: int = 0
    calls: dict[str, Scope] = field(default_factory=dict[str, "Scope"])


class Place(NamedTuple):
    """A result, where its node stands."""

    scope: Scope
    node: Message
    position: int

    @property
    def name(self) -> str:
        return self.scope.prefix + self.node.name

    @property
    def tensor(self) -> Tensor:
        return Tensor(self.name, self.position)


class Inliner:
    """Resolves results through calls, and through what only passes a variable on."""

    def __init__(self, graph: Message, place: str) -> None:
        self.library = Library(place, {f.signature.name: f for f in graph.library.function})
        self.root = Scope(Nodes(place, graph.node))
        self.place = place

    def resolve(self, scope: Scope, tensor: Tensor) -> Place:
        """The node that computes a result."""
        while True:
            nodes = scope.nodes
            if isinstance(nodes, Body) and tensor.node in nodes.arguments:
                scope, tensor = scope.arguments[nodes.arguments.index(tensor.node)]
                continue
            node = nodes.node(tensor.node)
            if (function := self.library.called(node)) is not None:
                scope = self.call(scope, node, function)
                tensor = self._result(scope, node, tensor.position)
            elif passes_resource(node) or self._carries_variable(scope, node, tensor.position):
                tensor = nodes.data_inputs(node)[tensor.position]
            else:
                return Place(scope, node, tensor.position)

    def inputs(self, scope: Scope, node: Message) -> list[Place]:
        return [self.resolve(scope, tensor) for tensor in scope.nodes.data_inputs(node)]

    def call(self, scope: Scope, node: Message, function: Message) -> Scope:
        """The scope of a function at a call."""
        if (known := scope.calls.get(node.name)) is not None:
            return known
        inputs = scope.nodes.data_inputs(node)
        body = Body(self.place, function)
        if len(inputs) != len(body.arguments):
            fail(
                self.place,
                Code.NODE_INVALID,
                f"node '{node.name}' calls '{function.signature.name}' with {len(inputs)} "
                f"operands, it takes {len(body.arguments)}",
            )
        if scope.depth >= MAX_DEPTH:
            fail(self.place, Code.MODEL_UNSUPPORTED, f"calls nest deeper than {MAX_DEPTH}")
        prefix = f"{scope.prefix}{node.name}/"
        inner = Scope(body, prefix, [(scope, tensor) for tensor in inputs], scope.depth + 1)
        scope.calls[node.name] = inner
        return inner

    def _result(self, inner: Scope, node: Message, index: int) -> Tensor:
        assert isinstance(inner.nodes, Body)
        results = inner.nodes.results
        if index >= len(results):
            fail(self.place, Code.NODE_INVALID, f"node '{node.name}' has no result {index}")
        return results[index]

    def _carries_variable(self, scope: Scope, node: Message, index: int) -> bool:
        """Whether a result of a loop is a variable that the loop leaves as it is."""
        types = attribute(node, "T").list.type if node.op in LOOPS else ()
        if index >= len(types) or types[index] != RESOURCE:
            return False
        body = Body(self.place, self.library.function(node, attribute(node, "body").func.name))
        return body.results[index] == Tensor(body.arguments[index], 0)

    def size(self, scope: Scope) -> int:
        """Nodes of a scope and of what is called in it."""
        return len(scope.nodes.by_name) + sum(map(self.size, scope.calls.values()))

    def effects(self, scope: Scope, nodes: Iterable[Message]) -> Iterator[tuple[Scope, Message]]:
        """All nodes that some nodes wait for, by data or control, called functions included."""
        pending = [(scope, node) for node in nodes]
        seen: set[tuple[int, str]] = set()
        while pending:
            scope, node = pending.pop()
            if (id(scope), node.name) in seen:
                continue
            seen.add((id(scope), node.name))
            yield scope, node
            own = scope.nodes
            names = [tensor.node for tensor in own.data_inputs(node)] + own.control_inputs(node)
            arguments = own.arguments if isinstance(own, Body) else ()
            pending += [
                (scope, own.node(name, node.name)) for name in names if name not in arguments
            ]
            if (function := self.library.called(node)) is not None:
                inner = self.call(scope, node, function)
                ends = [*function.control_ret.values(), *(t.node for t in results_of(inner))]
                inside = inner.nodes.by_name
                pending += [(inner, inside[name]) for name in ends if name in inside]


def results_of(scope: Scope) -> Sequence[Tensor]:
    return scope.nodes.results if isinstance(scope.nodes, Body) else ()


def passes_resource(node: Message) -> bool:
    """Whether a node only hands on a handle."""
    return node.op == "Identity" and attribute(node, "T").type == RESOURCE
