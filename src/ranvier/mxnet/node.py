"""What a `_neuron_subgraph_op` says of itself: the attributes of its node in a symbol.

A node is compiled or deferred. A compiled one reads its data inputs and then one variable,
`<node>_neuronbin`, with the bytes of a NEFF. A deferred one stands in bound symbols only: it reads
everything that its graph reads, and is compiled when it first runs, for the values of those inputs
that are constants. Attributes are text, lists in them JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.shapes import Shape
from ranvier.importers.errors import ModelImportError
from ranvier.importers.mxnet.compiled import binary_name, check_compiled, interface_of
from ranvier.importers.mxnet.params import type_flag
from ranvier.importers.mxnet.reading import parse_symbol
from ranvier.importers.mxnet.symbol import (
    NEURON_OP,
    SymbolGraph,
    SymbolNode,
    print_symbol,
)

OP = NEURON_OP
FALLBACK = "Custom"
"""MXNet's op for ops in Python: stands for ours where there is no library."""
SUFFIX = binary_name("")
SUBGRAPH = "subgraph"
"""Attribute of a `Custom` node with the text of its subgraph; `Custom` reads no others."""
LISTS = ("names", "shapes", "dtypes")


@dataclass(frozen=True)
class Interface:
    """Names, shapes and element types of a node's data inputs and outputs."""

    inputs: tuple[Form, ...]
    outputs: tuple[Form, ...]

    @staticmethod
    def parse(attrs: Mapping[str, str], where: str) -> Interface:
        """Raises ModelImportError for attributes that are missing or make no sense."""
        keys = [f"{prefix}_{what}" for prefix in ("data", "output") for what in LISTS]
        return _parsed(tuple((key, attrs[key]) for key in keys if key in attrs), where)

    def attributes(self) -> dict[str, str]:
        return {**_texts("data", self.inputs), **_texts("output", self.outputs)}


@dataclass(frozen=True)
class Form:
    """A tensor as an attribute describes it."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]


Forms: TypeAlias = tuple[Form, ...]


@dataclass(frozen=True)
class Deferred:
    """What a node that is compiled when it first runs has besides its interface."""

    graph: SymbolGraph
    constants: frozenset[str]
    states: int
    """How many of the inputs, the last ones, are auxiliary states."""
    options: dict[str, Any]
    """Keywords of `ranvier.compile`."""

    @staticmethod
    def parse(attrs: Mapping[str, str]) -> Deferred | None:
        """None for a compiled node."""
        if "deferred" not in attrs:
            return None
        known: dict[str, Any] = json.loads(attrs["deferred"])
        graph = parse_symbol(attrs[SUBGRAPH])
        return Deferred(graph, frozenset(known["constants"]), known["states"], known["options"])

    def attributes(self) -> dict[str, str]:
        known = {
            "constants": sorted(self.constants),
            "states": self.states,
            "options": self.options,
        }
        return {"deferred": json.dumps(known), SUBGRAPH: print_symbol(self.graph)}


@lru_cache(maxsize=256)
def _parsed(attrs: tuple[tuple[str, str], ...], where: str) -> Interface:
    """MXNet asks for the same again and again: eight times in each call of a Gluon block."""
    node = interface_of(SymbolNode(OP, where, attrs=dict(attrs)))
    return Interface(
        _forms(node.data_names, node.data_shapes, node.data_dtypes),
        _forms(node.output_names, node.output_shapes, node.output_dtypes),
    )


def _forms(names: Sequence[str], shapes: Sequence[Shape], dtypes: Sequence[str]) -> Forms:
    return tuple(
        Form(name, shape, np.dtype(dtype))
        for name, shape, dtype in zip(names, shapes, dtypes, strict=True)
    )


def _texts(prefix: str, forms: Forms) -> dict[str, str]:
    return {
        f"{prefix}_names": json.dumps([form.name for form in forms]),
        f"{prefix}_shapes": json.dumps([list(form.shape) for form in forms]),
        f"{prefix}_dtypes": json.dumps([form.dtype.name for form in forms]),
    }


# -- Symbols for MXNet ------------------------------------------------------------------------


def restored(text: str, where: str = "symbol") -> SymbolGraph:
    """The graph of a symbol; nodes that stand as `Custom` come back as what they are."""
    graph = parse_symbol(text, where)
    for node in graph.nodes:
        if node.op == FALLBACK and node.attrs.get("op_type") == OP:
            _restore(node, where)
    return graph


def checked(text: str, where: str = "symbol") -> SymbolGraph:
    """The graph of a compiled symbol, checked before MXNet sees it. Raises ModelImportError."""
    graph = restored(text, where)
    for node in graph.nodes:
        if node.op == OP and "deferred" in node.attrs:
            raise ModelImportError(
                Code.NODE_INVALID,
                f"{where}: node '{node.name}' ({OP}): a deferred node is for bound symbols only",
            )
    check_compiled(graph, where=where)
    return graph


def with_shapes(graph: SymbolGraph) -> SymbolGraph:
    """The same graph with the shapes of what our nodes read written on the variables, in place.

    MXNet 1.9.1 overruns a buffer when it asks an extension library for shapes and the rank of one
    input is unknown. A size of 0 is an unknown one: the rank is what matters.
    """
    for node in graph.nodes:
        if node.op not in (OP, FALLBACK) or "data_shapes" not in node.attrs:
            continue
        forms = Interface.parse(node.attrs, node.name).inputs
        known = [(form.shape, form.dtype) for form in forms] + [((0,), np.dtype(np.uint8))]
        for entry, (shape, dtype) in zip(node.inputs, known, strict=False):
            variable = graph.nodes[entry.node]
            if variable.is_variable and shape:
                variable.attrs.setdefault("__dtype__", str(type_flag(dtype)))
                if "__shape__" not in variable.attrs or 0 not in shape:
                    variable.attrs["__shape__"] = str(shape)
    return graph


def _restore(node: SymbolNode, where: str) -> None:
    """Turn a `Custom` node back, in place."""
    node.op = OP
    del node.attrs["op_type"]
    if "deferred" not in node.attrs and (text := node.attrs.pop(SUBGRAPH, None)) is not None:
        node.subgraphs = [parse_symbol(text, where)]


def as_custom(graph: SymbolGraph) -> SymbolGraph:
    """The same graph with `Custom` in place of our op."""
    nodes = [_custom(node) if node.op == OP else node for node in graph.nodes]
    return SymbolGraph(nodes, graph.heads, graph.row_ptr, graph.attrs)


def _custom(node: SymbolNode) -> SymbolNode:
    attrs = {**node.attrs, "op_type": OP}
    if node.subgraphs:
        attrs[SUBGRAPH] = print_symbol(node.subgraphs[0])
    return SymbolNode(FALLBACK, node.name, node.inputs, attrs)
