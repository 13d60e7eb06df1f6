"""The numbers of segments and of crossing bytes, against every placement that there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranvier.passes.segment.crossing import least_crossing
from ranvier.passes.segment.levels import (
    PlacedGraph,
    Value,
    crossing_bytes,
    earliest_levels,
    fewest_levels,
    segment_counts,
)

HOST, DEVICE = True, False


def graph_of(
    on_host: Sequence[bool],
    reads: Sequence[Sequence[int]],
    sizes: Sequence[int],
    argument: Sequence[int] = (),
) -> PlacedGraph:
    """A value per op, returned if nobody reads it; `argument` are the readers of one of 5 bytes."""
    readers = [[i for i, r in enumerate(reads) if op in r] for op in range(len(reads))]
    values = [Value(i, sizes[i], tuple(readers[i]), not readers[i]) for i in range(len(reads))]
    return PlacedGraph(on_host, reads, [*values, Value(None, 5, tuple(argument))])


@st.composite
def graphs(draw: st.DrawFn, most: int) -> PlacedGraph:
    count = draw(st.integers(1, most))
    reads = [
        sorted(draw(st.sets(st.integers(max(0, i - 8), i - 1), max_size=2)) if i else set())
        for i in range(count)
    ]
    on_host = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    sizes = draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    argument = draw(st.sets(st.integers(0, count - 1), max_size=4))
    return graph_of(on_host, reads, sizes, sorted(argument))


def placements(count: int) -> Iterator[list[int]]:
    """Every way to put ops into groups, by restricted growth strings."""

    def grow(prefix: list[int]) -> Iterator[list[int]]:
        if len(prefix) == count:
            yield prefix
            return
        for group in range(max(prefix, default=-1) + 2):
            yield from grow([*prefix, group])

    return grow([])


def is_legal(graph: PlacedGraph, groups: Sequence[int]) -> bool:
    """Whether groups are of one side each and have an order in which they can run."""
    sides: dict[int, bool] = {}
    uses = nx.DiGraph()
    for op, group in enumerate(groups):
        if sides.setdefault(group, graph.on_host[op]) != graph.on_host[op]:
            return False
        uses.add_node(group)
        uses.add_edges_from((groups[r], group) for r in graph.after[op] if groups[r] != group)
    return nx.is_directed_acyclic_graph(uses)


def counts_and_bytes(graph: PlacedGraph, groups: Sequence[int]) -> tuple[int, int, int]:
    """Device segments, all segments, and bytes to and from the device, written independently."""
    device = {g for op, g in enumerate(groups) if not graph.on_host[op]}
    moved = 0
    for value in graph.values:
        home = None if value.producer is None else groups[value.producer]
        elsewhere = {groups[op] for op in value.readers if groups[op] != home}
        moved += value.size * len(elsewhere & device)
        if home in device and (elsewhere or value.returned):
            moved += value.size
    return len(device), len(set(groups)), moved


@given(graphs(most=7))
def test_no_placement_has_fewer_segments_and_with_two_none_moves_fewer_bytes(graph):
    levels = least_crossing(graph, fewest_levels(graph))
    assert is_legal(graph, levels)
    found = counts_and_bytes(graph, levels)
    assert found == (*segment_counts(levels), crossing_bytes(graph, levels))
    best = min(
        counts_and_bytes(graph, groups)
        for groups in placements(len(graph))
        if is_legal(graph, groups)
    )
    assert found[:2] == best[:2]
    if found[0] <= 2:  # with more it is NP-hard
        assert found == best


@given(graphs(most=60))
def test_moving_ops_keeps_the_segments_and_never_adds_bytes(graph):
    ways = fewest_levels(graph)
    levels = least_crossing(graph, ways)
    assert is_legal(graph, levels)
    assert segment_counts(levels) == segment_counts(ways[0])
    assert crossing_bytes(graph, levels) <= min(crossing_bytes(graph, way) for way in ways)
    assert segment_counts(levels)[0] <= segment_counts(earliest_levels(graph))[0]


CASES: dict[str, tuple[PlacedGraph, list[int]]] = {
    "empty": (graph_of([], [], []), []),
    "all on the device": (graph_of([DEVICE] * 3, [[], [0], [1]], [1] * 3), [1, 1, 1]),
    "all on the host": (graph_of([HOST] * 3, [[], [0], [1]], [1] * 3), [0, 0, 0]),
    "diamond with an arm on the host": (
        graph_of([DEVICE, HOST, DEVICE, DEVICE], [[], [0], [0], [1, 2]], [4, 4, 1, 4]),
        [1, 2, 1, 3],
    ),
    "the other arm goes to where fewer bytes cross": (
        graph_of([DEVICE, HOST, DEVICE, DEVICE], [[], [0], [0], [1, 2]], [4, 4, 9, 4]),
        [1, 2, 3, 3],
    ),
    "a cycle through the host": (
        graph_of([DEVICE, HOST, DEVICE], [[], [0], [0, 1]], [1] * 3),
        [1, 2, 3],
    ),
    "two components share segments": (
        graph_of([DEVICE, HOST, DEVICE, HOST], [[], [0], [], [2]], [1] * 4),
        [1, 2, 1, 2],
    ),
    "a lone host op joins the others": (
        graph_of([HOST, DEVICE, HOST], [[], [], [1]], [1] * 3),
        [2, 1, 2],
    ),
    "components that begin on both sides need one segment more": (
        graph_of([DEVICE, HOST, HOST, DEVICE], [[], [0], [], [2]], [1] * 4),
        [1, 2, 0, 1],
    ),
    "one value read far away moves with its reader": (
        graph_of(
            [DEVICE, DEVICE, HOST, DEVICE, HOST, DEVICE],
            [[], [], [1], [2], [3], [0, 4]],
            [9, 1, 1, 1, 1, 1],
        ),
        [5, 1, 2, 3, 4, 5],
    ),
}


@pytest.mark.parametrize(("graph", "expected"), CASES.values(), ids=CASES.keys())
def test_levels_of_known_graphs(graph: PlacedGraph, expected: list[int]) -> None:
    assert least_crossing(graph, fewest_levels(graph)) == expected
