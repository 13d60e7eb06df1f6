"""What a `_neuron_subgraph_op` node holds: one compiled subgraph of an MXNet model.

Its inputs are the values that the subgraph reads, in order, and last the variable
`<node>_neuronbin`, a vector of bytes that is the program. Its attributes say the names, shapes and
element types of inputs and outputs, as JSON; `subgraphs` has the original nodes. A file is
untrusted, and MXNet ends the process on a node that breaks these rules: they are checked here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, cast

import numpy as np

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import Tensor, tensor
from ranvier.importers.errors import ModelImportError
from ranvier.importers.mxnet.params import DTYPES, MAX_RANK, type_flag
from ranvier.importers.mxnet.symbol import (
    NEURON_OP,
    VARIABLE,
    Entry,
    SymbolGraph,
    SymbolNode,
    neuron_output_names,
)
from ranvier.importers.semantics import element_type

BYTES = np.dtype(np.uint8)
_NAMES = frozenset(dtype.name for dtype in DTYPES)


@dataclass(frozen=True)
class CompiledNode:
    """The attributes of the node: what the program reads and returns, in order."""

    data_names: tuple[str, ...]
    data_shapes: tuple[Shape, ...]
    data_dtypes: tuple[str, ...]
    output_names: tuple[str, ...]
    output_shapes: tuple[Shape, ...]
    output_dtypes: tuple[str, ...]

    def attributes(self) -> dict[str, str]:
        return {name: json.dumps(value) for name, value in asdict(self).items()}

    @property
    def output_types(self) -> list[Tensor]:
        return [
            tensor(shape, element_type(np.dtype(name)))
            for shape, name in zip(self.output_shapes, self.output_dtypes, strict=True)
        ]


def binary_name(node: str) -> str:
    """The parameter that holds the program of a node."""
    return f"{node}_neuronbin"


def binary_variable(node: str, size: int) -> SymbolNode:
    """The variable of a program of so many bytes; MXNet infers its type from the attributes."""
    attrs = {"__shape__": f"({size},)", "__dtype__": str(type_flag(BYTES))}
    return SymbolNode(VARIABLE, binary_name(node), attrs=attrs)


def interface_of(node: SymbolNode, where: str = "symbol") -> CompiledNode:
    """The attributes of a node, checked by themselves. Raises ModelImportError."""

    def fail(text: str) -> NoReturn:
        _fail(node, where, text)

    def listed(name: str, valid: Callable[[Any], bool]) -> tuple[Any, ...]:
        try:
            found: object = json.loads(node.attrs.get(name, ""))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list) or not all(map(valid, cast(list[Any], found))):
            fail(f"attribute '{name}' is missing or no list of its kind")
        return tuple(cast(list[Any], found))

    def shapes(name: str) -> tuple[Shape, ...]:
        return tuple(tuple(shape) for shape in listed(name, _is_shape))

    neuron_output_names(node)
    compiled = CompiledNode(
        listed("data_names", _is_text),
        shapes("data_shapes"),
        listed("data_dtypes", _is_dtype),
        tuple(neuron_output_names(node)),
        shapes("output_shapes"),
        listed("output_dtypes", _is_dtype),
    )
    for side in ("data", "output"):
        lengths = {len(getattr(compiled, f"{side}_{kind}")) for kind in ("names", "shapes")}
        if len(lengths | {len(getattr(compiled, f"{side}_dtypes"))}) > 1:
            fail(f"the lists of its {side} have different lengths")
    if not compiled.output_names:
        fail("it has no outputs")
    return compiled


def compiled_node(node: SymbolNode, where: str = "symbol") -> CompiledNode:
    """The attributes of a node, checked with the rest of it. Raises ModelImportError."""
    compiled = interface_of(node, where)
    if len(node.subgraphs) != 1:
        _fail(node, where, f"it has {len(node.subgraphs)} subgraphs, not the one that was compiled")
    if len(node.inputs) != len(compiled.data_names) + 1:
        _fail(
            node,
            where,
            f"it has {len(node.inputs)} inputs, {len(compiled.data_names)} data and its program "
            "are expected",
        )
    return compiled


def _fail(node: SymbolNode, where: str, text: str) -> NoReturn:
    raise ModelImportError(Code.FILE_INVALID, f"{where}: node '{node.name}' ({node.op}): {text}")


def check_compiled(
    graph: SymbolGraph, params: Mapping[str, Array] | None = None, where: str = "symbol"
) -> None:
    """Check every compiled node of a graph, and that its program is among `params` if given.

    Raises ModelImportError that names the node.
    """
    counts: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        if node.op != NEURON_OP:
            continue
        counts[index] = len(compiled_node(node, where).output_names)
        name = binary_name(node.name)
        variable = graph.nodes[node.inputs[-1].node]
        if not variable.is_variable or variable.name != name:
            raise ModelImportError(
                Code.FILE_INVALID,
                f"{where}: node '{node.name}' ({node.op}): its last input is '{variable.name}', "
                f"not its program '{name}'",
            )
        if params is not None:
            check_binary(params.get(name), name, where)
    for entry in (*graph.heads, *(entry for node in graph.nodes for entry in node.inputs)):
        if entry.output >= counts.get(entry.node, entry.output + 1):
            node = graph.nodes[entry.node]
            raise ModelImportError(
                Code.FILE_INVALID,
                f"{where}: output {entry.output} of node '{node.name}' ({node.op}) is read; it has "
                f"{counts[entry.node]}",
            )


def check_binary(array: Array | None, name: str, where: str = "symbol") -> None:
    """Raises ModelImportError if the parameter of a program is absent or holds no bytes."""
    if array is None:
        raise ModelImportError(
            Code.INPUT_MISSING,
            f"{where}: parameter '{name}' is missing: the symbol is compiled, and that is its "
            "program; load the .params file that was saved with it",
        )
    if array.dtype != BYTES or array.ndim != 1:
        raise ModelImportError(
            Code.INPUT_TYPE,
            f"{where}: parameter '{name}' is {array.dtype} of rank {array.ndim}; a program is a "
            "vector of uint8",
        )


def without_binaries(graph: SymbolGraph) -> SymbolGraph:
    """The graph in which compiled nodes read their data only: for the inference of types."""
    nodes = [
        SymbolNode(node.op, node.name, node.inputs[:-1], node.attrs) if is_compiled(node) else node
        for node in graph.nodes
    ]
    return SymbolGraph(nodes, graph.heads, graph.row_ptr, graph.attrs)


def is_compiled(node: SymbolNode) -> bool:
    return node.op == NEURON_OP


def programs(graph: SymbolGraph) -> dict[str, SymbolNode]:
    """Compiled nodes by the parameter that holds their program."""
    return {binary_name(node.name): node for node in graph.nodes if is_compiled(node)}


def data_entries(node: SymbolNode) -> list[Entry]:
    return node.inputs[:-1]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_dtype(value: object) -> bool:
    return isinstance(value, str) and value in _NAMES


def _is_shape(value: object) -> bool:
    """MXNet counts sizes in 31 bits."""
    return (
        isinstance(value, list)
        and len(cast(list[Any], value)) <= MAX_RANK
        and all(type(size) is int and 0 <= size < 2**31 for size in cast(list[Any], value))
    )
