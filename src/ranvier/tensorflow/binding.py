"""Say on which group of cores each subgraph of a compiled SavedModel starts.

The group stands in the fifth place of a `NeuronOp`'s `model_config`, as the first Neuron
integration has it. The machine here has the cores that a program asks for, so it runs alike in any
group.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.importers.tensorflow.protos import Message
from ranvier.importers.tensorflow.saved_model import Source, read_saved_model
from ranvier.tensorflow.report import LOG, information_shown

UNSET = (-1, -1, -1, 10, -1)
"""Cores of the model, cores of the op, duplicates, seconds, and the group."""
GROUP = 4


def set_core_binding(model_dir: str | Path, index_list: Sequence[int]) -> None:
    """Bind the `NeuronOp`s, in the order of the graph, to groups of cores; -1 is none.

    Raises CallerError if there are not as many.
    """
    source = read_saved_model(Path(model_dir))
    nodes = neuron_ops(source)
    if len(nodes) != len(index_list):
        raise CallerError(
            Code.OPTION_INVALID,
            f"{source.name}: {len(index_list)} groups for {len(nodes)} NeuronOps",
        )
    for node, group in zip(nodes, index_list, strict=True):
        config = node.attr["model_config"].list.i
        config.extend(UNSET[len(config) :])
        config[GROUP] = int(group)
    path, new = (source.folder / name for name in ("saved_model.pb", ".saved_model.pb"))
    new.write_bytes(source.model.SerializeToString(deterministic=True))
    new.replace(path)


def inspect_core_binding(model_dir: str | Path) -> None:
    """Log the group of each `NeuronOp`."""
    with information_shown():
        for node in neuron_ops(read_saved_model(Path(model_dir))):
            group = [*node.attr["model_config"].list.i, *UNSET][GROUP]
            if len(node.attr["model_config"].list.i) <= GROUP or group < 0:
                LOG.info("subgraph %s does not bind to a NeuronCore Group", node.name)
            else:
                LOG.info("subgraph %s binds to NeuronCore Group index %d", node.name, group)


def neuron_ops(source: Source) -> list[Message]:
    graphs = [meta.graph_def for meta in source.model.meta_graphs]
    return [node for graph in graphs for node in graph.node if node.op == "NeuronOp"]
