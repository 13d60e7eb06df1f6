"""Divide a placed symbol into parts for the machine and nodes that stay with MXNet.

The levels are those of the `segment` pass: nodes of one odd level are one part, which is convex,
and no division has fewer. Nodes that compute nothing go with the others of their level; constants
are copied to whoever reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import dtype_of
from ranvier.importers.mxnet.symbol import Entry, SymbolGraph
from ranvier.mxnet.placing import Kind, Model, Placed
from ranvier.mxnet.subgraph import Part, part_of
from ranvier.passes.segment.crossing import least_crossing
from ranvier.passes.segment.levels import PlacedGraph, Value, fewest_levels


@dataclass(frozen=True)
class Division:
    """Parts for the machine by level, in order, and the level of each other node."""

    parts: dict[int, Part]
    host: dict[int, int]


def divide(model: Model, placed: Placed, minimum: int) -> Division:
    """Parts of at least `minimum` nodes, unless one is the whole symbol; `placed` says why not."""
    while True:
        levels = levels_of(model, placed)
        groups: dict[int, list[int]] = {}
        for index, level in levels.items():
            groups.setdefault(level, []).append(index)
        parts = {level: nodes for level, nodes in sorted(groups.items()) if level % 2}
        whole = len(groups) == 1
        refused: dict[int, Reason] = {}
        for nodes in parts.values():
            least = 0 if whole or placed.forced.keys() & set(nodes) else minimum
            if (reason := why_not(nodes, placed, least)) is not None:
                refused |= dict.fromkeys(nodes, reason)
        if not refused:
            break
        for index, reason in refused.items():
            placed.keep(index, reason)
    found = {
        level: part_of(
            model.graph, with_constants(model, placed, nodes), read_outside(model, nodes)
        )
        for level, nodes in parts.items()
    }
    host = {index: level for index, level in levels.items() if level % 2 == 0}
    return Division(found, host)


def why_not(nodes: list[int], placed: Placed, minimum: int) -> Reason | None:
    """Why nodes of one level are no part for the machine."""
    if all(placed.kinds[index] is Kind.FREE for index in nodes):
        return Reason(Code.OP_SEGMENT_TOO_SMALL, "nothing beside it is to be computed there")
    if len(nodes) < minimum:
        return Reason(
            Code.OP_SEGMENT_TOO_SMALL,
            f"its subgraph has {len(nodes)} of at least {minimum} operators",
        )
    return None


def levels_of(model: Model, placed: Placed) -> dict[int, int]:
    """The level of each node that depends on inputs, or that a constant on the host is."""
    nodes = [index for index, kind in placed.kinds.items() if kind is not Kind.CONSTANT]
    number = {index: place for place, index in enumerate(nodes)}
    readers: dict[Entry, list[int]] = {}
    after: list[list[int]] = []
    for index in nodes:
        entries = [Entry(e.node, e.output) for e in model.graph.nodes[index].inputs]
        after.append([number[entry.node] for entry in entries if entry.node in number])
        for entry in dict.fromkeys(entries):
            if entry.node in number or model.is_input(entry.node):
                readers.setdefault(entry, []).append(number[index])
    heads = {Entry(head.node, head.output) for head in model.graph.heads}
    values = [
        Value(number.get(entry.node), bytes_of(entry, placed), tuple(read), entry in heads)
        for entry, read in readers.items()
    ]
    on_host = [placed.kinds[index] is Kind.HOST for index in nodes]
    graph = PlacedGraph(on_host, after, values)
    levels = least_crossing(graph, fewest_levels(graph)) if nodes else []
    return dict(zip(nodes, levels, strict=True))


def bytes_of(entry: Entry, placed: Placed) -> int:
    type = placed.types.get(entry)
    return 0 if type is None else prod(type.get_shape()) * dtype_of(type.element_type).itemsize


def with_constants(model: Model, placed: Placed, nodes: Iterable[int]) -> set[int]:
    """The nodes, and the constants that they read."""
    members: set[int] = set()
    pending = list(nodes)
    while pending:
        index = pending.pop()
        if index not in members:
            members.add(index)
            read = (entry.node for entry in model.graph.nodes[index].inputs)
            pending += [node for node in read if placed.kinds.get(node) is Kind.CONSTANT]
    return members


def read_outside(model: Model, nodes: Iterable[int]) -> list[Entry]:
    """The results of nodes that others read, in order."""
    inside = set(nodes)
    return sorted(
        {
            Entry(entry.node, entry.output)
            for entries in outer_reads(model.graph, inside)
            for entry in entries
            if entry.node in inside
        },
        key=lambda entry: (entry.node, entry.output),
    )


def outer_reads(graph: SymbolGraph, inside: set[int]) -> Iterable[list[Entry]]:
    needed = graph.needed()
    yield graph.heads
    for index, node in enumerate(graph.nodes):
        if index in needed and index not in inside:
            yield node.inputs
