"""`torch.compile(model, backend="ranvier")`.

A graph of Dynamo has parameters and buffers among its inputs. They are constants of a program, so a
graph is compiled when it is first called, and again for other shapes and when one of them changed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from ranvier.torch.capturing import Call
from ranvier.torch.tracing import Settings, build

STATIC = "_dynamo_static_input_type"
"""What Dynamo notes on the inputs that are parameters and buffers."""


class Bound(nn.Module):
    """A graph with some of its arguments fixed; the others are tensors."""

    def __init__(self, graph: GraphModule, arguments: Sequence[Any], free: Sequence[int]) -> None:
        super().__init__()
        self.graph = graph
        self.free = list(free)
        self.fixed: list[Any] = [None if i in free else a for i, a in enumerate(arguments)]
        for index, value in enumerate(self.fixed):
            if isinstance(value, Tensor):
                self.register_buffer(f"fixed_{index}", value.detach())
                self.fixed[index] = None

    def forward(self, *tensors: Tensor) -> Any:
        arguments = list(self.fixed)
        for name, buffer in self.named_buffers(recurse=False):
            arguments[int(name.removeprefix("fixed_"))] = buffer
        for index, tensor in zip(self.free, tensors, strict=True):
            arguments[index] = tensor
        return self.graph(*arguments)


def backend(
    graph: GraphModule,
    example_inputs: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """The backend of `torch.compile`; `options` are keywords of `trace`.

    Results have no gradients. Ops that the machine lacks run as ops of PyTorch.
    """
    keywords: dict[str, Any] = {"check_trace": False, "allow_no_ops_on_neuron": True}
    settings = Settings(**(keywords | dict(options or {})))
    placeholders = list(graph.graph.find_nodes(op="placeholder"))
    static = [STATIC in (node.meta.get("tensor_dict") or {}) for node in placeholders]
    compiled: dict[Hashable, Callable[..., Any]] = {}
    constants: list[Hashable] = []

    def run(*arguments: Any) -> Any:
        free = [i for i, a in enumerate(arguments) if isinstance(a, Tensor) and not static[i]]
        key = tuple(map(identity, arguments, static))
        fixed = [k for k, is_static in zip(key, static, strict=True) if is_static]
        if not free:
            return graph(*arguments)
        tensors = [arguments[index] for index in free]
        if key not in compiled:
            call = Call(tuple(tensors))
            bound = Bound(graph, arguments, free).eval()
            if constants != fixed:  # programs of other weights are of no use any more
                compiled.clear()
                constants[:] = fixed
            compiled[key] = build(bound, call, call, [], settings).module
        with torch.no_grad():
            return compiled[key](*tensors)

    return run


def identity(argument: Any, static: bool) -> Hashable:
    """What a program is compiled for: the type of an input, the value of anything else."""
    if not isinstance(argument, Tensor):
        return argument
    if static:
        return id(argument), argument.data_ptr(), argument._version
    return argument.dtype, tuple(argument.shape)
