"""MXNet's own symbols and arrays, where it is installed. Nothing here imports it before it is used.

MXNet ends the process on a malformed subgraph, so that graphs are checked before it gets them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import Tensor, dtype_of, tensor
from ranvier.importers.mxnet.compiled import check_compiled
from ranvier.importers.mxnet.importer import Foreign
from ranvier.importers.mxnet.symbol import SymbolGraph, print_symbol
from ranvier.importers.semantics import element_type
from ranvier.mxnet.compat import import_mxnet, installed

LOG = logging.getLogger("mxnet")


def is_symbol(obj: object) -> bool:
    return _is_of(obj, "mxnet.symbol", "Symbol")


def is_block(obj: object) -> bool:
    return _is_of(obj, "mxnet.gluon", "HybridBlock")


def _is_of(obj: object, package: str, name: str) -> bool:
    return any(
        kind.__name__ == name and kind.__module__.startswith(package) for kind in type(obj).__mro__
    )


def array(values: Array) -> Any:
    """An NDArray of the same element type."""
    return import_mxnet().nd.array(values, dtype=values.dtype)


def symbol(graph: SymbolGraph) -> Any:
    """MXNet's symbol of a graph; None if it has an op that MXNet does not know.

    Raises ModelImportError for a graph that MXNet would not survive.
    """
    check_compiled(graph)
    mx = import_mxnet()
    try:
        return mx.sym.load_json(print_symbol(graph))
    except mx.MXNetError as error:
        LOG.warning("mxnet does not take the symbol: %s", str(error).strip().splitlines()[-1])
        return None


def foreign(
    graph: SymbolGraph, params: Mapping[str, Array], inputs: Mapping[str, Tensor]
) -> Foreign | None:
    """What MXNet infers of the results of a node; None where it is not installed."""
    if not installed():
        return None
    found: list[dict[str, list[Tensor]]] = []

    def types(index: int) -> Sequence[Tensor] | None:
        if not found:  # asked for the first operator that `nn` lacks; most models have none
            found.append(inferred(graph, params, inputs))
        return found[0].get(graph.nodes[index].name)

    return types


def inferred(
    graph: SymbolGraph, params: Mapping[str, Array], inputs: Mapping[str, Tensor]
) -> dict[str, list[Tensor]]:
    """The types of the results of each node, by its name; those that MXNet does not infer lack."""
    mx = import_mxnet()
    known: dict[str, tuple[Any, Any]] = {name: (a.shape, a.dtype) for name, a in params.items()}
    known |= {name: (t.get_shape(), dtype_of(t.element_type)) for name, t in inputs.items()}
    try:
        internals = mx.sym.load_json(print_symbol(graph)).get_internals()
        shapes = internals.infer_shape_partial(
            **{name: shape for name, (shape, _) in known.items()}
        )
        dtypes = internals.infer_type_partial(**{name: dtype for name, (_, dtype) in known.items()})
    except mx.MXNetError as error:
        LOG.warning("mxnet cannot infer the types of the model: %s", str(error).splitlines()[-1])
        return {}
    types: dict[str, list[Tensor]] = {}
    for output, shape, dtype in zip(internals, shapes[1], dtypes[1], strict=True):
        if shape and min(shape) > 0 and dtype is not None:
            found = tensor(tuple(shape), element_type(np.dtype(dtype)))
            types.setdefault(output.name, []).append(found)
    return types
