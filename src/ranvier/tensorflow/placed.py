"""What is known of the nodes of a flat graph: where each runs, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from ranvier.dialects.diagnostics import Reason
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import Tensor as TensorType
from ranvier.importers.tensorflow.graph import Tensor
from ranvier.passes.placement.nodes import impossible
from ranvier.tensorflow.partition import Kind


@dataclass
class Placed:
    """Kinds of nodes, reasons for those on the host, and what the model fixes."""

    kinds: dict[str, Kind]
    reasons: dict[str, Reason] = field(default_factory=dict[str, Reason])
    constants: dict[str, Array] = field(default_factory=dict[str, Array])
    types: dict[Tensor, TensorType] = field(default_factory=dict[Tensor, TensorType])
    """Of the results that have a place in `nn`."""
    forced: dict[str, str] = field(default_factory=dict[str, str])
    """Nodes that rules want on the machine however small their subgraph: the rule and the node."""

    def keep(self, name: str, reason: Reason) -> None:
        """Leave a node in TensorFlow. Raises PassError if a rule wants it on the machine."""
        if name in self.forced:
            raise impossible(f"{self.forced[name]}: {reason.text} [{reason.code.number}]")
        self.constants.pop(name, None)  # its first result may be one, others of it not
        self.kinds[name] = Kind.HOST
        self.reasons[name] = reason
