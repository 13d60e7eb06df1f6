"""Imports of PyTorch functions in tests: both ways in, and their results against eager torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from xdsl.dialects.builtin import ModuleOp

from ranvier.backend.reference import Executor
from ranvier.importers.torch import Imported, import_graph, import_program
from ranvier.importers.torch.types import array_of

Function = Callable[..., Any]


class Module(torch.nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def exported(function: Function, inputs: Sequence[Tensor]) -> Imported:
    return import_program(torch.export.export(Module(function), tuple(inputs), strict=False))


def traced(function: Function, inputs: Sequence[Tensor]) -> Imported:
    given = tuple(each.clone() for each in inputs)
    return import_graph(torch.jit.trace(function, given, check_trace=False, strict=False), inputs)


def scripted(function: Function, inputs: Sequence[Tensor]) -> Imported:
    return import_graph(torch.jit.script(function), inputs)


def run(imported: Imported, inputs: Sequence[Tensor]) -> list[Any]:
    """What the module returns, and after that what it changed."""
    imported.module.verify()
    feeds = {n: array_of(x) for n, x in zip(imported.inputs, inputs, strict=True) if n is not None}
    arrays = Executor(imported.module).run(feeds)
    leaves = [o.constant if o.name is None else arrays[o.name] for o in imported.outputs]
    return [*leaves, *(arrays[mutation.name] for mutation in imported.mutations)]


def check(imported: Imported, function: Function, inputs: Sequence[Tensor]) -> None:
    """Results are those of eager torch, in type too, and so is what becomes of the inputs."""
    given = [each.clone() for each in inputs]
    with torch.no_grad():
        expected = pytree.tree_leaves(function(*given))
    results = run(imported, inputs)
    for result, leaf in zip(results, expected, strict=False):
        if not isinstance(leaf, Tensor):
            assert result == leaf
            continue
        assert result.dtype == array_of(leaf).dtype
        # f32 sums in another order
        np.testing.assert_allclose(result, array_of(leaf), rtol=1e-5, atol=1e-6)
    changed = {m.target: value for m, value in zip(imported.mutations, results[len(expected) :])}
    for name, before, after in zip(imported.inputs, inputs, given, strict=True):
        np.testing.assert_array_equal(changed.pop(str(name), array_of(before)), array_of(after))
    assert not changed


def ops_of(module: ModuleOp) -> list[str]:
    return [op.name for op in module.walk() if op.name.startswith("nn.")]
