"""Compiled symbols in MXNet itself: `load_library`, `for_mxnet` and `attach`.

Needs MXNet. Nothing is built or loaded before the first symbol that has a compiled node.
"""

from __future__ import annotations

import atexit
import logging
import threading
from pathlib import Path
from typing import Any

from ranvier.backend.shared_library import NoLibrary
from ranvier.dialects.diagnostics import Code
from ranvier.importers.errors import ModelImportError
from ranvier.importers.mxnet.symbol import (
    MAX_OUTPUTS,
    NEURON_OP,
    VARIABLE,
    Entry,
    SymbolGraph,
    SymbolNode,
    print_symbol,
)
from ranvier.mxnet import fallback, neuron_op
from ranvier.mxnet.compat import import_mxnet
from ranvier.mxnet.library import built
from ranvier.mxnet.node import OP, as_custom, checked, restored, with_shapes

LOG = logging.getLogger("ranvier")

NATIVE, FALLBACK = "native", "fallback"

_LOADED: list[tuple[str, object]] = []
"""What is in use, and what must live as long as MXNet."""
_LOADING = threading.Lock()


def load_library() -> str:
    """Make `_neuron_subgraph_op` an op of MXNet's, once; `native`, or `fallback` without compiler.

    Raises ImportError without MXNet.
    """
    with _LOADING:
        if not _LOADED:
            mx = import_mxnet()
            try:
                _LOADED.append((NATIVE, _load_native(mx)))
            except NoLibrary as reason:
                LOG.warning(
                    "compiled subgraphs run as MXNet's slower Custom op: %s", reason.report()
                )
                fallback.register(mx)
                _LOADED.append((FALLBACK, None))
            # Python's code must not be running on MXNet's threads when Python ends.
            atexit.register(_finish, mx)
        return _LOADED[0][0]


def _finish(mx: Any) -> None:
    try:
        mx.nd.waitall()
    except mx.MXNetError as error:
        LOG.warning("a forward that nobody has waited for failed: %s", error)


def in_use() -> str | None:
    """`native`, `fallback`, or None before the library is loaded."""
    return _LOADED[0][0] if _LOADED else None


def _load_native(mx: Any) -> object:
    path = built(Path(mx.__file__).parent / "include")
    try:
        mx.library.load(str(path), verbose=False)
    except mx.MXNetError as error:
        raise NoLibrary(f"MXNet refuses {path}: {str(error).splitlines()[0]}") from error
    return neuron_op.connect(path)


def for_mxnet(symbol_json: str, where: str = "symbol") -> str:
    """The text of a symbol as MXNet of this process may load it, checked before it does.

    With the library that is the text itself; without, compiled nodes stand as `Custom`. Loads the
    library where the symbol needs it. Raises ModelImportError for a compiled node without its
    attributes, inputs or subgraph.
    """
    if OP not in symbol_json:
        return symbol_json
    graph = checked(symbol_json, where)
    load_library()
    check_outputs(graph, where)
    return adapted(graph)


def check_outputs(graph: SymbolGraph, where: str) -> None:
    """Raises ModelImportError where an output is read that MXNet's op does not have.

    MXNet does not look: it reads memory that is nobody's, and may end the process.
    """
    read: dict[int, int] = {}
    for entry in (*graph.heads, *(entry for node in graph.nodes for entry in node.inputs)):
        read[entry.node] = max(read.get(entry.node, 0), entry.output)
    for index, output in read.items():
        node = graph.nodes[index]
        if output and node.op not in (VARIABLE, NEURON_OP) and output >= outputs_of(node):
            raise ModelImportError(
                Code.FILE_INVALID,
                f"{where}: output {output} of node '{node.name}' ({node.op}) is read; it has "
                f"{outputs_of(node)}",
            )


def outputs_of(node: SymbolNode) -> int:
    """How many outputs MXNet gives a node; all that are read, if it does not take the node."""
    mx = import_mxnet()
    variables = [SymbolNode(VARIABLE, f"operand{i}") for i in range(len(node.inputs))]
    alone = SymbolNode(node.op, node.name, [Entry(i) for i in range(len(variables))], node.attrs)
    text = print_symbol(SymbolGraph([*variables, alone], [Entry(len(variables))]))
    load_json = getattr(mx.symbol.load_json, "__wrapped__", mx.symbol.load_json)
    try:
        return len(load_json(text).get_internals().list_outputs()) - len(variables)
    except mx.MXNetError:  # loading the whole raises it, and says more
        return MAX_OUTPUTS


def adapted(graph: SymbolGraph) -> str:
    """The text of a graph that is known to be right, for MXNet of this process."""
    graph = with_shapes(graph)
    return print_symbol(as_custom(graph) if load_library() == FALLBACK else graph)


def from_mxnet(symbol_json: str) -> str:
    """The text of a symbol as it is saved, from the text that MXNet of this process has."""
    return print_symbol(restored(symbol_json)) if OP in symbol_json else symbol_json
