"""Divide a symbol whose weights are not known yet: deferred nodes, and what stays with MXNet.

An operator stays if the importer lacks it. What the machine lacks of the others runs on the host
inside the program of its node.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Any

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import Tensor, dtype_of
from ranvier.importers.mxnet import infer_types, needed_variables
from ranvier.importers.mxnet.symbol import Entry, SymbolGraph, SymbolNode, output_name
from ranvier.mxnet import real
from ranvier.mxnet.assemble import Assembler
from ranvier.mxnet.compiler import node_names
from ranvier.mxnet.node import OP, Deferred, Form, Interface
from ranvier.mxnet.partition import divide
from ranvier.mxnet.placing import Kind, Model, Placed, first_kinds
from ranvier.mxnet.states import type_of, weights_of
from ranvier.mxnet.subgraph import Part

LOG = logging.getLogger("ranvier")

MINIMUM = 2
"""Operators of a part; fewer stay with MXNet, unless they are the whole symbol."""


def deferred_graph(
    graph: SymbolGraph, interface: Interface, constants: Collection[str], states: int, options: Any
) -> SymbolGraph | None:
    """The graph in which deferred nodes stand for all that the importer has; None if nothing is.

    `interface` is the whole symbol's, auxiliary states last. Raises ModelImportError for an
    operator whose results nobody knows.
    """
    known = {form.name: type_of(form) for form in interface.inputs}
    lacking, types = types_without_weights(graph, known, constants)
    weights = weights_of(graph)
    data = {name: type for name, type in known.items() if name not in constants}
    # Nobody gives a shape where variables say their own: then what is no weight is data.
    model = Model(graph, {}, data or {n: t for n, t in known.items() if n not in weights})
    placed = Placed(first_kinds(model), types)
    for index, kind in list(placed.kinds.items()):
        if index in lacking:
            placed.keep(index, Reason(Code.OP_OPAQUE, "the importer lacks it"))
        elif kind is Kind.FREE:
            placed.kinds[index] = Kind.DEVICE
    if lacking:
        listed = ", ".join(f"{graph.nodes[i].op} '{graph.nodes[i].name}'" for i in sorted(lacking))
        LOG.warning("operators that stay with MXNet: %s", listed)
    division = divide(model, placed, MINIMUM)
    if not division.parts:
        return None
    writer = DeferredWriter(model, placed)
    writer.forms = {form.name: form for form in interface.inputs}
    writer.states = {form.name for form in interface.inputs[len(interface.inputs) - states :]}
    names = dict(zip(division.parts, node_names(graph, len(division.parts)), strict=True))
    for level in sorted({*division.host.values(), *division.parts}):
        if level in division.parts:
            writer.deferred(names[level], division.parts[level], constants, options)
        for index in sorted(index for index, own in division.host.items() if own == level):
            writer.copy(index)
    heads = [writer.place(head) for head in graph.heads]
    offsets = list(accumulate(writer.counts, initial=0))
    return SymbolGraph(writer.nodes, heads, offsets, dict(graph.attrs)).selected(heads)


def types_without_weights(
    graph: SymbolGraph, known: dict[str, Tensor], constants: Collection[str]
) -> tuple[set[int], dict[Entry, Tensor]]:
    """Nodes that the importer lacks, and the types of all results."""
    lacking: set[int] = set()
    theirs = real.foreign(graph, {}, known)

    def foreign(index: int) -> Sequence[Tensor] | None:
        found = None if theirs is None else theirs(index)
        if found is not None:
            lacking.add(index)
        return found

    # The inference makes weights of the right shape by itself, and they are constants then.
    guessed = weights_of(graph) & {*constants}
    asked = {node.name for node in needed_variables(graph)} - guessed
    inputs = {name: type for name, type in known.items() if name in asked}
    return lacking, infer_types(graph, {}, inputs, foreign=foreign)


class DeferredWriter(Assembler):
    """Writes deferred nodes. `forms` and `states` are of the variables of the symbol."""

    forms: dict[str, Form]
    states: set[str]

    def deferred(self, name: str, part: Part, constants: Collection[str], options: Any) -> None:
        """Write the node of a part: results of others, arguments, then auxiliary states."""
        variables = sorted(part.variables(), key=self.states.__contains__)
        places = {node.name: i for i, node in enumerate(self.model.graph.nodes)}
        types = self.placed.types
        inputs = [
            *(form_of(name, types[entry]) for entry, name in part.inputs.items()),
            *(self.forms[variable] for variable in variables),
        ]
        outputs = [
            form_of(output_name(part.graph, head), types[entry])
            for head, entry in zip(part.graph.heads, part.outputs, strict=True)
        ]
        entries = [
            *(self.place(entry) for entry in part.inputs),
            *(self.place(Entry(places[variable])) for variable in variables),
        ]
        count = len(self.states & {*variables})
        own = frozenset(constants) & {*variables}
        attrs = {
            **Interface(tuple(inputs), tuple(outputs)).attributes(),
            **Deferred(part.graph, own, count, options).attributes(),
        }
        number = self.add(SymbolNode(OP, name, entries, attrs), len(outputs))
        self.places |= {entry: Entry(number, i) for i, entry in enumerate(part.outputs)}


def form_of(name: str, type: Tensor) -> Form:
    return Form(name, tuple(type.get_shape()), dtype_of(type.element_type))
