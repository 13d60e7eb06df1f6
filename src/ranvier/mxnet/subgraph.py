"""Take some nodes out of a symbol as a symbol of their own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ranvier.importers.mxnet.symbol import (
    VARIABLE,
    Entry,
    SymbolGraph,
    SymbolNode,
    output_name,
)


@dataclass(frozen=True)
class Part:
    """Nodes of a graph between what they read from elsewhere and what others read of them."""

    graph: SymbolGraph
    """Heads are the outputs, in order. Inputs are variables of their names."""
    members: tuple[int, ...]
    """Nodes by their place in the whole graph; no variables."""
    inputs: dict[Entry, str]
    """Results of other nodes that it reads, in order, and what the part calls them."""
    outputs: tuple[Entry, ...]
    """Its results in the whole graph."""

    def variables(self) -> list[str]:
        """Names of the variables of the whole graph that it reads."""
        inner = set(self.inputs.values())
        nodes = self.graph.nodes
        return [node.name for node in nodes if node.is_variable and node.name not in inner]


def part_of(graph: SymbolGraph, members: Collection[int], outputs: Sequence[Entry]) -> Part:
    """The part of a graph with these nodes and outputs."""
    inside = frozenset(members)
    nodes: list[SymbolNode] = []
    counts: list[int] = []
    places: dict[Entry, Entry] = {}
    inputs: dict[Entry, str] = {}
    taken = {node.name for node in graph.nodes}

    def add(node: SymbolNode, count: int = 1) -> int:
        nodes.append(node)
        counts.append(count)
        return len(nodes) - 1

    def place_of(entry: Entry) -> Entry:
        plain = Entry(entry.node, entry.output)
        if plain not in places:
            # Results of members are placed when their node is: this one comes from elsewhere.
            source = graph.nodes[entry.node]
            if source.is_variable:
                places[plain] = Entry(add(source))
            else:
                inputs[plain] = unused(output_name(graph, entry), taken)
                places[plain] = Entry(add(SymbolNode(VARIABLE, inputs[plain])))
        return replace(places[plain], version=entry.version)

    for index in sorted(inside):
        node = graph.nodes[index]
        own = replace(node, inputs=[place_of(entry) for entry in node.inputs])
        count = graph.output_count(index)
        number = add(own, count)
        places |= {Entry(index, output): Entry(number, output) for output in range(count)}
    heads = [place_of(entry) for entry in outputs]
    offsets = list(accumulate(counts, initial=0))
    whole = SymbolGraph(nodes, heads, offsets, dict(graph.attrs))
    return Part(whole, tuple(sorted(inside)), inputs, tuple(outputs))


def unused(name: str, taken: set[str]) -> str:
    """The name, or the name with a number that makes it new; it is taken from now on."""
    found, count = name, 0
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    taken.add(found)
    return found
