"""What PyTorch itself says an op stands for: its kernels of composite ops, and its decompositions.

An op that has no handler and that PyTorch defines by others is imported by its definition; all of
that carries the location of the one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch._decomp import core_aten_decompositions
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from ranvier.importers.torch.call import HANDLERS


@dataclass(frozen=True)
class Definition:
    """A graph of calls that an op stands for, with the op's tensors as inputs, in order."""

    module: GraphModule
    inputs: Sequence[Node]
    calls: Sequence[Node]
    outputs: Sequence[Node | None]

    def constant(self, node: Node) -> torch.Tensor:
        """The tensor of a `get_attr` node."""
        return getattr(self.module, str(node.target))


@cache
def decompositions() -> dict[Any, Any]:
    """PyTorch's decompositions of ops that have no handler."""
    return {
        op: definition
        for op, definition in core_aten_decompositions().items()
        if op._schema.name.removeprefix("aten::") not in HANDLERS
    }


def definition_of(
    op: OpOverload, arguments: Mapping[str, Any], mode: FakeTensorMode
) -> Definition | None:
    """The definition of an op for fake arguments; None if it is defined by itself."""
    flat, structure = pytree.tree_flatten(dict(arguments))
    places = [i for i, leaf in enumerate(flat) if isinstance(leaf, torch.Tensor)]

    def run(*tensors: torch.Tensor) -> list[Any]:
        filled = list(flat)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        given: dict[str, Any] = pytree.tree_unflatten(filled, structure)
        args = [given.pop(arg.name) for arg in op._schema.arguments if not arg.kwarg_only]
        return pytree.tree_leaves(op(*args, **given))

    try:
        with mode, torch.no_grad():
            traced = make_fx(run, decomposition_table=decompositions())(
                *(flat[place] for place in places)
            )
    except Exception:  # whatever a decomposition raises on fake tensors
        return None
    nodes = list(traced.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    calls = [node for node in nodes if node.op in ("call_function", "get_attr")]
    if any(node.target is op for node in calls):
        return None
    (outputs,) = nodes[-1].args
    return Definition(traced, inputs, calls, [o if isinstance(o, Node) else None for o in outputs])
