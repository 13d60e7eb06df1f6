"""What became of a model's operators, in the original's words.

Lines go to the logger `Neuron`, never to the root logger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch.fx import Node

from ranvier.dialects.diagnostics import Code
from ranvier.torch.node import describe, type_of
from ranvier.torch.partition import LOG, Partition

MORE = "For more information see `ranvier explain` and the table of supported operators"

PLACED = (Code.OP_RULE, Code.OP_SEGMENT_TOO_SMALL)
"""Reasons of ops that the machine has."""


def percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def types(nodes: Iterable[Node]) -> Counter[str]:
    return Counter(map(type_of, nodes))


def log_partition(found: Partition) -> None:
    """Before anything is compiled."""
    lacking = [node for node, reason in found.reasons.items() if reason.code not in PLACED]
    if lacking:
        kinds = types(lacking)
        LOG.info(
            "There are %d ops of %d different types in the TorchScript that are not compiled by "
            "neuron-cc: %s, (%s)",
            len(lacking),
            len(kinds),
            ", ".join(sorted(kinds)),
            MORE,
        )
    else:
        LOG.info(
            "All operators are compiled by neuron-cc (this does not guarantee that neuron-cc will "
            "successfully compile)"
        )
    before, fused = len(found.operators), len(compiled_nodes(found))
    LOG.info(
        "Number of arithmetic operators (pre-compilation) before = %d, fused = %d, percent fused = "
        "%s%%",
        before,
        fused,
        percent(fused, before),
    )


def compiled_nodes(found: Partition) -> list[Node]:
    """The operators that are in segments."""
    inside = found.on_neuron()
    return [node for node in found.operators if node in inside]


def log_compiled(found: Partition, attempted: int) -> None:
    """After all segments were compiled, or were given up."""
    operators, compiled = found.operators, compiled_nodes(found)
    share = percent(len(compiled), len(operators))
    LOG.info(
        "Number of arithmetic operators (post-compilation) before = %d, compiled = %d, percent "
        "compiled = %s%%",
        len(operators),
        len(compiled),
        share,
    )
    LOG.info("The neuron partitioner created %d sub-graphs", attempted)
    succeeded = len(found.segments)
    LOG.info(
        "Neuron successfully compiled %d sub-graphs, Total fused subgraphs = %d, Percent of model "
        "sub-graphs successfully compiled = %s%%",
        succeeded,
        attempted,
        percent(succeeded, attempted),
    )
    LOG.info("Compiled these operators (and operator counts) to Neuron:")
    for kind, count in sorted(types(compiled).items()):
        LOG.info(" => %s: %d", kind, count)
    LOG.info("Not compiled operators (and operator counts) to Neuron:")
    for kind, count in sorted(types(found.reasons).items()):
        placed = all(r.code in PLACED for n, r in found.reasons.items() if type_of(n) == kind)
        LOG.info(" => %s: %d [%s]", kind, count, "supported" if placed else "not supported")
    for node, reason in found.reasons.items():
        LOG.info(" -> %s: %s [%s]", describe(node), reason.text, reason.code.number)
    if share < 50:
        LOG.warning(
            "torch.neuron.trace was unable to compile > 50% of the operators in the compiled model!"
        )
