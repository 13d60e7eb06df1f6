"""Calls that stay with PyTorch: between programs of ours, or in a module that is placed only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree
from xdsl.dialects.builtin import LocationAttr
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import UNKNOWN, TensorOp
from ranvier.importers.torch.opaque import FRAMEWORK
from ranvier.importers.torch.schema import base_name, leaves, operator_set, schema_of, writes
from ranvier.importers.torch.state import ModelState
from ranvier.importers.torch.types import Place, tensor_type
from ranvier.importers.torch.variable import Foreign, NotFunctional, SharedMemory, Variable


class Leaving(ModelState):
    """Leaves calls to the framework."""

    def leave(
        self,
        op: OpOverload,
        given: Mapping[str, Any],
        place: Place,
        reason: Reason,
        result: Any = None,
    ) -> Any:
        """Leave a call to the framework: what it reads are results of the module."""
        written = [given[arg.name] for arg in schema_of(op).arguments if writes(arg)]
        if written and not (self.untyped and isinstance(written[0], Foreign)):
            raise self.error(
                Code.MODEL_UNSUPPORTED,
                f"'{place.name}' ({base_name(op)}) writes to a tensor and is not in nn: "
                f"{reason.text}",
            )
        if self.untyped:
            location = place.location(base_name(op))
            count = len(schema_of(op).returns)
            kept = self.keep(op.name(), given, location, place, reason, result, count=count)
            first = next(iter(leaves(kept)), None)
            for target in written[:1]:
                target.value = first.value if isinstance(first, Foreign) else None
            return kept
        self.foreign[place.node] = reason
        for leaf in leaves(given):
            if isinstance(leaf, Variable):
                self.also_result(leaf.read(self.appender(place)))
        if result is None:
            count = len(schema_of(op).returns)
            return (Foreign(place.node, None),) * count if count > 1 else Foreign(place.node, None)
        return pytree.tree_map(
            lambda leaf: Foreign(place.node, leaf) if isinstance(leaf, torch.Tensor) else leaf,
            result,
        )

    def keep(
        self,
        name: str,
        given: Any,
        location: LocationAttr,
        place: Place,
        reason: Reason,
        result: Any = None,
        *,
        count: int = 1,
    ) -> Any:
        """Leave a call to the framework, with a place in the module.

        Its results have the types of `result`, or those that the graph states; else none.
        """
        operands: list[SSAValue] = []
        for leaf in leaves(self.read({"": given}, place)):
            value = leaf.value if isinstance(leaf, Foreign) else leaf
            operands += [value] if isinstance(value, SSAValue) else []
        stated = place.stated if result is None else result
        stated = (None,) * count if stated is None and count > 1 else stated
        flat, structure = pytree.tree_flatten(stated, is_leaf=lambda leaf: leaf is None)
        results = [leaf for leaf in flat if leaf is None or isinstance(leaf, torch.Tensor)]
        types = [(None if leaf is None else tensor_type(leaf)) or UNKNOWN for leaf in results]
        op = nn.OpaqueOp(FRAMEWORK, name, operator_set(), {}, operands, types or [UNKNOWN])
        self.builder.keep(op, reason, f"'{place.name}' ({base_name_of(name)})", location)
        values = iter(op.results)

        def taken(leaf: Any) -> Any:
            if leaf is not None and not isinstance(leaf, torch.Tensor):
                return leaf
            value = next(values)
            if leaf is None or value.type == UNKNOWN:
                return Foreign(place.node, self.faked(leaf), value)
            return Variable(value, self.fake(leaf))

        return pytree.tree_unflatten([taken(leaf) for leaf in flat], structure)

    def faked(self, tensor: torch.Tensor | None) -> torch.Tensor | None:
        """A fake tensor of the importer's own, also of elements that `nn` lacks."""
        sizes = () if tensor is None else (*tensor.shape,)
        if tensor is None or tensor.layout is not torch.strided or {*map(type, sizes)} - {int}:
            return None
        with self.mode, torch.no_grad():
            return torch.empty(sizes, dtype=tensor.dtype)

    def taken_in(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Foreign values of a known type as arguments of `@main`."""

        def take(leaf: Any) -> Any:
            if not isinstance(leaf, Foreign) or leaf.fake is None or tensor_type(leaf.fake) is None:
                return leaf
            return self._arguments.get(leaf.name) or self.argument(leaf.name, self.fake(leaf.fake))

        return {name: pytree.tree_map(take, value) for name, value in given.items()}

    def read(self, given: Mapping[str, Any], place: Place) -> dict[str, Any]:
        """Arguments with SSA values in place of variables."""
        append = self.appender(place)
        try:
            return {
                name: pytree.tree_map(
                    lambda leaf: leaf.read(append) if isinstance(leaf, Variable) else leaf, value
                )
                for name, value in given.items()
            }
        except SharedMemory:
            raise NotFunctional(
                Code.MODEL_UNSUPPORTED,
                f"{self.model}: '{place.name}' reads a view of memory that was written to after "
                "the view was taken; copy the tensor before writing to it",
            ) from None

    def appender(self, place: Place) -> Callable[[TensorOp], SSAValue]:
        location = place.location("aten::copy_")
        return lambda op: self.builder.append(op, location)


def base_name_of(name: str) -> str:
    """`aten::sort` of `aten::sort.stable`."""
    return name.partition(".")[0]
