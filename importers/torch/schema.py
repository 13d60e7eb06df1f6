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


def schema_of(op: Any) -> Any:
    """What PyTorch declares of an op: its name, its arguments and results."""
    return op._schema


def overload_name(op: Any) -> str:
    return op._overloadname


def operator_set() -> int:
    """The version of the ops that TorchScript files state."""
    native: Any = vars(torch)["_C"]
    return native._get_max_operator_version()


def bound(op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the schema, defaults filled in."""
    arguments = schema_of(op).arguments
    given: dict[str, Any] = {arg.name: arg.default_value for arg in arguments}
    given |= zip((arg.name for arg in arguments), args, strict=False)
    return given | dict(kwargs)


def apply(op: OpOverload, given: Mapping[str, Any]) -> Any:
    """Run an op on arguments by name."""
    arguments = schema_of(op).arguments
    args = [given[arg.name] for arg in arguments if not arg.kwarg_only]
    return op(*args, **{arg.name: given[arg.name] for arg in arguments if arg.kwarg_only})


def leaves(tree: Any) -> list[Any]:
    return pytree.tree_leaves(tree)


def writes(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


DISPLAYED = {
    "aten::_native_batch_norm_legit_no_training": "aten::batch_norm",
    "aten::_to_copy": "aten::to",
    "aten::sym_size": "aten::size",
}
"""Names of ops that export has changed, as users know them."""


def base_name(op: OpOverload) -> str:
    """`aten::add`"""
    name: str = schema_of(op).name
    return DISPLAYED.get(name, name)


def short_name(op: Any) -> str:
    """`add`; with its namespace where that is not aten."""
    return schema_of(op).name.removeprefix("aten::")


def counterpart(op: OpOverload) -> OpOverload | None:
    """The op of the same overload that writes nothing: `add.Tensor` for `add_.Tensor`."""
    name = schema_of(op).name.rpartition("::")[2]
    packet = getattr(getattr(torch.ops, op.namespace), name.removesuffix("_"), None)
    if not name.endswith("_") or packet is None:
        return None
    return getattr(packet, overload_name(op) or "default", None)


def matching(pure: OpOverload, op: OpOverload, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `op` as those of its counterpart, whose operand may have another name."""
    first, pure_first = schema_of(op).arguments[0].name, schema_of(pure).arguments[0].name
    arguments = schema_of(pure).arguments
    if all(arg.name != first for arg in arguments):
        given = {pure_first if name == first else name: value for name, value in given.items()}
    return {arg.name: given.get(arg.name, arg.default_value) for arg in arguments}


def unused_results(node: torch.fx.Node) -> frozenset[int]:
    """Positions of the results of an fx node that nothing reads."""
    if node.op != "call_function" or not isinstance(node.target, OpOverload):
        return frozenset()
    read = {int(str(user.args[1])) for user in node.users if user.users and user.target is getitem}
    if any(user.target is not getitem for user in node.users):
        return frozenset()
    return frozenset(range(len(schema_of(node.target).returns))) - read
