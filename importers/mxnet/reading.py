"""Read a `symbol.json`, which is untrusted: what is in it is checked before anything walks it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NoReturn, cast

from ranvier.dialects.diagnostics import Code
from ranvier.importers.errors import ModelImportError
from ranvier.importers.mxnet.legacy import upgraded
from ranvier.importers.mxnet.symbol import (
    MAX_OUTPUTS,
    Entry,
    SymbolGraph,
    SymbolNode,
    output_offsets,
)

MAX_NESTING = 8
"""Subgraphs inside subgraphs."""
_ATTRIBUTE_KEYS = ("attrs", "attr", "param")
"""Where versions of MXNet put a node's attributes."""


def parse_symbol(text: str, where: str = "symbol") -> SymbolGraph:
    """The graph of a `symbol.json`, as MXNet 1.9 would write it.

    Raises ModelImportError with `where` and the node.
    """
    try:
        data: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelImportError(Code.FILE_INVALID, f"{where}: no JSON: {error}") from error
    return upgraded(_Reader(where).graph(data, MAX_NESTING))


class _Reader:
    def __init__(self, where: str) -> None:
        self.where = where

    def fail(self, text: str) -> NoReturn:
        raise ModelImportError(Code.FILE_INVALID, f"{self.where}: {text}")

    def graph(self, data: object, nesting: int) -> SymbolGraph:
        if nesting == 0:
            self.fail(f"subgraphs are nested deeper than {MAX_NESTING}")
        content = self.mapping(data, "a symbol")
        nodes = [
            self.node(index, node, nesting)
            for index, node in enumerate(self.items(content.get("nodes"), "'nodes'"))
        ]
        if not nodes:
            self.fail("no MXNet symbol: it has no nodes")
        heads = [
            self.entry(head, len(nodes), "a head")
            for head in self.items(content.get("heads"), "'heads'")
        ]
        if not heads:
            self.fail("the symbol has no outputs")
        row_ptr = [
            self.number(value, "'node_row_ptr'")
            for value in self.items(content.get("node_row_ptr", []), "'node_row_ptr'")
        ]
        attrs = dict(self.mapping(content.get("attrs", {}), "'attrs'"))
        graph = SymbolGraph(nodes, heads, row_ptr, attrs)
        if len(row_ptr) != len(nodes) + 1:
            graph.row_ptr = output_offsets(graph)
        self.check_outputs(graph)
        return graph

    def check_outputs(self, graph: SymbolGraph) -> None:
        """Each node has some outputs, and those that are read."""
        counts = [end - start for start, end in pairwise(graph.row_ptr)]
        if graph.row_ptr[0] != 0 or not all(1 <= count <= MAX_OUTPUTS for count in counts):
            self.fail(
                f"a node has 1 to {MAX_OUTPUTS} outputs; 'node_row_ptr' or an input says else"
            )
        for node, count in zip(graph.nodes, counts, strict=True):
            if node.is_variable and count > 1:
                self.fail(f"variable '{node.name}' has one output; {count} are stated or read")
        for entry in (*graph.heads, *(entry for node in graph.nodes for entry in node.inputs)):
            if entry.output >= counts[entry.node]:
                node = graph.nodes[entry.node]
                self.fail(
                    f"output {entry.output} of node '{node.name}' ({node.op}) is read; it has "
                    f"{counts[entry.node]}"
                )

    def node(self, index: int, data: object, nesting: int) -> SymbolNode:
        content = self.mapping(data, f"node {index}")
        op, name = content.get("op"), content.get("name")
        if not isinstance(op, str) or not isinstance(name, str):
            self.fail(f"node {index} has op {op!r} and name {name!r}; both are text")
        what = f"node '{name}' ({op})"
        attrs: dict[str, str] = {}
        for key in _ATTRIBUTE_KEYS:
            for attribute, value in self.mapping(content.get(key, {}), what).items():
                if not isinstance(value, str):
                    self.fail(f"{what}: attribute '{attribute}' is {value!r}, not text")
                attrs[attribute] = value
        inputs = [
            self.entry(entry, index, what)
            for entry in self.items(content.get("inputs", []), f"inputs of {what}")
        ]
        subgraphs = [
            self.graph(graph, nesting - 1)
            for graph in self.items(content.get("subgraphs", []), f"subgraphs of {what}")
        ]
        return SymbolNode(op, name, inputs, attrs, subgraphs)

    def entry(self, data: object, bound: int, what: str) -> Entry:
        numbers = [self.number(value, what) for value in self.items(data, what)]
        if not 1 <= len(numbers) <= 3:
            self.fail(f"{what}: an input is [node, output, version], got {numbers}")
        if numbers[0] >= bound:
            self.fail(f"{what} reads node {numbers[0]}, which is not before it")
        return Entry(*numbers)

    def number(self, value: object, what: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self.fail(f"{what}: {value!r} is no index")
        return value

    def items(self, value: object, what: str) -> Sequence[object]:
        if not isinstance(value, list):
            self.fail(f"{what} is no list")
        return cast(list[object], value)

    def mapping(self, value: object, what: str) -> Mapping[str, object]:
        if not isinstance(value, dict):
            self.fail(f"{what} is no object")
        return cast(dict[str, object], value)
