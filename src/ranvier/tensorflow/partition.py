"""Divide a flat graph into subgraphs for the machine and nodes that stay in TensorFlow.

Number the nodes in their order so that nodes on the machine have odd levels and nodes in TensorFlow
even ones, and a level never decreases along a use. The nodes of one odd level are one subgraph:
they are convex, and no division needs fewer alternations. Nodes that compute nothing belong to
whoever reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum

from ranvier.dialects.interfaces import Array
from ranvier.importers.tensorflow.flatten import PLACEHOLDERS, WITH_DEFAULT, FlatGraph
from ranvier.importers.tensorflow.graph import Nodes, Tensor
from ranvier.importers.tensorflow.loops import Loop, loops_of
from ranvier.importers.tensorflow.protos import Message


class Kind(Enum):
    """Where a node runs."""

    INPUT = "input"
    DEVICE = "neuron"
    HOST = "host"
    FREE = "free"
    """With its readers: it computes nothing, or a constant."""


@dataclass
class Subgraph:
    """Nodes of one level, what they read, and what others read of them."""

    level: int
    nodes: set[str]
    """Those that compute on the machine."""
    inputs: dict[Tensor, None] = field(default_factory=dict[Tensor, None])
    members: dict[str, None] = field(default_factory=dict[str, None])
    """All nodes to compile, with those that compute nothing."""
    outputs: dict[Tensor, int] = field(default_factory=dict[Tensor, int])


@dataclass
class Division:
    subgraphs: list[Subgraph]
    native: dict[str, None]
    """Nodes that stay in TensorFlow, in order."""
    small: dict[str, int]
    """Nodes of subgraphs that are too small, and how many those have."""


class Divider:
    """One flat graph with the kinds of its nodes.

    `constants` are values of free nodes under the compiled shapes, `fixed` those of them that hold
    under all shapes: these read nothing.
    """

    def __init__(
        self,
        flat: FlatGraph,
        kinds: Mapping[str, Kind],
        constants: Mapping[str, Array],
        fixed: Collection[str],
    ) -> None:
        self.flat = flat
        self.nodes = Nodes(flat.place, flat.nodes.values())
        self.loops = loops_of(self.nodes)
        self.kinds = dict(kinds)
        self.constants = constants
        self.fixed = fixed

    def operands(self, name: str) -> Sequence[Tensor]:
        if (loop := self.loops.get(name)) is not None:
            return loop.starts()
        return self.nodes.data_inputs(self.flat.nodes[name])

    def divide(self, minimum: int, forced: AbstractSet[str] = frozenset()) -> Division:
        """Subgraphs of at least `minimum` nodes; smaller ones stay in TensorFlow.

        Those with a node in `forced` are compiled.
        """
        division = Division([], {}, {})
        while True:
            subgraphs = self._levels()
            few = [s for s in subgraphs if len(s.nodes) < minimum and not s.nodes & forced]
            small = {name: len(subgraph.nodes) for subgraph in few for name in subgraph.nodes}
            if not small:
                break
            division.small |= small
            self.kinds |= dict.fromkeys(small, Kind.HOST)
        division.subgraphs = subgraphs
        self._demand(division)
        division.subgraphs = [s for s in subgraphs if s.outputs]
        return division

    def _levels(self) -> list[Subgraph]:
        levels: dict[str, int] = {}
        found: dict[int, Subgraph] = {}
        for name in self.flat.nodes:
            kind = self.kinds[name]
            read = () if name in self.fixed else self.operands(name)
            level = max((levels.get(tensor.node, 0) for tensor in read), default=0)
            if kind is Kind.DEVICE:
                level += level % 2 == 0
                found.setdefault(level, Subgraph(level, set())).nodes.add(name)
            elif kind in (Kind.HOST, Kind.INPUT):
                level += level % 2
            levels[name] = level
        return [found[level] for level in sorted(found)]

    def _is_fed(self, node: Message) -> bool:
        """Whether a node is a mere placeholder; others that callers may feed compute as well."""
        mere = node.op in PLACEHOLDERS and node.op != WITH_DEFAULT
        return self.kinds[node.name] is Kind.INPUT and mere

    def _demand(self, division: Division) -> None:
        """Find who reads what, from the outputs of the graph."""
        owner = {name: s for s in division.subgraphs for name in s.nodes}
        filled: set[int] = set()
        pending = list(self.flat.outputs)
        native: dict[str, None] = {}
        while pending:
            tensor = pending.pop()
            subgraph = owner.get(tensor.node)
            if subgraph is None:
                node = self.flat.nodes[tensor.node]
                if tensor.node not in native and not self._is_fed(node):
                    native[tensor.node] = None
                    if tensor.node in self.fixed:
                        continue
                    pending += self.nodes.data_inputs(node)
                    pending += [Tensor(name, 0) for name in self.nodes.control_inputs(node)]
                continue
            subgraph.outputs.setdefault(tensor, len(subgraph.outputs))
            if subgraph.level not in filled:
                filled.add(subgraph.level)
                self._fill(subgraph)
                pending += subgraph.inputs
        division.native = {name: None for name in self.flat.nodes if name in native}

    def _fill(self, subgraph: Subgraph) -> None:
        """The members of a subgraph and the results that it reads from elsewhere."""
        members: set[str] = set()
        inputs: set[Tensor] = set()
        pending = list(subgraph.nodes)
        while pending:
            name = pending.pop()
            if name in members:
                continue
            members.add(name)
            if name in self.constants:
                continue
            for tensor in self.nodes.data_inputs(self.flat.nodes[name]):
                if tensor.node in subgraph.nodes or self.kinds[tensor.node] is Kind.FREE:
                    pending.append(tensor.node)
                else:
                    inputs.add(tensor)
        order = {name: place for place, name in enumerate(self.flat.nodes)}
        subgraph.members = dict.fromkeys(sorted(members, key=order.__getitem__))
        subgraph.inputs = dict.fromkeys(sorted(inputs, key=lambda t: (order[t.node], t.position)))


def nodes_in_loop(nodes: Nodes, loop: Loop) -> set[str]:
    """The nodes of a loop without functions, but for its ends."""
    inside: set[str] = set()
    starts = {tensor.node for tensor in loop.starts()}
    pending = [loop.condition.node, *(enter.node for enter, _ in loop.invariants)]
    for variable in loop.variables:
        pending += [variable.after.node, variable.switch.node, variable.merge.node]
    while pending:
        name = pending.pop()
        if name not in inside and name not in starts:
            inside.add(name)
            pending += [tensor.node for tensor in nodes.data_inputs(nodes.node(name))]
    return inside
