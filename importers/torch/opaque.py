"""Calls that `nn` has no op for: they stay PyTorch's, as `nn.opaque`, and how those run.

The op's type is its name with overload, `aten::sort.stable`, its version that of PyTorch's operator
set. The settings are the arguments, by name: a tensor as the number of the operand, `[n]`, and the
others in JSON, where a type, a device or the like is an object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils import _pytree as pytree
from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Attribute, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.importers.torch.call import Call, NotInNn
from ranvier.importers.torch.schema import operator_set, schema_of
from ranvier.importers.torch.types import array_of, tensor_of, tensor_type

FRAMEWORK = "PYTORCH"
SYMBOLS = {
    f"torch.{name}": getattr(torch, name)
    for name in dir(torch)
    if isinstance(getattr(torch, name), (torch.dtype, torch.layout, torch.memory_format))
}


def import_opaque(
    op: OpOverload, call: Call, tensors: Sequence[torch.Tensor]
) -> Sequence[SSAValue]:
    """The call as `nn.opaque`; its results have the types that PyTorch infers."""
    operands: list[SSAValue] = []

    def encoded(value: Any) -> Any:
        match value:
            case SSAValue():
                operands.append(value)
                return {"operand": len(operands) - 1}
            case list() | tuple():
                items: Sequence[Any] = value
                return [encoded(item) for item in items]
            case torch.device():
                return {"device": str(value)}
            case torch.dtype() | torch.layout() | torch.memory_format():
                return {"symbol": str(value)}
            case float() if value != value or value in (float("inf"), float("-inf")):
                return {"float": str(value)}
            case None | bool() | int() | float() | str():
                return value
            case _:
                raise NotInNn(f"an argument is a {type(value).__name__}")

    settings: dict[str, Attribute] = {
        name: StringAttr(json.dumps(encoded(value))) for name, value in call.arguments.items()
    }
    types = [kind for tensor in tensors if (kind := tensor_type(tensor)) is not None]
    built = nn.OpaqueOp(FRAMEWORK, op.name(), operator_set(), settings, operands, types)
    call.builder.append(built, call.location)
    return built.results


def run_opaque(
    op: str, version: int, attributes: Mapping[str, Attribute], arrays: Sequence[Array]
) -> list[Array]:
    """The results of one op: the provider of PYTORCH in the entry point group `ranvier.opaque`.

    Raises CallerError for an op that this PyTorch does not have, or of a newer operator set.
    """
    if version > operator_set():
        raise CallerError(
            Code.PROVIDER_MISSING, f"{op} is of operator set {version}, newer than this PyTorch's"
        )
    overload = overload_of(op)

    def decoded(value: Any) -> Any:
        match value:
            case {"operand": int(number)}:
                return tensor_of(arrays[number])
            case {"device": str(name)}:
                return torch.device(name)
            case {"symbol": str(name)}:
                return SYMBOLS[name]
            case {"float": str(text)}:
                return float(text)
            case list():
                items: Sequence[Any] = value
                return [decoded(item) for item in items]
            case _:
                return value

    given = {
        name: decoded(json.loads(value.data))
        for name, value in attributes.items()
        if isinstance(value, StringAttr)
    }
    args = [given.pop(arg.name) for arg in schema_of(overload).arguments if not arg.kwarg_only]
    with torch.no_grad():
        results = overload(*args, **given)
    return [
        array_of(leaf) for leaf in pytree.tree_leaves(results) if isinstance(leaf, torch.Tensor)
    ]


def overload_of(op: str) -> OpOverload:
    """The op of a name `aten::sort.stable`. Raises CallerError if there is none."""
    namespace, _, rest = op.partition("::")
    name, _, overload = rest.partition(".")
    found = getattr(getattr(getattr(torch.ops, namespace), name, None), overload or "default", None)
    if not isinstance(found, OpOverload):
        raise CallerError(Code.PROVIDER_MISSING, f"this PyTorch has no op '{op}'")
    return found
