"""What a conversion did, in the words of the first Neuron integration."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from ranvier.dialects.diagnostics import Reason
from ranvier.tensorflow.convert import Converted
from ranvier.tensorflow.options import NO_WORK
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
    with information_shown():
        LOG.info("Number of operations in TensorFlow session: %d", counts["OperationsInSession"])
        LOG.info(
            "Number of operations after tf.neuron optimizations: %d",
            counts["OperationsAfterOptimizations"],
        )
        LOG.info("Number of operations placed on Neuron runtime: %d", counts["OperationsOnNeuron"])
        for name, op, reason in host_ops(converted):
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


@contextmanager
def information_shown() -> Generator[None]:
    """TensorFlow's logger hides information unless the user asks for it; this is asked for."""
    level = LOG.level
    if not LOG.isEnabledFor(logging.INFO):
        LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.setLevel(level)


def host_ops(converted: Converted) -> Iterator[tuple[str, str, Reason]]:
    """Name, type and reason of the nodes that stay in TensorFlow and compute something."""
    nodes, placed = converted.model.flat.nodes, converted.placed
    for name, reason in placed.reasons.items():
        if placed.kinds[name] is Kind.HOST and nodes[name].op not in NO_WORK:
            yield name, nodes[name].op, reason
