"""Move device ops between segments so that fewer bytes cross; no segment is added.

An op may have a choice of levels, between the earliest and the latest. Which of two device
segments gets the ops that fit both is a minimum cut: exact where there are at most two device
segments. With more the problem contains multiway cut, which is NP-hard; then cuts of neighbours,
and of a segment and the far one that reads from it, are repeated while they gain, and the result
is never worse than it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from ranvier.passes.segment.levels import PlacedGraph, Value, crossing_bytes, settle_host

if TYPE_CHECKING:
    from networkx import DiGraph

MOST_OPS = 1000
"""Ops with a choice that a cut takes; the time of a cut grows faster than their number."""
ROUNDS = 4

FREE_OF_CHARGE = 1
"""Ops of a cut that do not count against the total: a lone op is tried without one."""

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
        self._members: dict[int, set[int]] = {}
        for op, level in enumerate(self._levels):
            if level % 2:
                self._members.setdefault(level, set()).add(op)

    @cached_property
    def _touching(self) -> list[list[int]]:
        """Per op, the values that it makes or reads, by position."""
        touching: list[list[int]] = [[] for _ in range(len(self._graph))]
        for number, value in enumerate(self._graph.values):
            for op in value.readers:
                touching[op].append(number)
            if value.producer is not None and value.producer not in value.readers:
                touching[value.producer].append(number)
        return touching

    def run(self) -> list[int]:
        """The levels after no pair of segments gains any more, or after some rounds."""
        budget = MOST_OPS * ROUNDS
        for _ in range(ROUNDS):
            moved = False
            for low, high, free in self._moves():
                if free and len(free) <= min(MOST_OPS, budget):
                    budget -= max(0, len(free) - FREE_OF_CHARGE)
                    moved |= self._swap(free, low, high)
            if not moved:
                break
        return self._levels

    def _moves(self) -> Iterator[tuple[int, int, set[int]]]:
        """Pairs of segments and the ops that may be in either: neighbours, then far ones."""
        for low, high in pairwise(sorted(self._members)):
            yield low, high, self._free_ops(low, high)
        seeds: dict[tuple[int, int], list[int]] = {}
        for value in self._graph.values:
            if value.producer is not None and self._levels[value.producer] % 2 and value.readers:
                low = self._levels[value.producer]
                high = min(self._levels[reader] for reader in value.readers)
                high -= high % 2 == 0
                if high > low + 2:
                    seeds.setdefault((low, high), []).append(value.producer)
        for (low, high), producers in sorted(seeds.items()):
            yield low, high, self._sinking_ops(producers, low, high)

    def _sinking_ops(self, producers: Sequence[int], low: int, high: int) -> set[int]:
        """Some ops of the lower segment whose readers all are in the upper or after it.

        The search goes from the producers to what they read, so that it costs what it finds.
        """
        sinking: set[int] = set()
        pending = deque(sorted(producers, reverse=True))
        while pending and len(sinking) <= MOST_OPS:
            op = pending.popleft()
            if op in sinking or self._levels[op] != low:
                continue
            if all(self._levels[r] >= high or r in sinking for r in self._readers[op]):
                sinking.add(op)
                pending.extend(self._graph.after[op])
        return sinking

    def _free_ops(self, low: int, high: int) -> set[int]:
        """The ops of both segments that may be in either, if others that may go along do."""
        levels = self._levels
        up: set[int] = set()
        for op in sorted(self._members[low], reverse=True):
            if all(levels[reader] >= high or reader in up for reader in self._readers[op]):
                up.add(op)
        down: set[int] = set()
        for op in sorted(self._members[high]):
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
        for op in free:
            self._members[old[op]].discard(op)
            self._members[self._levels[op]].add(op)
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
