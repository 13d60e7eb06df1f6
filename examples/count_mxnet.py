"""Count the operators of an MXNet model before and after compilation.

The functions and the four lines are those with which users of the first Neuron integration count:
they read nothing but the symbol's JSON.

    python examples/count_mxnet.py original-symbol.json compiled-symbol.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

import ranvier.mxnet as neuron


def sym_nodes(sym: Any) -> list[dict[str, Any]]:
    """All nodes of a symbol."""
    return json.loads(sym.tojson())["nodes"]


def count_ops(nodes: list[dict[str, Any]]) -> int:
    """Nodes that are no variables."""
    return sum(node["op"] != "null" for node in nodes)


def get_compile_stats(sym: Any) -> tuple[int, int, int]:
    """Operators of a symbol, Neuron subgraphs among them, and operators in those."""
    nodes = sym_nodes(sym)
    subgraphs = [node for node in nodes if node["op"] == "_neuron_subgraph_op"]
    inner = [graph["nodes"] for node in subgraphs for graph in node["subgraphs"]]
    return count_ops(nodes), len(subgraphs), sum(map(count_ops, inner))


def main() -> None:
    original, compiled = map(neuron.sym.load, sys.argv[1:3])
    after, subgraphs, on_neuron = get_compile_stats(compiled)
    print("Number of operations in original model:", count_ops(sym_nodes(original)))
    print("Number of operations in compiled model:", after)
    print("Number of Neuron subgraphs in compiled model:", subgraphs)
    print("Number of operations placed on Neuron runtime:", on_neuron)


if __name__ == "__main__":
    main()
