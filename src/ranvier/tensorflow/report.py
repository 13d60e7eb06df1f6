"""What a conversion did, in the words of the first Neuron integration."""

from __future__ import annotations

import logging
from typing import Any

from ranvier.tensorflow.convert import Converted
from ranvier.tensorflow.partition import Kind

LOG = logging.getLogger("tensorflow")
"""The logger of TensorFlow itself, where its users look."""
ENOUGH = 0.3


def counts_of(converted: Converted) -> dict[str, Any]:
    """Counts of the graph of a signature; a NeuronOp counts as the nodes in it."""
    after = converted.operations
    return {
        "OnNeuronRatio": converted.on_neuron / max(after, 1),
        "OperationsInSession": converted.model.flat.session_nodes,
        "OperationsAfterOptimizations": after,
        "OperationsOnNeuron": converted.on_neuron,
    }


def log_conversion(converted: Converted, counts: dict[str, Any], what: str) -> None:
    """Three lines of counts, the nodes that stay in TensorFlow, and the outcome."""
    LOG.info("Number of operations in TensorFlow session: %d", counts["OperationsInSession"])
    LOG.info(
        "Number of operations after tf.neuron optimizations: %d",
        counts["OperationsAfterOptimizations"],
    )
    LOG.info("Number of operations placed on Neuron runtime: %d", counts["OperationsOnNeuron"])
    for name, reason in converted.placed.reasons.items():
        if converted.placed.kinds[name] is Kind.HOST:
            op = converted.model.flat.nodes[name].op
            LOG.info("on the host: %s '%s': %s [%s]", op, name, reason.text, reason.code.number)
    ratio = counts["OnNeuronRatio"]
    if ratio > ENOUGH:
        LOG.info("Successfully converted %s", what)
        return
    portion = "only a small portion of operators" if ratio else "no operator"
    LOG.warning(
        "Converted %s but %s will be running on AWS machine learning accelerators. This is "
        "probably not what you want",
        what,
        portion,
    )
