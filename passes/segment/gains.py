"""What it would bring to run on the target what is on the host, reason by reason."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from xdsl.ir import Operation

from ranvier.dialects.diagnostics import Reason
from ranvier.passes.analysis.locations import framework_ops, op_name
from ranvier.passes.segment import Plan
from ranvier.passes.segment.levels import crossing_bytes, fewest_levels, segment_counts
from ranvier.passes.segment.placed_graph import Numbering

MOST_REASONS = 100
"""Each costs a segmentation; the reasons of the most ops come first."""


@dataclass(frozen=True)
class Gain:
    """If the target ran all ops of a name that are on the host for one reason."""

    op: str
    reason: Reason
    ops: int
    """Framework ops that would run on the target."""
    segments: int
    """Device segments fewer."""
    bytes: int
    """Bytes fewer that cross between host and target; negative if it would be more."""


def gains_of(plan: Plan) -> list[Gain]:
    """The gain of fixing each reason alone, most ops first."""
    groups: dict[tuple[str, Reason], list[Operation]] = {}
    for op, reason in plan.reasons.items():
        groups.setdefault((op_name(op), reason), []).append(op)
    order = sorted(groups.items(), key=lambda item: -len(item[1]))[:MOST_REASONS]
    segments, crossing = measure(plan, plan.reasons.keys())
    gains: list[Gain] = []
    for (name, reason), ops in order:
        fewer, less = measure(plan, plan.reasons.keys() - set(ops))
        named = {part for op in ops for part in framework_ops(op)}
        gains.append(
            Gain(name, reason, len(named) or len(ops), max(0, segments - fewer), crossing - less)
        )
    return sorted(gains, key=lambda gain: (-gain.segments, -gain.ops))


def measure(plan: Plan, on_host: AbstractSet[Operation]) -> tuple[int, int]:
    """Device segments and crossing bytes of a placement, without moving ops to save bytes."""
    graph = Numbering(plan.block, on_host, plan.floating).graph
    ways = fewest_levels(graph)
    return segment_counts(ways[0])[0], min(crossing_bytes(graph, levels) for levels in ways)
