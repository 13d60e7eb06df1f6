"""Which operators of MXNet run on a target, by an example of each.

An example is tried with all operands as inputs, with all but the first constant, as weights and
indices mostly are, and, if the import alone turns it into ops that the target has, all constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp, f32

from ranvier.dialects.diagnostics import CodedError
from ranvier.dialects.nn.types import tensor
from ranvier.importers.mxnet import import_symbol, needed_variables
from ranvier.importers.mxnet.symbol import VARIABLE, Entry, SymbolGraph, SymbolNode, output_offsets
from ranvier.passes.target import Target
from ranvier.tools.mxnet_examples import EXAMPLES, Example
from ranvier.tools.support import Support


def support(targets: Sequence[Target]) -> Support:
    """What becomes of each operator of MXNet, and of the ops that it imports as."""
    found = Support()
    for name, module, constant in forms():
        found.add(name, module, targets, constant=constant)
    return found


def forms() -> Iterator[tuple[str, ModuleOp | str, bool]]:
    """Operator, its module or why it has none, and whether all operands are constant."""
    for example in EXAMPLES:
        for name in example.names.split():
            for inputs in sorted({len(example.shapes), min(1, len(example.shapes)), 0})[::-1]:
                yield name, imported(name, example, inputs), inputs == 0


def imported(name: str, example: Example, inputs: int) -> ModuleOp | str:
    """The module of an example whose operands from the `inputs`-th on are constant."""
    graph = symbol(name, example)
    operands = [node.name for node in needed_variables(graph)]
    shapes = dict(zip((f"x{i}" for i in range(len(example.shapes))), example.shapes, strict=True))
    types = {n: tensor(shapes[n], f32) for n in operands[:inputs]}
    params = {n: np.ones(shapes[n], np.float32) for n in operands[inputs:]}
    try:
        return import_symbol(graph, params, types)
    except CodedError as error:
        return f"{error.code.number}: {error}"


def symbol(name: str, example: Example) -> SymbolGraph:
    """One operator that reads variables."""
    operands = [SymbolNode(VARIABLE, f"x{i}") for i in range(len(example.shapes))]
    entries = [Entry(i) for i in range(len(operands))]
    nodes = [*operands, SymbolNode(name, "example", entries, dict(example.attrs))]
    graph = SymbolGraph(nodes, [Entry(len(operands))])
    graph.row_ptr = output_offsets(graph)
    return graph
