"""Which nodes of a captured graph run on the machine, in which segments, and why others do not.

The compiler's own placement decides about each op: a candidate segment is imported and placed, and
the nodes of the ops that it leaves to the host leave the segment, until nothing moves. So an op is
never supported by its name alone. The rules of the options and of the user place nodes before, as
far as names and types decide, and ops of a candidate.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from xdsl.dialects.builtin import ModuleOp

from ranvier.dialects.diagnostics import Code, CodedError, Reason
from ranvier.importers.builder import spelled
from ranvier.importers.errors import ModelImportError
from ranvier.importers.torch import import_nodes
from ranvier.passes.analysis.operators import code_of, host_ops
from ranvier.passes.placement import before_rules, read_rules
from ranvier.passes.placement.nodes import decide, impossible
from ranvier.passes.placement.rule import NEURON
from ranvier.passes.segment.crossing import least_crossing
from ranvier.passes.segment.levels import PlacedGraph, Value, fewest_levels
from ranvier.placement import place_ops
from ranvier.program import Options
from ranvier.torch.node import (
    bytes_of,
    constant_nodes,
    counted,
    describe,
    graph_node,
    is_call,
    is_lookup,
    is_op,
    is_seeded,
    is_static,
    is_symbolic,
    mutates,
    name_of,
    type_of,
    values_of,
)
from ranvier.torch.options import Rules
from ranvier.torch.runtime import DTYPES

LOG = logging.getLogger("Neuron")

_REFUSED = (torch.complex32, torch.complex64, torch.complex128, torch.float64)


class UnsupportedOperatorError(CodedError, AttributeError):
    """`fallback=False`, and an op cannot run on the machine."""


@dataclass(frozen=True)
class Segment:
    """Nodes that are compiled to one program. Constants stand with their readers."""

    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]

    @cached_property
    def operators(self) -> list[Node]:
        """The ops of the model in it."""
        return counted(self.nodes)

    def import_module(self, name: str) -> tuple[ModuleOp, dict[str, str]]:
        """The `nn` module, and the node of each name in its locations."""
        imported = import_nodes(
            self.nodes, inputs=self.inputs, outputs=self.outputs, state={}, name=name
        )
        return imported.module, dict(imported.nodes)


@dataclass
class Partition:
    """The segments of a graph in their order, and the reason of each op on the host."""

    module: GraphModule
    segments: list[Segment]
    reasons: dict[Node, Reason]
    constants: set[Node] = field(default_factory=set[Node])
    forced: dict[Node, str] = field(default_factory=dict[Node, str])
    """Nodes that rules want on the machine, with the rule."""
    levels: dict[Node, int] = field(default_factory=dict[Node, int])
    """Sorted by them, nodes are in an order of execution in which each segment is in one piece."""

    @property
    def operators(self) -> list[Node]:
        """All ops that count, in order: neither constants nor arithmetic on sizes."""
        return [n for n in self.module.graph.nodes if is_op(n) and n not in self.constants]

    def on_neuron(self) -> set[Node]:
        return {node for segment in self.segments for node in segment.nodes} - self.constants

    def host_only(self, segment: Segment, reason: Reason) -> Partition:
        """The same without a segment, whose ops go to the host; PassError if rules forbid it."""
        reasons = dict.fromkeys((n for n in segment.operators if n not in self.constants), reason)
        segments = [other for other in self.segments if other is not segment]
        check_forced(self.forced, reasons)
        return replace(self, segments=segments, reasons=self.reasons | reasons)


def partition(module: GraphModule, rules: Rules, options: Options) -> Partition:
    """Place every node.

    Raises UnsupportedOperatorError if the options forbid what is needed, and PassError if a rule
    wants a node on the machine that cannot be there.
    """
    constants = constant_nodes(module.graph)
    nodes = [node for node in module.graph.nodes if is_op(node) and node not in constants]
    own = rules.of_nodes((name_of(node), graph_node(node)) for node in nodes)
    text = before_rules(own, options.rules)
    decided = decide(text, [(node, name_of(node), type_of(node)) for node in nodes])
    placer = _Placer(module, constants, rules, options, text, decided.neuron)
    found = placer.place(decided.host | first_reasons(module, constants))
    check_forced(found.forced, found.reasons)
    if not rules.fallback:
        refuse_fallback(found)
    return found


def check_forced(forced: Mapping[Node, str], reasons: Mapping[Node, Reason]) -> None:
    """Raises PassError for nodes on the host that rules want on the machine."""
    refused = [
        f"{forced[node]}: {describe(node)}: {r.text} [{r.code.number}]"
        for node, r in reasons.items()
        if node in forced
    ]
    if refused:
        raise impossible("; ".join(refused))


def refuse_fallback(found: Partition) -> None:
    """Raises UnsupportedOperatorError for ops that the machine lacks."""
    chosen = (Code.OP_RULE, Code.OP_SEGMENT_TOO_SMALL)
    missing = {n: r for n, r in found.reasons.items() if r.code not in chosen}
    if missing:
        lines = [f"{describe(node)}: {r.text} [{r.code.number}]" for node, r in missing.items()]
        count = "1 operator is" if len(lines) == 1 else f"{len(lines)} operators are"
        raise UnsupportedOperatorError(
            Code.FALLBACK_FORBIDDEN,
            f"{count} not supported by the machine, and fallback=False: " + "; ".join(lines),
        )


def first_reasons(module: GraphModule, constants: AbstractSet[Node]) -> dict[Node, Reason]:
    """Nodes that no import is needed to refuse: values without a static type, side effects."""
    return {
        node: reason
        for node in module.graph.nodes
        if is_call(node) and node not in constants and (reason := why_not_static(node)) is not None
    }


def why_not_static(node: Node) -> Reason | None:
    """Why a node cannot be an op on static tensors; None if it can."""
    if mutates(node):
        return Reason(Code.OP_ATTRIBUTE, f"it writes to '{node.args[0]}', which the caller sees")
    if is_seeded(node):
        return Reason(Code.OP_ATTRIBUTE, "it draws random numbers")
    if is_symbolic(node) or any(is_symbolic(read) for read in node.all_input_nodes):
        return Reason(Code.SHAPE_UNKNOWN, "it computes with a size that depends on data")
    for value in (value for each in (node, *node.all_input_nodes) for value in values_of(each)):
        if not isinstance(value, Tensor):
            continue
        if not is_static(value):
            shape = ", ".join(map(str, value.shape))
            return Reason(Code.SHAPE_UNKNOWN, f"the shape [{shape}] depends on data")
        if value.dtype in _REFUSED or value.dtype not in DTYPES.values():
            return Reason(Code.OP_ELEMENT_TYPE, f"the machine has no {value.dtype}")
    if not is_op(node) and not is_lookup(node):
        return Reason(Code.OP_OPAQUE, "it is a function of Python")
    return None


class _Placer:
    """Finds the segments of one graph."""

    def __init__(
        self,
        module: GraphModule,
        constants: set[Node],
        rules: Rules,
        options: Options,
        text: str,
        forced: dict[Node, str],
    ) -> None:
        """`text` are the placement rules, `forced` the nodes that they want on the machine."""
        self.module = module
        self.constants = constants
        self.rules = rules
        self.options = replace(options, minimum_size=1)
        self.text = text
        self.forced = forced
        self._may_force = any(rule.verb == NEURON for rule in read_rules(text))
        self.nodes = [n for n in module.graph.nodes if is_call(n) and n not in constants]
        self._placed: dict[tuple[Node, ...], dict[Node, Reason]] = {}

    def place(self, reasons: dict[Node, Reason]) -> Partition:
        while True:
            follow_lookups(self.nodes, reasons)
            self.demote_small(reasons)
            segments = self.segments(reasons)
            new = {n: r for segment in segments for n, r in self.refused(segment).items()}
            if not new.keys() - reasons.keys():
                break
            reasons |= new
        levels = self.levels(reasons.keys())
        segments = self.keep_the_large(segments, reasons)
        ops = {node: reason for node, reason in reasons.items() if is_op(node)}
        order = {node: i for i, node in enumerate(self.module.graph.nodes)}
        ordered = dict(sorted(ops.items(), key=lambda item: order[item[0]]))
        return Partition(self.module, segments, ordered, self.constants, self.forced, levels)

    def levels(self, reasons: AbstractSet[Node]) -> dict[Node, int]:
        """The numbers that the pass `segment` gives: a level never decreases along a use.

        Odd ones are segments, even ones the host.
        """
        numbers = {node: number for number, node in enumerate(self.nodes)}
        after = [[numbers[n] for n in node.all_input_nodes if n in numbers] for node in self.nodes]
        values = [
            Value(
                numbers.get(node),
                bytes_of(node),
                tuple(numbers[user] for user in node.users if user in numbers),
                any(user.op == "output" for user in node.users),
            )
            for node in self.module.graph.nodes
            if node not in self.constants
        ]
        graph = PlacedGraph([node in reasons for node in self.nodes], after, values)
        return dict(zip(self.nodes, least_crossing(graph, fewest_levels(graph)), strict=True))

    def groups(self, reasons: AbstractSet[Node]) -> list[list[Node]]:
        """Nodes of one segment each, in an order of execution."""
        return groups_of(self.levels(reasons))

    def demote_small(self, reasons: dict[Node, Reason]) -> None:
        """Small segments go to the host, unless one is the whole graph or rules want it."""
        least = self.rules.minimum_segment_size
        while reasons:
            small = [group for group in self.groups(reasons.keys()) if len(counted(group)) < least]
            groups = [group for group in small if not self.is_forced(group)]
            if not groups:
                return
            for group in groups:
                reason = Reason(
                    Code.OP_SEGMENT_TOO_SMALL,
                    f"its segment has {len(counted(group))} ops, minimum_segment_size is {least}",
                )
                reasons |= dict.fromkeys(group, reason)

    def segments(self, reasons: dict[Node, Reason]) -> list[Segment]:
        return [self.segment(group) for group in self.groups(reasons.keys())]

    def segment(self, group: Sequence[Node]) -> Segment:
        """A segment with the constants that it reads, its inputs and its outputs."""
        own = set(group)
        pending, fixed = list(group), set[Node]()
        while pending:
            for read in pending.pop().all_input_nodes:
                if read in self.constants and read not in fixed:
                    fixed.add(read)
                    pending.append(read)
        inputs = dict.fromkeys(
            read for n in group for read in n.all_input_nodes if read not in own | fixed
        )
        outputs = [n for n in group if any(user not in own for user in n.users)]
        nodes = tuple(n for n in self.module.graph.nodes if n in own or n in fixed)
        tensors = [n for n in outputs if isinstance(n.meta.get("val"), Tensor)]
        return Segment(nodes, tuple(inputs), tuple(tensors))

    def is_forced(self, group: Sequence[Node]) -> bool:
        """Whether rules want a node on the machine; some ask for what only its ops have."""
        if self._may_force:
            self.refused(self.segment(group))
        return not self.forced.keys().isdisjoint(group)

    def refused(self, segment: Segment) -> dict[Node, Reason]:
        """Import and place a segment; the nodes of the ops on the host."""
        if segment.nodes not in self._placed:
            self._placed[segment.nodes] = self._refused(segment)
        return self._placed[segment.nodes]

    def _refused(self, segment: Segment) -> dict[Node, Reason]:
        try:
            module, names = segment.import_module("segment")
        except ModelImportError as error:
            LOG.warning("cannot import a segment of %d ops: %s", len(segment.operators), error)
            return dict.fromkeys(segment.operators, Reason(error.code, str(error)))
        nodes = {node.name: node for node in segment.nodes}
        known = {name: nodes[node] for name, node in names.items() if node in nodes}
        nodes |= {form: node for name, node in known.items() for form in (name, spelled(name))}
        forced = place_ops(module, self.options, self.text)
        self.forced |= {nodes[name]: rule for name, rule in forced.items() if name in nodes}
        refused: dict[Node, Reason] = {}
        for op in host_ops(module):
            if op.name in nodes:
                refused.setdefault(nodes[op.name], Reason(code_of(op.code), op.reason))
        return refused

    def keep_the_large(self, segments: list[Segment], reasons: dict[Node, Reason]) -> list[Segment]:
        """One segment with more than the threshold of all ops leaves the others on the host.

        Segments that rules want stay.
        """
        total = len(counted(self.nodes))
        threshold = self.rules.single_fusion_ratio_threshold
        for large in segments:
            share = len([n for n in large.operators if n not in self.constants]) / max(total, 1)
            if share > threshold and len(segments) > 1 and threshold < 1:
                reason = Reason(
                    Code.OP_RULE,
                    f"another segment has {share:.0%} of the ops, "
                    f"single_fusion_ratio_threshold is {threshold}",
                )
                kept = [s for s in segments if s is large or self.forced.keys() & set(s.nodes)]
                for segment in segments:
                    if segment not in kept:
                        nodes = [n for n in segment.nodes if n not in self.constants]
                        reasons |= dict.fromkeys(nodes, reason)
                return kept
        return segments


def groups_of(levels: dict[Node, int]) -> list[list[Node]]:
    """The nodes of each odd level, in the order of levels."""
    groups: dict[int, list[Node]] = {}
    for node, level in levels.items():
        if level % 2:
            groups.setdefault(level, []).append(node)
    return [groups[level] for level in sorted(groups)]


def follow_lookups(nodes: Sequence[Node], reasons: dict[Node, Reason]) -> None:
    """What takes a result of an op runs where the op does."""
    for node in nodes:
        if is_lookup(node):
            producer = node.all_input_nodes[0]
            if producer in reasons:
                reasons.setdefault(node, reasons[producer])
            elif node in reasons:
                reasons[producer] = reasons[node]
