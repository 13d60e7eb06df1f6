"""The types of a symbol's variables and values, from those of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import Tensor, tensor
from ranvier.importers.errors import ModelImportError
from ranvier.importers.mxnet import infer_types, needed_variables, stated_dtype, stated_shape
from ranvier.importers.mxnet.compiled import compiled_node, is_compiled, without_binaries
from ranvier.importers.mxnet.symbol import LOSSES, Entry, SymbolGraph, SymbolNode
from ranvier.importers.semantics import element_type


@dataclass(frozen=True)
class Types:
    """By name of the variable, and by result of a node."""

    variables: dict[str, Tensor]
    entries: dict[Entry, Tensor]


def variable_types(
    graph: SymbolGraph, shapes: Mapping[str, Shape], dtypes: Mapping[str, Any]
) -> Types:
    """Types of all variables and values, where some variables have these shapes and dtypes.

    What variables state of themselves counts too. Raises CallerError for a name that is none, and
    ModelImportError where a type is not known.
    """
    variables = {node.name: node for node in graph.variables()}
    if unknown := sorted(({*shapes} | {*dtypes}) - {*variables}):
        listed = ", ".join(variables)
        raise CallerError(Code.INPUT_UNKNOWN, f"no variable '{unknown[0]}'; variables: {listed}")
    known = {
        name: tensor(shape, element_type(np.dtype(dtypes.get(name) or stated_dtype(node))))
        for name, node in variables.items()
        if (shape := shapes.get(name, stated_shape(node))) is not None
    }
    needed = {node.name for node in needed_variables(graph)}
    inner = without_binaries(graph)
    given = {name: type for name, type in known.items() if name in needed}

    def foreign(index: int) -> Sequence[Tensor] | None:
        node = graph.nodes[index]
        return compiled_node(node).output_types if is_compiled(node) else None

    found = infer_types(inner, {}, given, foreign=foreign)
    for index, node in enumerate(graph.nodes):
        if node.is_variable and Entry(index) in found:
            known[node.name] = found[Entry(index)]
    add_labels(graph, found, known)
    if missing := [name for name in variables if name not in known]:
        raise ModelImportError(
            Code.SHAPE_UNKNOWN, f"the shape of variable '{missing[0]}' follows from nothing"
        )
    entries = {Entry(index): known[node.name] for index, node in enumerate(graph.nodes)
               if node.is_variable and node.name in known}  # fmt: skip
    entries |= found
    return Types(known, entries)


def add_labels(graph: SymbolGraph, found: Mapping[Entry, Tensor], known: dict[str, Tensor]) -> None:
    """The labels of loss layers, which inference does not read."""
    for node in graph.nodes:
        if node.op in LOSSES and len(node.inputs) > 1:
            label, data = graph.nodes[node.inputs[1].node], node.inputs[0]
            if label.is_variable and label.name not in known:
                type = found[Entry(data.node, data.output)]
                known[label.name] = tensor(label_shape(node, type.get_shape()), type.element_type)


def label_shape(node: SymbolNode, shape: Shape) -> Shape:
    if node.op not in ("SoftmaxOutput", "Softmax"):
        return shape
    if node.attrs.get("multi_output") in ("True", "1"):
        return (shape[0], *shape[2:])
    return shape[:-1] if node.attrs.get("preserve_shape") in ("True", "1") else shape[:1]
