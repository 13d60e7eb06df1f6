"""Import models of PyTorch into `nn`.

Two ways lead here: the graph of a `torch.export.ExportedProgram` before decompositions, and that of
a TorchScript module or function. Both hand their nodes, one by one, to a table of handlers keyed by
the op's name without overload, with arguments by the names of its schema, so that an op is written
once. Shapes, element types and which tensors share memory come from PyTorch itself: every node runs
on fake tensors too. What `nn` has no op for becomes `nn.opaque`.

An op's location is `loc("<node>"("<op>"("<file>":<line>:0)))`; the node's name is the one in its
framework graph, after the path of its module: `layer1.0/conv2d_3`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from ranvier.importers.torch import (
    attention,
    constant,
    contraction,
    elementwise,
    indexing,
    normalization,
    pooling,
    recurrent,
    reduction,
    resize,
    shape,
)
from ranvier.importers.torch.call import HANDLERS
from ranvier.importers.torch.graph import import_torchscript
from ranvier.importers.torch.model import Imported
from ranvier.importers.torch.program import FxImporter, import_exported

# The families enter their handlers as they are loaded.
FAMILIES = (
    attention,
    constant,
    contraction,
    elementwise,
    indexing,
    normalization,
    pooling,
    recurrent,
    reduction,
    resize,
    shape,
)


def import_program(
    exported: ExportedProgram, *, name: str = "model", untyped: bool = False
) -> Imported:
    """The module of an exported program. Raises ModelImportError.

    With `untyped`, calls that are not in nn have a place in it, and results of unknown types.
    In-place ops of the program are undone, buffers and inputs that it changes are results of the
    module (`Imported.mutations`). Dynamic dimensions are refused.
    """
    return import_exported(exported, name, untyped=untyped)


def import_nodes(
    nodes: Sequence[Node],
    *,
    inputs: Sequence[Node],
    outputs: Sequence[Node],
    state: Mapping[Node, torch.Tensor],
    name: str = "model",
) -> Imported:
    """The module of a part of an fx graph: what a partition of a program compiles.

    `nodes` are in the graph's order, without placeholders and output; `inputs` are the nodes whose
    tensors the part takes (their `meta["val"]` says of which type), `outputs` those whose tensors
    it returns, named as the nodes. `state` gives tensors of parameters, buffers and constants;
    those of `get_attr` nodes are found without it. Raises ModelImportError.
    """
    run = FxImporter(name)
    for node in inputs:
        run.env[node] = run.importer.argument(node.name, run.importer.fake(node.meta["val"]))
    for node, tensor in state.items():
        run.env[node] = run.state(tensor, str(node.target))
    run.run([node for node in nodes if node not in run.env])
    results = [run.importer.output(node.name, run.env[node]) for node in outputs]
    return run.importer.finish([node.name for node in inputs], results)


def import_graph(
    script: torch.jit.ScriptModule | torch.jit.ScriptFunction[Any, Any],
    example_inputs: Sequence[torch.Tensor],
    *,
    name: str = "model",
    untyped: bool = False,
) -> Imported:
    """The module of a TorchScript module's `forward` or of a function. Raises ModelImportError.

    The examples give shapes and element types, and are never read. `untyped` as for programs.
    """
    return import_torchscript(script, example_inputs, name, untyped=untyped)


def known_ops() -> list[str]:
    """Ops of PyTorch with a handler, `aten::add` and the like; others may have a definition."""
    return sorted(f"aten::{name}" for name in HANDLERS)
