"""Device segments that are not worth their while, and go to the host.

A rule looks at the segments that there would be; what it moves may join or split others, so that
`segment` asks again until nothing moves. A segment with an op that a rule of the user places on
the target stays, and so does one that is the whole graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import UNKNOWN_LOC
from xdsl.ir import Operation

from ranvier.dialects import graph
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.passes.analysis.locations import framework_ops
from ranvier.passes.rewriting.implicit_casts import is_implicit
from ranvier.passes.rewriting.marks import placement_of
from ranvier.passes.target import HostCosts, Target

Segment = Sequence[Operation]


@dataclass(frozen=True)
class Thresholds:
    """When a device segment goes to the host although the target runs its ops."""

    minimum_size: int = 1
    """Framework ops of a segment that stays."""
    single_fusion_ratio: float = 1.0
    """If a segment has more than this part of all ops, the others go, as in torch-neuron."""
    weigh_transfers: bool = False
    """A segment goes if moving its data takes longer than it saves, by the target's numbers."""


def demoted(
    segments: Sequence[Segment],
    host: Mapping[Operation, Reason],
    target: Target,
    thresholds: Thresholds,
    crossing_of: Callable[[Segment], int],
) -> dict[Operation, Reason]:
    """The ops that go to the host next, and why; empty if all segments stay.

    `crossing_of` says how many bytes a segment reads and writes in one execution.
    """
    if not host:
        return {}
    candidates = [segment for segment in segments if not any(map(is_forced, segment))]
    found = _too_small(candidates, thresholds.minimum_size)
    if not found and thresholds.weigh_transfers:
        found = _too_costly(candidates, target, crossing_of)
    if not found and thresholds.single_fusion_ratio < 1:
        everything = segment_size([op for segment in segments for op in segment] + list(host))
        found = _not_the_largest(segments, candidates, everything, thresholds.single_fusion_ratio)
    return {op: reason for segment, reason in found for op in segment if not is_implicit(op)}


def _too_small(segments: Sequence[Segment], minimum: int) -> list[tuple[Segment, Reason]]:
    sizes = ((segment, segment_size(segment)) for segment in segments if minimum > 1)
    return [
        (
            segment,
            Reason(Code.OP_SEGMENT_TOO_SMALL, f"its segment has {size} of at least {minimum} ops"),
        )
        for segment, size in sizes
        if size < minimum
    ]


def _too_costly(
    segments: Sequence[Segment], target: Target, crossing_of: Callable[[Segment], int]
) -> list[tuple[Segment, Reason]]:
    assert isinstance(target, HostCosts)  # `segment` has refused other targets
    found: list[tuple[Segment, Reason]] = []
    for segment in segments:
        crossing = crossing_of(segment)
        moving = target.transfer_cost(crossing)
        own = [op for op in segment if not is_implicit(op)]
        saved = sum(target.host_cost(op) - target.cost(op) for op in own)
        if moving > saved:
            text = (
                f"moving {crossing} bytes in and out takes {moving * 1e6:.1f} us, running on "
                f"{target.name} saves {max(saved, 0) * 1e6:.1f} us"
            )
            found.append((segment, Reason(Code.OP_TRANSFER, text)))
    return found


def _not_the_largest(
    segments: Sequence[Segment], candidates: Sequence[Segment], everything: int, ratio: float
) -> list[tuple[Segment, Reason]]:
    sizes = [segment_size(segment) for segment in segments]
    largest = max(range(len(sizes)), key=sizes.__getitem__, default=0)
    if not sizes or sizes[largest] <= ratio * everything:
        return []
    reason = Reason(
        Code.OP_NOT_LARGEST,
        f"one segment has {sizes[largest]} of {everything} ops, more than {ratio:g} of them",
    )
    return [(segment, reason) for segment in candidates if segment is not segments[largest]]


def is_forced(op: Operation) -> bool:
    """Whether a rule of the user places the op on the target."""
    return (placement_of(op) or ("",))[0] == graph.NEURON


def segment_size(ops: Segment) -> int:
    """Framework ops by location; an op without one counts for itself."""
    own = [op for op in ops if not is_implicit(op)]
    named = {part for op in own for part in framework_ops(op)}
    return len(named) + sum(op.location == UNKNOWN_LOC for op in own)
