"""Count and name the framework's ops of a segmented module, by location.

A framework op is known by its location, `loc("name"("type"))`, alone or in a fused one. It is on
Neuron if all live ops that carry its location are in device segments, on the host if any is in a
host segment. Constant expressions, casts of ours and unknown locations count for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.dialects.builtin import (
    ArrayAttr,
    FileLineColLoc,
    LocationAttr,
    ModuleOp,
    NameLoc,
    StringAttr,
)
from xdsl.ir import Operation

from ranvier.dialects import graph, nn
from ranvier.passes.analysis.dataflow import constant_ops, main_block
from ranvier.passes.rewriting.implicit_casts import is_implicit
from ranvier.passes.rewriting.patterns import location_parts


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


def framework_ops(op: Operation) -> list[NameLoc]:
    """The framework ops that an op stands for."""
    return [part for part in location_parts(op.location) if isinstance(part, NameLoc)]


def framework_name(location: NameLoc) -> str:
    return location.desc.data


def framework_type(location: NameLoc) -> str:
    """The op type in `loc("name"("type":13:4))`, also without numbers; empty if there is none."""
    match location.location:
        case FileLineColLoc(filename=kind):
            return kind.data
        case NameLoc(desc=kind):
            return kind.data
        case _:
            return ""


def format_location(location: LocationAttr) -> str:
    """`"conv_3" (Conv)`, `model.py:3:7`, both joined by commas if fused; empty if unknown."""
    return ", ".join(_format_part(part) for part in location_parts(location))


def _format_part(part: LocationAttr) -> str:
    match part:
        case NameLoc():
            kind = framework_type(part)
            return f"'{framework_name(part)}'" + (f" ({kind})" if kind else "")
        case FileLineColLoc():
            return f"{part.filename.data}:{part.line.data}:{part.column.data}"
        case _:
            return str(part)


def describe(op: Operation) -> str:
    """An op for a message: `nn.erf at 'act_1' (Erf)`."""
    where = format_location(op.location)
    return f"{op.name} at {where}" if where else op.name


def segments_of(module: ModuleOp) -> list[graph.SegmentOp]:
    """The segments of `@main`, in order."""
    block = main_block(module)
    return [] if block is None else [op for op in block.ops if isinstance(op, graph.SegmentOp)]


def live_ops(segment: graph.SegmentOp) -> Iterator[Operation]:
    """The ops of a segment and its stages that do the model's work."""
    for block in segment.walk_blocks():
        constants = constant_ops(block.ops)
        for op in block.ops:
            if op not in constants and not is_implicit(op) and op.dialect_name() == nn.NN.name:
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


def _host_op(op: Operation, part: NameLoc) -> HostOp:
    code, text = "", ""
    match op.attributes.get(graph.REASON):
        case ArrayAttr(data=(StringAttr(data=code), StringAttr(data=text))):
            pass
        case _:
            pass
    return HostOp(framework_type(part), framework_name(part), code, text, format_location(part))
