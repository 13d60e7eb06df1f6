"""Ops of PyTorch by their schemas: names, arguments, which of them are written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import getitem
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

WITHOUT_EFFECT = {
    "aten::_assert_tensor_metadata",
    "aten::_assert_async.msg",
    "aten::_assert_scalar",
    "aten::sym_constrain_range",
    "aten::sym_constrain_range_for_size",
}


def bound(op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the schema, defaults filled in."""
    arguments = op._schema.arguments
    given: dict[str, Any] = {arg.name: arg.default_value for arg in arguments}
    given |= zip((arg.name for arg in arguments), args, strict=False)
    return given | dict(kwargs)


def apply(op: OpOverload, given: Mapping[str, Any]) -> Any:
    """Run an op on arguments by name."""
    arguments = op._schema.arguments
    args = [given[arg.name] for arg in arguments if not arg.kwarg_only]
    return op(*args, **{arg.name: given[arg.name] for arg in arguments if arg.kwarg_only})


def leaves(tree: Any) -> list[Any]:
    return pytree.tree_leaves(tree)


def writes(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def base_name(op: OpOverload) -> str:
    """`aten::add`"""
    return op._schema.name


def short_name(op: OpOverload) -> str:
    """`add`; with its namespace where that is not aten."""
    return op._schema.name.removeprefix("aten::")


def counterpart(op: OpOverload) -> OpOverload | None:
    """The op of the same overload that writes nothing: `add.Tensor` for `add_.Tensor`."""
    name = op._schema.name.rpartition("::")[2]
    packet = getattr(getattr(torch.ops, op.namespace), name.removesuffix("_"), None)
    if not name.endswith("_") or packet is None:
        return None
    return getattr(packet, op._overloadname or "default", None)


def matching(op: OpOverload, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of one op as far as another has them."""
    return {arg.name: given.get(arg.name, arg.default_value) for arg in op._schema.arguments}


def unused_results(node: torch.fx.Node) -> frozenset[int]:
    """Positions of the results of an fx node that nothing reads."""
    if node.op != "call_function" or not isinstance(node.target, OpOverload):
        return frozenset()
    read = {user.args[1] for user in node.users if user.users and user.target is getitem}
    if any(user.target is not getitem for user in node.users):
        return frozenset()
    return frozenset(range(len(node.target._schema.returns))) - read
