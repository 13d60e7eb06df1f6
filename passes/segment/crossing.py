"""Move device ops between segments so that fewer bytes cross; no segment is added.

An op may have a choice of levels, between the earliest and the latest. Who of two neighbouring
device segments gets the ops that fit both is a minimum cut: exact where there are at most two
device segments. With more the problem contains multiway cut, which is NP-hard; then the cuts are
repeated for each pair while they gain, and the result is never worse than it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from ranvier.passes.segment.levels import PlacedGraph, Value, crossing_bytes, settle_host

if TYPE_CHECKING:
    from networkx import DiGraph

MOST_OPS = 2000
"""Ops with a choice that a cut takes; the time of a cut grows faster than their number."""
ROUNDS = 4

LOW, HIGH = "low", "high"
"""The terminals: the lower and the upper of the two segments."""


def least_crossing(graph: PlacedGraph, ways: Sequence[list[int]]) -> list[int]:
    """The way with the fewest crossing bytes, after ops have moved. Ties go to the first."""
    settled = [Mover(graph, levels).run() for levels in ways]
    return min(settled, key=lambda levels: crossing_bytes(graph, levels))


class Mover:
    """Moves ops between neighbouring device segments, from their earliest levels."""

    def __init__(self, graph: PlacedGraph, earliest: Sequence[int]) -> None:
        self._graph = graph
        self._levels = list(earliest)
        settle_host(graph, self._levels)
        self._readers: list[list[int]] = [[] for _ in range(len(graph))]
        for op, after in enumerate(graph.after):
            for earlier in after:
                self._readers[earlier].append(op)
        self._touching: list[list[int]] = [[] for _ in range(len(graph))]
        for number, value in enumerate(graph.values):
            for op in value.readers:
                self._touching[op].append(number)
            if value.producer is not None and value.producer not in value.readers:
                self._touching[value.producer].append(number)
        self._members: dict[int, list[int]] = {}
        for op, level in enumerate(self._levels):
            if level % 2:
                self._members.setdefault(level, []).append(op)

    def run(self) -> list[int]:
        """The levels after no pair of segments gains any more, or after some rounds."""
        budget = MOST_OPS * ROUNDS
        for _ in range(ROUNDS):
            moved = False
            for low, high in pairwise(sorted(self._members)):
                free = self._free_ops(low, high)
                if free and len(free) <= min(MOST_OPS, budget):
                    budget -= len(free)
                    moved |= self._swap(free, low, high)
            if not moved:
                break
        return self._levels

    def _free_ops(self, low: int, high: int) -> set[int]:
        """The ops of both segments that may be in either, if others that may go along do."""
        levels = self._levels
        up: set[int] = set()
        for op in reversed(self._members[low]):
            if all(levels[reader] >= high or reader in up for reader in self._readers[op]):
                up.add(op)
        down: set[int] = set()
        for op in self._members[high]:
            if all(levels[earlier] <= low or earlier in down for earlier in self._graph.after[op]):
                down.add(op)
        return up | down

    def _swap(self, free: set[int], low: int, high: int) -> bool:
        """Give each free op to the segment that the cut says, if that saves bytes."""
        numbers = sorted({number for op in free for number in self._touching[op]})
        values = [self._graph.values[number] for number in numbers]
        upper = self._upper(free, values, low, high)
        part = PlacedGraph(self._graph.on_host, self._graph.after, values)
        before, old = crossing_bytes(part, self._levels), {op: self._levels[op] for op in free}
        for op in free:
            self._levels[op] = high if op in upper else low
        if crossing_bytes(part, self._levels) >= before:
            for op, level in old.items():
                self._levels[op] = level
            return False
        both = sorted(self._members[low] + self._members[high])
        for level in (low, high):
            self._members[level] = [op for op in both if self._levels[op] == level]
        return True

    def _upper(self, free: set[int], values: Sequence[Value], low: int, high: int) -> set[int]:
        """The free ops that belong to the upper segment."""
        if len(free) == 1:  # most often; the other segment is the only thing to try
            return {op for op in free if self._levels[op] == low}
        cut = _Cut(self._levels, free, low, high)
        for op in sorted(free):
            for earlier in self._graph.after[op]:
                if earlier in free:
                    cut.order(earlier, op)
        for value in values:
            cut.price(value)
        return cut.upper()


@dataclass
class _Cut:
    """The cost of a choice as a cut: an edge from a low op to a high one costs its capacity."""

    levels: Sequence[int]
    free: set[int]
    low: int
    high: int
    graph: DiGraph[Any] = field(init=False)

    def __post_init__(self) -> None:
        from networkx import DiGraph

        self.graph = DiGraph()
        self.graph.add_nodes_from([LOW, HIGH])

    def order(self, earlier: int, later: int) -> None:
        """The later op is not in the lower segment while the earlier is in the upper."""
        self.graph.add_edge(later, earlier)  # without a capacity: infinite

    def price(self, value: Value) -> None:
        """Charge what a value costs by where its producer and its readers are."""
        home = None if value.producer is None else self._node(value.producer)
        readers = list(dict.fromkeys(self._node(op) for op in value.readers))
        if value.producer is None or home is None:
            self._charge(LOW, readers, value.size)
            self._charge_low(readers, value.size)
        elif home != HIGH:
            outside = value.returned or None in readers
            self._charge(home, readers, value.size * (1 if outside else 2))

    def upper(self) -> set[int]:
        """The free ops on the upper side of a least cut."""
        from networkx import minimum_cut

        _, (_, upper) = cast(
            "tuple[float, tuple[set[Any], set[Any]]]", minimum_cut(self.graph, LOW, HIGH)
        )
        return upper & self.free

    def _node(self, op: int) -> Any:
        if op in self.free:
            return op
        return {self.low: LOW, self.high: HIGH}.get(self.levels[op])

    def _charge(self, low: Any, readers: Sequence[Any], size: int) -> None:
        """`size` if `low` is in the lower segment and any reader in the upper."""
        if HIGH in readers:
            self._edge(low, HIGH, size)
            return
        any_high = ("any", self.graph.number_of_nodes())
        self._edge(low, any_high, size)
        for reader in readers:
            if reader in self.free:
                self.graph.add_edge(any_high, reader)

    def _charge_low(self, readers: Sequence[Any], size: int) -> None:
        """`size` if any reader is in the lower segment."""
        if LOW in readers:
            return
        any_low = ("any", self.graph.number_of_nodes())
        self._edge(any_low, HIGH, size)
        for reader in readers:
            if reader in self.free:
                self.graph.add_edge(reader, any_low)

    def _edge(self, source: Any, sink: Any, size: int) -> None:
        if self.graph.has_edge(source, sink):
            size += self.graph.edges[source, sink].get("capacity", 0)
        self.graph.add_edge(source, sink, capacity=size)
