"""Count and name the framework's ops of a segmented module, by location.

A framework op is known by its location, `loc("name"("type"))`, alone or in a fused one. It is on
Neuron if all live ops that carry its location are in device segments, on the host if any is in a
host segment. Constant expressions, casts of ours and unknown locations count for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from xdsl.dialects.builtin import (
    ArrayAttr,
    ModuleOp,
    NameLoc,
    StringAttr,
)
from xdsl.ir import Operation

from ranvier.dialects import graph
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import REASON, ReferenceSemantics
from ranvier.dialects.nn.types import UNKNOWN
from ranvier.passes.analysis.dataflow import constant_ops, main_block
from ranvier.passes.analysis.locations import (
    describe,
    framework_ops,
    framework_type,
    shown_name,
    source_location,
)
from ranvier.passes.errors import PassError
from ranvier.passes.rewriting.implicit_casts import is_implicit

MOST_NAMED = 20
"""Ops that one error message lists."""
HEAVY = 0.05
"""The part of the model's MACs on the host from which on it is worth a warning."""


@dataclass(frozen=True)
class OperatorCounts:
    """`before = on_neuron + host` framework ops; `after = host + segments`."""

    before: int
    after: int
    on_neuron: int
    host: int
    segments: int


@dataclass(frozen=True)
class HostOp:
    """A framework op on the host: its type and name there, and why it is there."""

    op: str
    name: str
    code: str
    reason: str
    location: str


def segments_of(module: ModuleOp) -> list[graph.SegmentOp]:
    """The segments of `@main`, in order."""
    block = main_block(module)
    return [] if block is None else [op for op in block.ops if isinstance(op, graph.SegmentOp)]


def live_ops(segment: graph.SegmentOp) -> Iterator[Operation]:
    """The ops of a segment and its stages that do the model's work."""
    for block in segment.walk_blocks():
        constants = constant_ops(block.ops)
        for op in block.ops:
            if op not in constants and not is_implicit(op) and not isinstance(op, graph.OPS):
                yield op


def count_operators(module: ModuleOp) -> OperatorCounts:
    """Count framework ops after `segment`, before lowering."""
    placed: tuple[set[NameLoc], set[NameLoc]] = (set(), set())
    segments = segments_of(module)
    for segment in segments:
        for op in live_ops(segment):
            placed[segment.on_host].update(framework_ops(op))
    host = len(placed[True])
    on_neuron = len(placed[False] - placed[True])
    device = sum(not segment.on_host for segment in segments)
    return OperatorCounts(host + on_neuron, host + device, on_neuron, host, device)


def host_ops(module: ModuleOp) -> list[HostOp]:
    """The framework ops on the host, in program order, each once."""
    found: dict[NameLoc, HostOp] = {}
    for segment in segments_of(module):
        if segment.on_host:
            for op in live_ops(segment):
                for part in framework_ops(op):
                    found.setdefault(part, _host_op(op, part))
    return list(found.values())


def heavy_host_work(module: ModuleOp) -> list[tuple[str, int, float]]:
    """The ops on the host that multiply: name, how many, and their part of the model's MACs.

    The heaviest first; nothing if all of them together are a small part of the work.
    """
    total, count = 0, Counter[str]()
    macs = Counter[str]()
    for segment in segments_of(module):
        for op in live_ops(segment):
            if isinstance(op, ReferenceSemantics) and (own := op.work().macs):
                total += own
                if segment.on_host:
                    count[op.name] += 1
                    macs[op.name] += own
    if macs.total() < HEAVY * total or not total:
        return []
    return [(name, count[name], own / total) for name, own in macs.most_common()]


def check_types_known(module: ModuleOp) -> None:
    """Raises PassError for ops whose results have no known type: a program needs static shapes."""
    unknown = [op for op in module.walk() if any(r.type == UNKNOWN for r in op.results)]
    texts: list[str] = []
    for op in unknown[:MOST_NAMED]:
        reason = reason_of(op)
        texts.append(describe(op) if reason is None else f"{describe(op)}: {reason.text}")
    if unknown:
        raise PassError(
            Code.SHAPE_UNKNOWN,
            f"{len(unknown)} ops have results of unknown types, so that the module can be placed "
            f"and not compiled: {'; '.join(texts)}",
        )


def reason_of(op: Operation) -> Reason | None:
    """The reason that an op carries for being on the host."""
    match op.attributes.get(REASON):
        case ArrayAttr(data=(StringAttr(data=number), StringAttr(data=text))):
            return Reason(code_of(number), text)
        case _:
            return None


@cache
def code_of(number: str) -> Code:
    """The code of a number; a number of another compiler's stands for a rule of its own."""
    return next((code for code in Code if code.number == number), Code.OP_RULE)


def _host_op(op: Operation, part: NameLoc) -> HostOp:
    reason = reason_of(op)
    code, text = ("", "") if reason is None else (reason.code.number, reason.text)
    return HostOp(framework_type(part), shown_name(part), code, text, source_location(op, part))
