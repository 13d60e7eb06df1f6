"""A call of one op of PyTorch as its handler sees it, and the table of handlers.

A handler is a function of a `Call` that returns its results as SSA values, None for one that it
leaves out. `torch_op` enters it under names without overload; a family's `ROWS` enter ops that are
one `nn` op on the same operands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias, TypeVar

import numpy as np
import torch
from xdsl.dialects.builtin import LocationAttr
from xdsl.ir import Attribute, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    dtype_of,
    element_of,
    is_float,
    shape_of,
)
from ranvier.importers.builder import ModuleBuilder
from ranvier.importers.torch.types import element_of_dtype, tensor_type

Result: TypeAlias = "SSAValue | Sequence[SSAValue | None]"
Handler: TypeAlias = "Callable[[Call], Result]"

AnyHandler = TypeVar("AnyHandler", bound="Callable[[Call], Any]")

HANDLERS: dict[str, Handler] = {}


def torch_op(*names: str) -> Callable[[AnyHandler], AnyHandler]:
    """Enter a handler for ops of the namespace aten."""

    def enter(handler: AnyHandler) -> AnyHandler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return enter


class NotInNn(Exception):
    """`nn` lacks this form of the op; the text says what is lacking."""


class Call:
    """One call: arguments by the names of the schema, tensors among them as SSA values.

    `fakes` has the same arguments with PyTorch's fake tensors, `result` is what the op gives for
    those.
    """

    def __init__(
        self,
        op: str,
        overload: str,
        arguments: Mapping[str, Any],
        fakes: Mapping[str, Any],
        result: Any,
        builder: ModuleBuilder,
        location: LocationAttr,
    ) -> None:
        self.op = op
        self.overload = overload
        self.arguments = arguments
        self.fakes = fakes
        self.result = result
        self.builder = builder
        self.location = location

    # -- Arguments ----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        """An argument that is no tensor. Raises NotInNn if a tensor is given."""
        value = self.arguments[name]
        if isinstance(value, SSAValue):
            return self.number(value, name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or the default where the overload lacks it or has None."""
        value = self[name] if name in self.arguments else None
        return default if value is None else value

    def has(self, name: str) -> bool:
        """Whether the overload has an argument, which is not None."""
        return self.arguments.get(name) is not None

    def number(self, value: SSAValue, name: str) -> Any:
        array = self.builder.constant_of(value)
        if array is None or array.size != 1:
            self.refuse(f"argument '{name}' is a tensor that the model does not fix")
        return array.item()

    def tensor(self, name: str = "self") -> SSAValue:
        """A tensor argument. Raises NotInNn if it is None, or if the overload lacks it."""
        value = self.arguments.get(name)
        if not isinstance(value, SSAValue):
            self.refuse(f"argument '{name}' is not a tensor")
        return value

    def optional(self, name: str) -> SSAValue | None:
        value = self.arguments.get(name)
        return None if value is None else self.tensor(name)

    def tensors(self, name: str) -> list[SSAValue]:
        return list(self.arguments[name])

    def shape(self, name: str = "self") -> Shape:
        return shape_of(self.tensor(name))

    def rank(self, name: str = "self") -> int:
        return len(self.shape(name))

    # -- Results ------------------------------------------------------------------------------

    def type(self, index: int = 0) -> Tensor:
        """The type of a result, as PyTorch infers it."""
        flat = [self.result] if isinstance(self.result, torch.Tensor) else list(self.result)
        type = tensor_type(flat[index])
        if type is None:
            self.refuse(f"no tensor of nn holds {flat[index].dtype}")
        return type

    @property
    def element(self) -> Attribute:
        return self.type().element_type

    @property
    def result_shape(self) -> Shape:
        return self.type().get_shape()

    def build(self, op: TensorOp) -> SSAValue:
        """Append an op of one result."""
        return self.builder.append(op, self.location)

    # -- Values -------------------------------------------------------------------------------

    def constant(self, array: Array) -> SSAValue:
        """A constant that the call itself stands for."""
        return self.builder.constant(array, self.op, self.location)

    def scalar(self, number: float | bool, element: Attribute | None = None) -> SSAValue:
        """A number as a tensor of rank 0."""
        dtype = dtype_of(self.element if element is None else element)
        return self.constant(np.asarray(number).astype(dtype))

    def filled(self, number: float | bool, type: Tensor | None = None) -> SSAValue:
        """A tensor of one number, as a broadcast: its bytes are never made."""
        type = self.type() if type is None else type
        return self.broadcast(self.scalar(number, type.element_type), type.get_shape())

    def cast(self, value: SSAValue, element: Attribute | None = None) -> SSAValue:
        element = self.element if element is None else element
        return value if element_of(value) == element else self.build(nn.CastOp(value, element))

    def reshape(self, value: SSAValue, shape: Sequence[int]) -> SSAValue:
        same = shape_of(value) == tuple(shape)
        return value if same else self.build(nn.ReshapeOp(value, shape=shape))

    def transpose(self, value: SSAValue, permutation: Sequence[int]) -> SSAValue:
        if list(permutation) == list(range(len(permutation))):
            return value
        return self.build(nn.TransposeOp(value, permutation=permutation))

    def broadcast(self, value: SSAValue, shape: Sequence[int]) -> SSAValue:
        same = shape_of(value) == tuple(shape)
        return value if same else self.build(nn.BroadcastOp(value, shape=shape))

    def operand(self, name: str, element: Attribute | None = None) -> SSAValue:
        """A tensor or a number in an element type, that of the result unless stated."""
        value = self.arguments[name]
        if isinstance(value, SSAValue):
            return self.cast(value, element)
        if not isinstance(value, (bool, int, float)):
            self.refuse(f"argument '{name}' is neither a tensor nor a number")
        return self.scalar(value, element)

    def promoted(self, *names: str) -> list[SSAValue]:
        """Operands in the element type that PyTorch computes with."""
        first, second = (self.fakes[name] for name in names)
        element = element_of_dtype(torch.result_type(first, second))
        if element is None:
            self.refuse("the operands have no common element type in nn")
        return [self.operand(name, element) for name in names]

    def is_float(self, name: str = "self") -> bool:
        return is_float(element_of(self.tensor(name)))

    def refuse(self, reason: str) -> NoReturn:
        raise NotInNn(reason)


def check_types(
    values: Sequence[SSAValue | None], tensors: Sequence[torch.Tensor], unused: frozenset[int]
) -> None:
    """Raises NotInNn unless what is used has the types that PyTorch infers."""
    if len(values) != len(tensors):
        raise NotInNn(f"{len(values)} results, PyTorch has {len(tensors)}")
    for index, (value, fake) in enumerate(zip(values, tensors, strict=True)):
        if value is None and index not in unused:
            raise NotInNn(f"result {index} is used")
        if value is not None and value.type != (type := tensor_type(fake)):
            raise NotInNn(f"{shape_of(value)} of {element_of(value)}, but PyTorch infers {type}")
