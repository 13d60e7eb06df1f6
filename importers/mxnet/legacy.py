"""Symbols of MXNet before 0.9.5, as later versions read them.

They have no variables for the statistics of batch norms, an axis of -1 for that of all elements,
and settings of optimizers and devices among the attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from ranvier.importers.mxnet.symbol import (
    STATES,
    VARIABLE,
    Entry,
    SymbolGraph,
    SymbolNode,
    output_offsets,
)

OLDEST, STATISTICS, AXIS, WRITTEN = 800, 900, 905, 10901
"""Of a symbol that states no version; with statistics; with the axis -1; what is written here."""
HIDDEN = ("ctx_group", "force_mirroring", "lr_mult", "mirror_stage", "wd_mult")
"""Attributes that MXNet spells with underscores since."""
STATISTICS_OF = {"moving_mean": "zero", "moving_var": "one"}
"""Names of the variables, and what they are before training."""


def upgraded(graph: SymbolGraph) -> SymbolGraph:
    """The graph as the latest version has it; the same object if it is of such a version."""
    version = version_of(graph)
    if version >= AXIS:
        return graph
    nodes: list[SymbolNode] = []
    places: list[int] = []
    changed = False

    def moved(entry: Entry) -> Entry:
        return replace(entry, node=places[entry.node])

    for old in graph.nodes:
        node = replace(old, inputs=[moved(entry) for entry in old.inputs], attrs=renamed(old.attrs))
        if node.op in ("argmax", "argmin") and node.attrs.get("axis") == "-1":
            del node.attrs["axis"]
        if version < STATISTICS and node.op in STATES and len(node.inputs) == min(STATES[node.op]):
            for statistic, start in STATISTICS_OF.items():
                attrs = {**node.attrs, "__init__": f'["{start}", {{}}]'}
                node.inputs.append(Entry(len(nodes)))
                nodes.append(SymbolNode(VARIABLE, f"{node.name}_{statistic}", attrs=attrs))
        changed = changed or node.attrs != old.attrs or len(node.inputs) != len(old.inputs)
        places.append(len(nodes))
        nodes.append(node)
    if not changed:
        return graph
    attrs = {**graph.attrs, "mxnet_version": ["int", WRITTEN]}
    found = SymbolGraph(nodes, [moved(head) for head in graph.heads], [], attrs)
    found.row_ptr = output_offsets(found)
    return found


def version_of(graph: SymbolGraph) -> int:
    match cast("Mapping[str, object]", graph.attrs).get("mxnet_version"):
        case [_, int() as version]:
            return version
        case _:
            return OLDEST


def renamed(attrs: Mapping[str, str]) -> dict[str, str]:
    return {f"__{key}__" if key in HIDDEN else key: value for key, value in attrs.items()}
