"""Find out of each node of a symbol whether the machine runs it.

The symbol is imported as a whole, and the compiler's own passes place its ops: what they leave on
the host stays with MXNet, with their reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from xdsl.dialects.builtin import FileLineColLoc, NameLoc
from xdsl.ir import Operation

from ranvier.dialects.diagnostics import CallerError, Code, Reason
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import Tensor
from ranvier.importers.builder import ModuleBuilder, spelled
from ranvier.importers.mxnet.compiled import compiled_node, is_compiled, without_binaries
from ranvier.importers.mxnet.importer import Foreign, GraphImporter, types_of
from ranvier.importers.mxnet.symbol import Entry, SymbolGraph
from ranvier.mxnet.options import CompileArgs
from ranvier.passes.analysis.locations import framework_ops
from ranvier.passes.analysis.operators import live_ops, reason_of, segments_of
from ranvier.passes.placement.nodes import decide, impossible
from ranvier.placement import place_ops


class Kind(Enum):
    """Where a node runs."""

    CONSTANT = "constant"
    """With its readers: it depends on no input of the model. Variables are such too."""
    DEVICE = "neuron"
    FREE = "free"
    """It computes nothing by itself: it was folded away, or into others."""
    HOST = "host"


@dataclass(frozen=True)
class Model:
    """A symbol, its parameters, and the types of its inputs."""

    graph: SymbolGraph
    params: Mapping[str, Array]
    inputs: Mapping[str, Tensor]
    foreign: Foreign | None = None
    """Types of the results of ops that `nn` lacks."""

    def is_input(self, index: int) -> bool:
        node = self.graph.nodes[index]
        return node.is_variable and node.name in self.inputs


@dataclass
class Placed:
    """Kinds of the nodes that are needed, reasons of those on the host, types of all results."""

    kinds: dict[int, Kind]
    types: dict[Entry, Tensor]
    reasons: dict[int, Reason] = field(default_factory=dict[int, Reason])
    forced: dict[int, str] = field(default_factory=dict[int, str])
    """Nodes that rules want on the machine however small their part is: the rule and the node."""

    def keep(self, index: int, reason: Reason) -> None:
        """Leave a node on the host. Raises PassError if a rule wants it on the machine."""
        if index in self.forced:
            raise impossible(f"{self.forced[index]}: {reason.text} [{reason.code.number}]")
        self.kinds[index] = Kind.HOST
        self.reasons.setdefault(index, reason)


def place(model: Model, arguments: CompileArgs) -> Placed:
    """Place every node. Raises ModelImportError for a node whose results nobody knows.

    Raises PassError for nodes that must be on the machine, which lacks them.
    """
    graph = without_binaries(model.graph)

    def foreign(index: int) -> list[Tensor] | None:
        node = model.graph.nodes[index]
        if is_compiled(node):
            return compiled_node(node).output_types
        found = None if model.foreign is None else model.foreign(index)
        return None if found is None else list(found)

    placed = Placed(first_kinds(model), {})
    check_names(model, placed, arguments)
    named = [(i, spelled(graph.nodes[i].name), graph.nodes[i].op) for i in placed.kinds]
    decided = decide(arguments.rules, named)
    for index, reason in decided.host.items():
        placed.keep(index, reason)
    importer = GraphImporter(
        *(graph, model.params, ModuleBuilder(model.inputs), "symbol"),
        foreign=foreign,
        outside=placed.reasons.keys(),
    )
    outputs = importer.run()
    placed.types = types_of(importer.results)
    module = importer.builder.finish(outputs, {"ranvier.framework": "MXNET"})
    forced = place_ops(module, arguments.parts, arguments.rules)
    placed.forced = {
        index: f"{rule}: {op} '{name}'"
        for index, name, op in named
        if (rule := decided.neuron.get(index) or forced.get(name))
    }
    for segment in segments_of(module):
        for op in live_ops(segment):
            note(op, segment.on_host, placed)
    return placed


def first_kinds(model: Model) -> dict[int, Kind]:
    """What depends on inputs computes nothing until an op of it is found."""
    graph, needed = model.graph, model.graph.needed()
    kinds: dict[int, Kind] = {}
    for index, node in enumerate(graph.nodes):
        if index in needed and not node.is_variable:
            runs = any(
                model.is_input(entry.node) or kinds.get(entry.node, Kind.CONSTANT) != Kind.CONSTANT
                for entry in node.inputs
            )
            if runs:
                kinds[index] = Kind.HOST if is_compiled(node) else Kind.FREE
            else:
                kinds[index] = Kind.CONSTANT
    return kinds


def check_names(model: Model, placed: Placed, arguments: CompileArgs) -> None:
    """Raises CallerError for names of no node."""
    names = {model.graph.nodes[index].name for index in placed.kinds}
    for option in ("excl_node_names", "force_incl_node_names"):
        if unknown := sorted(getattr(arguments, option) - names):
            raise CallerError(
                Code.INPUT_UNKNOWN, f"{option}: no operator '{unknown[0]}' in the symbol"
            )


def note(op: Operation, on_host: bool, placed: Placed) -> None:
    """Say of the nodes that an op stands for where it runs; one part on the host is enough."""
    for part in framework_ops(op):
        index = node_index(part)
        kind = placed.kinds.get(index)
        if on_host and kind is not None:
            placed.keep(index, reason_of(op) or Reason(Code.OP_NO_LOWERING, "it has no lowering"))
        elif kind is Kind.FREE:
            placed.kinds[index] = Kind.DEVICE


def node_index(part: NameLoc) -> int:
    """The index that the importer writes into a node's location; -1 where there is none."""
    match part.location:
        case FileLineColLoc(column=column):
            return column.data
        case _:
            return -1
