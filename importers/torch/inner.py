"""Import an op by its definition: every call of that carries the location of the one op."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch._ops import OpOverload
from torch.fx import Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from ranvier.importers.torch.call import Call, NotInNn, check_types
from ranvier.importers.torch.definition import Definition
from ranvier.importers.torch.schema import (
    bound,
    counterpart,
    leaves,
    matching,
    overload_name,
    schema_of,
    short_name,
    unused_results,
    writes,
)
from ranvier.importers.torch.types import Place
from ranvier.importers.torch.variable import NotFunctional, Variable, fakes

if TYPE_CHECKING:
    from ranvier.importers.torch.importer import OpImporter


class Inner:
    """Runs PyTorch's definition of an op: its calls carry the location of the one call."""

    def __init__(
        self, importer: OpImporter, definition: Definition, place: Place, call: Call
    ) -> None:
        self.importer = importer
        self.definition = definition
        self.place = place
        self.call = call
        self.outside: set[int] = set()

    def run(self, values: Sequence[Variable]) -> list[Any]:
        """The results of the definition, on operands in the order of its inputs."""
        self.outside = {value.storage() for value in values}
        env: dict[Node, Any] = dict(zip(self.definition.inputs, values, strict=True))
        for node in self.definition.calls:
            args = map_arg(node.args, env.__getitem__)
            kwargs = map_arg(node.kwargs, env.__getitem__)
            env[node] = self.step(node, args, kwargs)
        return [env.get(node) if node is not None else None for node in self.definition.outputs]

    def step(self, node: Node, args: Any, kwargs: Any) -> Any:
        if node.op == "get_attr":
            return self.importer.new_state(self.definition.constant(node), str(node.target))
        if not isinstance(node.target, OpOverload):
            function: Any = node.target  # getitem
            return function(*args, **kwargs)
        op, given = node.target, bound(node.target, args, kwargs)
        if not any(writes(arg) for arg in schema_of(op).arguments):
            return self.perform(op, given, unused_results(node))
        target = given[schema_of(op).arguments[0].name]
        outer = isinstance(target, Variable) and target.storage() in self.outside
        if (pure := counterpart(op)) is None or not isinstance(target, Variable) or outer:
            raise NotInNn(f"its definition has {op}")
        (result,) = leaves(self.perform(pure, matching(pure, op, given), frozenset()))
        try:
            return self.importer.assign(target, result, op, self.place)
        except NotFunctional as error:
            raise NotInNn(str(error)) from error

    def perform(self, op: OpOverload, given: Mapping[str, Any], unused: frozenset[int]) -> Any:
        """The results of a call that has a handler, or none but fixed operands."""
        own = [leaf for leaf in leaves(given) if isinstance(leaf, Variable)]
        if not own and (known := self.importer.evaluated(op, given, [], self.place)) is not None:
            return known
        result = self.importer.run_fake(op, given)
        tensors = [leaf for leaf in leaves(result) if isinstance(leaf, torch.Tensor)]
        call = Call(
            short_name(op),
            overload_name(op),
            self.importer.read(given, self.place),
            fakes(given),
            result,
            self.importer.builder,
            self.call.location,
        )
        values = self.importer.handled(op, call, given, self.place)
        check_types(values, tensors, unused)
        flat, structure = pytree.tree_flatten(result)
        built = iter(values)
        wrapped = [self.importer.variable(next(built), leaf, own, self.place) for leaf in flat]
        return pytree.tree_unflatten(wrapped, structure)
