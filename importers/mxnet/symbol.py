"""MXNet's `symbol.json`: a graph of operators, without MXNet.

A node reads outputs of earlier nodes; a node of op `null` is a variable. Attributes are strings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, cast

from ranvier.dialects.diagnostics import Code
from ranvier.importers.errors import ModelImportError

VARIABLE = "null"
INLINE = 10
"""Arrays of at most so many numbers stand on one line."""
MAX_OUTPUTS = 1 << 16


LOSSES = frozenset(
    {
        "SoftmaxOutput",
        "Softmax",
        "LinearRegressionOutput",
        "LogisticRegressionOutput",
        "MAERegressionOutput",
    }
)
"""Ops whose operands after the first are labels, which inference does not read."""
ONE_VISIBLE = frozenset(
    "BilinearSampler Dropout GridGenerator GroupNorm InstanceNorm L2Normalization LRN LayerNorm "
    "Pooling ROIPooling SpatialTransformer".split()
)
"""Ops whose outputs after the first are for training only, or nobody's."""
TRAINING_OUTPUTS = {
    **dict.fromkeys(("BatchNorm", "BatchNorm_v1", "GroupNorm", "InstanceNorm", "LayerNorm"), 3),
    **dict.fromkeys(("Dropout", "L2Normalization", "LRN"), 2),
}
"""Outputs of these ops, those for training among them."""
NEURON_OP = "_neuron_subgraph_op"
"""A compiled subgraph; `compiled` says what is in its node."""
STATES = {
    "BatchNorm": (3, 4),
    "BatchNorm_v1": (3, 4),
    "_contrib_SyncBatchNorm": (3, 4),
}
"""Inputs that training writes: the variables there are auxiliary states, not arguments."""
NAMED_OUTPUTS = {
    "RNN": ("output", "state_output", "statecell_output"),
    "BatchNorm": ("output", "mean", "var"),
    "LeakyReLU": ("output", "mask"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One output of one node; `version` counts writes to an auxiliary state."""

    node: int
    output: int = 0
    version: int = 0


@dataclass(slots=True)
class SymbolNode:
    """An operator or a variable."""

    op: str
    name: str
    inputs: list[Entry] = field(default_factory=list[Entry])
    attrs: dict[str, str] = field(default_factory=dict[str, str])
    subgraphs: list[SymbolGraph] = field(default_factory=list["SymbolGraph"])

    @property
    def is_variable(self) -> bool:
        return self.op == VARIABLE


@dataclass(slots=True)
class SymbolGraph:
    """Nodes in topological order, and the entries that are the outputs."""

    nodes: list[SymbolNode]
    heads: list[Entry]
    row_ptr: list[int] = field(default_factory=list[int])
    """Index of each node's first output; computed from what is used where a file has none."""
    attrs: dict[str, Any] = field(default_factory=dict[str, Any])

    def needed(self) -> set[int]:
        """The nodes that the outputs depend on at inference, where labels count for nothing."""
        needed = {head.node for head in self.heads}
        for index in range(len(self.nodes) - 1, -1, -1):
            if index in needed:
                node = self.nodes[index]
                entries = node.inputs[:1] if node.op in LOSSES else node.inputs
                needed.update(entry.node for entry in entries)
        return needed

    def variables(self) -> Iterator[SymbolNode]:
        """Variables in the order in which the outputs first need them."""
        seen: set[int] = set()
        for head in self.heads:
            for index in self._post_order(head.node, seen):
                if self.nodes[index].is_variable:
                    yield self.nodes[index]

    def states(self) -> set[str]:
        """Names of the variables that are auxiliary states."""
        return {
            self.nodes[node.inputs[position].node].name
            for node in self.nodes
            for position in STATES.get(node.op, ())
            if position < len(node.inputs) and self.nodes[node.inputs[position].node].is_variable
        }

    def output_count(self, index: int) -> int:
        """The outputs of a node, those for training among them."""
        return self.row_ptr[index + 1] - self.row_ptr[index]

    def selected(self, heads: Sequence[Entry]) -> SymbolGraph:
        """The graph of other heads, without the nodes that they do not need."""
        seen: set[int] = set()
        order = [index for head in heads for index in self._post_order(head.node, seen)]
        place = {index: number for number, index in enumerate(order)}

        def moved(entry: Entry) -> Entry:
            return Entry(place[entry.node], entry.output, entry.version)

        nodes = [
            replace(self.nodes[index], inputs=[moved(entry) for entry in self.nodes[index].inputs])
            for index in order
        ]
        offsets = accumulate((self.output_count(index) for index in order), initial=0)
        return SymbolGraph(nodes, [moved(head) for head in heads], list(offsets), dict(self.attrs))

    def _post_order(self, root: int, seen: set[int]) -> Iterator[int]:
        stack: list[tuple[int, Iterator[Entry]]] = []
        if root not in seen:
            seen.add(root)
            stack.append((root, iter(self.nodes[root].inputs)))
        while stack:
            index, inputs = stack[-1]
            entry = next((entry for entry in inputs if entry.node not in seen), None)
            if entry is None:
                stack.pop()
                yield index
            else:
                seen.add(entry.node)
                stack.append((entry.node, iter(self.nodes[entry.node].inputs)))


def visible_outputs(node: SymbolNode, count: int) -> int:
    """How many of the outputs of a node are listed among its symbol's."""
    one = node.op in ONE_VISIBLE or node.op in STATES
    if node.op in ("sort", "topk"):
        one = node.attrs.get("ret_typ") != "both"
    return 1 if one else count


def output_name(graph: SymbolGraph, entry: Entry) -> str:
    """MXNet's name of an output: `conv0_output`, `split0_output1`, a variable's own name."""
    node = graph.nodes[entry.node]
    if node.is_variable:
        return node.name
    if node.op == NEURON_OP:
        outputs = neuron_output_names(node)
        return outputs[min(entry.output, len(outputs) - 1)]
    if (names := NAMED_OUTPUTS.get(node.op)) is not None:
        return f"{node.name}_{names[entry.output]}"
    count = graph.row_ptr[entry.node + 1] - graph.row_ptr[entry.node]
    one = count == 1 or node.op in ONE_VISIBLE
    suffix = "output" if one else f"output{entry.output}"
    return f"{node.name}_{suffix}"


def neuron_output_names(node: SymbolNode) -> Sequence[str]:
    """What a compiled subgraph calls its outputs: their names in the original model.

    Raises ModelImportError for a node that does not say it.
    """
    try:
        names: object = json.loads(node.attrs.get("output_names", ""))
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in cast(list[Any], names)):
        raise ModelImportError(
            Code.FILE_INVALID, f"node '{node.name}' ({node.op}): 'output_names' is no list of names"
        )
    return cast(list[str], names)


def output_offsets(graph: SymbolGraph) -> list[int]:
    """`node_row_ptr` as far as ops and uses tell: a node has the outputs that something reads."""
    counts = [
        len(neuron_output_names(node)) if node.op == NEURON_OP else TRAINING_OUTPUTS.get(node.op, 1)
        for node in graph.nodes
    ]
    for entry in (*graph.heads, *(entry for node in graph.nodes for entry in node.inputs)):
        counts[entry.node] = max(counts[entry.node], entry.output + 1)
    return list(accumulate(counts, initial=0))


# -- Writing ----------------------------------------------------------------------------------


def print_symbol(graph: SymbolGraph) -> str:
    """The text that MXNet writes for the graph, byte by byte."""
    return _graph_text(graph, 0)


def _graph_text(graph: SymbolGraph, indent: int) -> str:
    fields = {
        "nodes": _array([_node_text(node, indent + 4) for node in graph.nodes], indent + 2, True),
        "arg_nodes": _numbers(
            [index for index, node in enumerate(graph.nodes) if node.is_variable], indent + 2
        ),
        "node_row_ptr": _numbers(graph.row_ptr or output_offsets(graph), indent + 2),
        "heads": _entries(graph.heads, indent + 2),
    }
    if graph.attrs:
        fields["attrs"] = _object(
            {key: json.dumps(value) for key, value in graph.attrs.items()}, indent + 2
        )
    return _object(fields, indent, True)


def _node_text(node: SymbolNode, indent: int) -> str:
    fields = {"op": _text(node.op), "name": _text(node.name)}
    if node.attrs:
        attrs = {key: _text(node.attrs[key]) for key in sorted(node.attrs)}
        fields["attrs"] = _object(attrs, indent + 2)
    fields["inputs"] = _entries(node.inputs, indent + 2)
    if node.subgraphs:
        texts = [_graph_text(graph, indent + 4) for graph in node.subgraphs]
        fields["subgraphs"] = _array(texts, indent + 2, True)
    return _object(fields, indent, True)


def _entries(entries: Sequence[Entry], indent: int) -> str:
    texts = [f"[{entry.node}, {entry.output}, {entry.version}]" for entry in entries]
    return _array(texts, indent, len(texts) > INLINE)


def _numbers(values: Sequence[int], indent: int) -> str:
    return _array([str(value) for value in values], indent, len(values) > INLINE)


def _array(texts: Sequence[str], indent: int, multi_line: bool) -> str:
    return _bracketed("[]", texts, indent, multi_line)


def _object(fields: Mapping[str, str], indent: int, multi_line: bool | None = None) -> str:
    texts = [f"{_text(key)}: {text}" for key, text in fields.items()]
    return _bracketed("{}", texts, indent, len(fields) > 1 if multi_line is None else multi_line)


def _bracketed(brackets: str, texts: Sequence[str], indent: int, multi_line: bool) -> str:
    opening, closing = brackets
    if not multi_line or not texts:
        return f"{opening}{', '.join(texts)}{closing}"
    inner, outer = "\n" + " " * (indent + 2), "\n" + " " * indent
    return opening + inner + f", {inner}".join(texts) + outer + closing


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
