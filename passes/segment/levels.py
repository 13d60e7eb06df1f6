"""Number ops so that each number is one segment, with as few numbers as there can be.

Even levels run on the host, odd ones on the target, and a level never decreases along a use. The
ops of one level are then convex and the segments acyclic. A path that changes sides k times needs
k + 1 segments; the levels are no more, and where paths of that length begin on both sides one more
is needed by any placement. `docs/design/0009-fewest-segments.md` has the argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

HOST_FIRST, DEVICE_FIRST = 0, 1


class Value(NamedTuple):
    """Something that may cross between segments: who makes it, its bytes, who reads it."""

    producer: int | None
    """None for an argument of the function."""
    size: int
    readers: Sequence[int]
    returned: bool = False


@dataclass(frozen=True)
class PlacedGraph:
    """Ops by number in program order, which side each is on, and what follows what."""

    on_host: Sequence[bool]
    after: Sequence[Sequence[int]]
    """Per op, earlier ops that it reads or must follow."""
    values: Sequence[Value] = ()

    def __len__(self) -> int:
        return len(self.on_host)


def earliest_levels(graph: PlacedGraph, first: int = HOST_FIRST) -> list[int]:
    """The lowest level of each op, counted from `first`."""
    levels: list[int] = []
    for host, after in zip(graph.on_host, graph.after, strict=True):
        level = max((levels[op] for op in after), default=first)
        levels.append(level + ((level % 2 == 0) != host))
    return levels


def latest_levels(graph: PlacedGraph, last: int) -> list[int]:
    """The highest level of each op, so that none is above `last`."""
    levels = [last] * len(graph)
    for op in reversed(range(len(graph))):
        levels[op] -= (levels[op] % 2 == 0) != graph.on_host[op]
        for earlier in graph.after[op]:
            levels[earlier] = min(levels[earlier], levels[op])
    return levels


def fewest_levels(graph: PlacedGraph) -> list[list[int]]:
    """The earliest levels of each way to have the fewest segments: one, or two ways.

    The fewest device segments come first; the host segments are then fewest too.
    """
    ways = [earliest_levels(graph, first) for first in (HOST_FIRST, DEVICE_FIRST)]
    counts = [segment_counts(levels) for levels in ways]
    least = min(counts)
    found = [levels for levels, count in zip(ways, counts, strict=True) if count == least]
    return found[:1] if all(levels == found[0] for levels in found) else found


def segment_counts(levels: Sequence[int]) -> tuple[int, int]:
    """Segments on the target, and all."""
    used = set(levels)
    return sum(level % 2 for level in used), len(used)


def settle_host(graph: PlacedGraph, levels: list[int]) -> None:
    """Put host ops that no device op depends on as late as they go: device ops gain freedom."""
    latest = latest_levels(graph, max(levels, default=0))
    feeds_device = [not host for host in graph.on_host]
    for op in reversed(range(len(graph))):
        if feeds_device[op]:
            for earlier in graph.after[op]:
                feeds_device[earlier] = True
        else:
            levels[op] = latest[op]


def crossing_bytes(graph: PlacedGraph, levels: Sequence[int]) -> int:
    """Bytes that move between the host's memory and the target's in one execution."""
    return sum(crossing_by_level(graph, levels).values())


def crossing_by_level(graph: PlacedGraph, levels: Sequence[int]) -> dict[int, int]:
    """The bytes that each device segment reads from outside, and writes for others.

    A device value that anyone outside its segment reads is written once; each device segment
    reads each value from outside once.
    """
    found: dict[int, int] = {}
    for value in graph.values:
        home = None if value.producer is None else levels[value.producer]
        moving = {levels[op] for op in value.readers} - {home}
        if home is not None and (moving or value.returned):
            moving.add(home)
        for level in moving:
            if level % 2:
                found[level] = found.get(level, 0) + value.size
    return found
