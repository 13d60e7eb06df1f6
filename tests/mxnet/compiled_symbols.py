"""Symbols with compiled nodes, made of MXNet's own by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mxnet_samples import Array, S

import ranvier
from ranvier.dialects.nn.types import tensor
from ranvier.importers.mxnet import import_symbol
from ranvier.importers.mxnet.reading import parse_symbol
from ranvier.importers.semantics import element_type

OP = "_neuron_subgraph_op"
NEFF = f"{OP}0_neuronbin"
RANDOM = np.random.default_rng(8)
X = RANDOM.standard_normal((2, 6)).astype(np.float32)
W = RANDOM.standard_normal((4, 6)).astype(np.float32)
# f32 sums of six products of about 1, in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler"
)


def layer() -> Any:
    """Two outputs: `relu(x w^T)` and `x w^T`."""
    dense = S.FullyConnected(S.var("data"), S.var("w"), num_hidden=4, no_bias=True, name="fc")
    return S.Group([S.Activation(dense, act_type="relu", name="relu"), dense])


def expected() -> list[Array]:
    return [np.maximum(X @ W.T, 0), X @ W.T]


def neff_of(symbol: Any, weights: dict[str, Array], inputs: dict[str, Array], path: Path) -> Array:
    """The bytes of the NEFF that computes a symbol."""
    types = {name: tensor(x.shape, element_type(x.dtype)) for name, x in inputs.items()}
    module = import_symbol(parse_symbol(symbol.tojson()), weights, types)
    ranvier.compile(module, fast_math=("none",)).save(path)
    return np.fromfile(path, np.uint8)


def compiled_node(
    symbol: Any, inputs: dict[str, Array], outputs: list[Array], reads: list[list[int]]
) -> dict[str, Any]:
    """The node as JSON; `reads` are its inputs as entries, the NEFF's last."""
    lists = {
        "data_names": list(inputs),
        "data_shapes": [x.shape for x in inputs.values()],
        "data_dtypes": [x.dtype.name for x in inputs.values()],
        "output_names": symbol.list_outputs(),
        "output_shapes": [x.shape for x in outputs],
        "output_dtypes": [x.dtype.name for x in outputs],
    }
    return {
        "op": OP,
        "name": f"{OP}0",
        "attrs": {key: json.dumps(value) for key, value in lists.items()},
        "inputs": reads,
        "subgraphs": [json.loads(symbol.tojson())],
    }


def whole(symbol: Any, inputs: dict[str, Array], outputs: list[Array]) -> dict[str, Any]:
    """A symbol of one compiled node, as JSON."""
    names = [*inputs, f"{OP}0_neuronbin"]
    nodes = [{"op": "null", "name": name, "inputs": []} for name in names]
    reads = [[position, 0, 0] for position in range(len(names))]
    nodes.append(compiled_node(symbol, inputs, outputs, reads))
    return graph(nodes, [[len(names), output, 0] for output in range(len(outputs))])


def graph(nodes: list[dict[str, Any]], heads: list[list[int]]) -> dict[str, Any]:
    variables = [position for position, node in enumerate(nodes) if node["op"] == "null"]
    row_ptr = np.cumsum(
        [0, *(len(json.loads(n.get("attrs", {}).get("output_names", "[0]"))) for n in nodes)]
    )
    return {
        "nodes": nodes,
        "arg_nodes": variables,
        "node_row_ptr": row_ptr.tolist(),
        "heads": heads,
        "attrs": {"mxnet_version": ["int", 10901]},
    }
