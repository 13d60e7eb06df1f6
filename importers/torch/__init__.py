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

from ranvier.importers.torch.model import Imported


def import_program(exported: ExportedProgram, *, name: str = "model") -> Imported:
    """The module of an exported program. Raises ModelImportError.

    In-place ops of the program are undone, buffers and inputs that it changes are results of the
    module (`Imported.mutations`). Dynamic dimensions are refused.
    """
    raise NotImplementedError


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
    raise NotImplementedError


def import_graph(
    script: torch.jit.ScriptModule | torch.jit.ScriptFunction[Any, Any],
    example_inputs: Sequence[torch.Tensor],
    *,
    name: str = "model",
) -> Imported:
    """The module of a TorchScript module's `forward` or of a function. Raises ModelImportError.

    The examples give shapes and element types, and are never read.
    """
    raise NotImplementedError
