"""The page of `ranvier explain --html`: one file that needs nothing else, data and all.

Names of a model are data: they go into the page as JSON and onto the screen as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ranvier.explanation import Explanation

WIDTH, HEIGHT = 190, 62
"""Distance of neighbours in a layer, and of layers, in the units of the drawing."""
SWEEPS = 4


def page_of(explanation: Explanation, title: str) -> str:
    """The page as HTML."""
    data = explanation.describe() | {
        "title": title,
        "edges": explanation.edges,
        "positions": layout(len(explanation.ops), explanation.edges),
        "segments": [asdict(segment) for segment in explanation.segments],
    }
    # No text of a model may end the script that holds it.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    template = files("ranvier.tools").joinpath("explain_page.html").read_text(encoding="utf-8")
    return template.replace("/*DATA*/null", text)


def layout(count: int, edges: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Centres of the boxes: layers by longest path, each ordered by where its neighbours are."""
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for source, sink in edges:
        if source < sink:  # parts of an op in several segments may point back
            before[sink].append(source)
            after[source].append(sink)
    layer = [0] * count
    for node in range(count):
        layer[node] = max((layer[source] + 1 for source in before[node]), default=0)
    layers: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for node in range(count):
        layers[layer[node]].append(node)
    x = [0.0] * count
    for nodes in layers:
        _place(nodes, x)
    for sweep in range(SWEEPS):
        neighbours = before if sweep % 2 == 0 else after
        for nodes in layers if sweep % 2 == 0 else reversed(layers):
            wanted = {node: _mean([x[n] for n in neighbours[node]], x[node]) for node in nodes}
            nodes.sort(key=lambda node, wanted=wanted: (wanted[node], node))
            _place(nodes, x)
    return [(x[node], float(layer[node] * HEIGHT)) for node in range(count)]


def _place(nodes: Sequence[int], x: list[float]) -> None:
    """Put a layer's boxes side by side around zero, in order."""
    for position, node in enumerate(nodes):
        x[node] = (position - (len(nodes) - 1) / 2) * WIDTH


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
