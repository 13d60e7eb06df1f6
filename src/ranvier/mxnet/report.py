"""What became of a symbol's operators, in the words of the first Neuron integration."""

from __future__ import annotations

from ranvier.importers.mxnet.symbol import NEURON_OP, SymbolGraph
from ranvier.mxnet.compiler import LOG, CompiledModel
from ranvier.mxnet.placing import Model


def operators(graph: SymbolGraph) -> int:
    """Nodes that are no variables."""
    return sum(not node.is_variable for node in graph.nodes)


def counts_of(model: Model, compiled: CompiledModel) -> dict[str, int]:
    """Operators before and after, subgraphs, and operators in them; the script of the reference
    counts the same in the symbol's JSON.
    """
    nodes = [node for node in compiled.graph.nodes if node.op == NEURON_OP]
    return {
        "operations in original model": operators(model.graph),
        "operations in compiled model": operators(compiled.graph),
        "Neuron subgraphs in compiled model": len(nodes),
        "operations placed on Neuron runtime": sum(
            operators(graph) for node in nodes for graph in node.subgraphs
        ),
    }


def log_counts(model: Model, compiled: CompiledModel) -> None:
    """Four lines of counts, and each operator that stays with MXNet, with its reason."""
    counts = counts_of(model, compiled)
    for what, count in counts.items():
        LOG.info("Number of %s: %d", what, count)
    for index, reason in sorted(compiled.placed.reasons.items()):
        node = model.graph.nodes[index]
        LOG.info(
            "on the host: %s '%s': %s [%s]", node.op, node.name, reason.text, reason.code.number
        )
    if not counts["Neuron subgraphs in compiled model"]:
        LOG.warning("no operator of the model will run on Neuron")
