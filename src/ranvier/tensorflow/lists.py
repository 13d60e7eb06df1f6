"""Place the nodes that share a list of tensors: no list crosses between machine and TensorFlow.

They stay in TensorFlow if one of them does. Else what reads a list of the machine runs there too,
even if nothing is left of it to compute.
"""

from __future__ import annotations

from collections.abc import Mapping

from ranvier.dialects.diagnostics import Reason
from ranvier.importers.tensorflow.importer import GraphImporter
from ranvier.importers.tensorflow.values import TensorList
from ranvier.tensorflow.partition import Divider, Kind
from ranvier.tensorflow.placed import Placed


def place_lists(importer: GraphImporter, placed: Placed) -> None:
    readers = readers_of_lists(importer, placed)
    around: dict[str, set[str]] = {}
    for maker, names in readers.items():
        for name in names:
            around.setdefault(maker, set()).add(name)
            around.setdefault(name, set()).add(maker)
    pending = [name for name in around if placed.kinds[name] is Kind.HOST]
    while pending:
        name = pending.pop()
        text = f"it shares a list of tensors with '{name}', which stays in TensorFlow"
        for other in sorted(around[name]):
            if placed.kinds[other] is not Kind.HOST:
                placed.keep(other, Reason(placed.reasons[name].code, text))
                pending.append(other)
    pending = [name for name in readers if placed.kinds[name] is Kind.DEVICE]
    while pending:
        for reader in readers.get(pending.pop(), ()):
            if placed.kinds[reader] is Kind.FREE:
                placed.kinds[reader] = Kind.DEVICE
                pending.append(reader)


def readers_of_lists(importer: GraphImporter, placed: Placed) -> Mapping[str, list[str]]:
    """Nodes that read a list of tensors, by the node that makes it."""
    divider = Divider(importer.flat, placed.kinds, placed.constants, ())
    values = importer.root.values
    found: dict[str, list[str]] = {}
    for name in importer.flat.nodes:
        for tensor in divider.operands(name):
            if isinstance(values.get(tensor), TensorList):
                found.setdefault(tensor.node, []).append(name)
    return found
