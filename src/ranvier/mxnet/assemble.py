"""Write the graph in which compiled nodes stand for the parts of a symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from ranvier.importers.mxnet.compiled import CompiledNode, binary_name, binary_variable
from ranvier.importers.mxnet.symbol import NEURON_OP, Entry, SymbolGraph, SymbolNode
from ranvier.mxnet.partition import Division
from ranvier.mxnet.placing import Kind, Model, Placed
from ranvier.mxnet.subgraph import Part


@dataclass
class Assembler:
    """The new graph as far as it is written, and where results of the old one are in it."""

    model: Model
    placed: Placed
    nodes: list[SymbolNode] = field(default_factory=list[SymbolNode])
    counts: list[int] = field(default_factory=list[int])
    places: dict[Entry, Entry] = field(default_factory=dict[Entry, Entry])

    def add(self, node: SymbolNode, count: int = 1) -> int:
        self.nodes.append(node)
        self.counts.append(count)
        return len(self.nodes) - 1

    def place(self, entry: Entry) -> Entry:
        """Where a result is; variables and constants are written when they are first read."""
        plain = Entry(entry.node, entry.output)
        if plain not in self.places:
            source = self.model.graph.nodes[entry.node]
            assert source.is_variable or self.placed.kinds[entry.node] is Kind.CONSTANT
            self.copy(entry.node)
        return replace(self.places[plain], version=entry.version)

    def copy(self, index: int) -> None:
        """Write a node of the old graph."""
        node = self.model.graph.nodes[index]
        inputs = [self.place(entry) for entry in node.inputs if self.is_read(entry)]
        count = self.model.graph.output_count(index)
        number = self.add(replace(node, inputs=inputs), count)
        self.places |= {Entry(index, output): Entry(number, output) for output in range(count)}

    def is_read(self, entry: Entry) -> bool:
        """Whether there is such a value: labels that operators compute are not placed at all."""
        return self.model.graph.nodes[entry.node].is_variable or entry.node in self.placed.kinds

    def compiled(self, name: str, part: Part, node: CompiledNode, size: int) -> None:
        """Write the node of a part."""
        nodes = enumerate(self.model.graph.nodes)
        names = {node.name: index for index, node in nodes if node.is_variable}
        inner = {name: entry for entry, name in part.inputs.items()}
        inputs = [self.place(inner.get(data) or Entry(names[data])) for data in node.data_names]
        inputs.append(Entry(self.add(binary_variable(name, size))))
        own = SymbolNode(NEURON_OP, name, inputs, node.attributes(), [part.graph])
        number = self.add(own, len(part.outputs))
        self.places |= {entry: Entry(number, output) for output, entry in enumerate(part.outputs)}


def assemble(
    model: Model,
    placed: Placed,
    division: Division,
    compiled: Mapping[int, tuple[Part, CompiledNode]],
    names: Sequence[str],
    sizes: Mapping[str, int],
) -> SymbolGraph:
    """The graph with a node of each name for the compiled part of each level, in order."""
    writer = Assembler(model, placed)
    by_level: dict[int, list[int]] = {}
    for index, level in division.host.items():
        by_level.setdefault(level, []).append(index)
    named = dict(zip(compiled, names, strict=True))
    for level in sorted({*by_level, *compiled}):
        if level in compiled:
            name = named[level]
            writer.compiled(name, *compiled[level], sizes[binary_name(name)])
        for index in by_level.get(level, ()):
            writer.copy(index)
    heads = [writer.place(head) for head in model.graph.heads]
    offsets = list(accumulate(writer.counts, initial=0))
    whole = SymbolGraph(writer.nodes, heads, offsets, dict(model.graph.attrs))
    return whole.selected(heads)
