"""A node of a TensorFlow graph as its handler sees it, and the table of handlers.

A handler is a function of a `Node` that returns its results. `tf_op` enters it for op types; a
family's `ROWS` enter ops that are one `nn` op on the same operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np
from xdsl.dialects.builtin import LocationAttr
from xdsl.ir import Attribute, SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp, element_of, shape_of
from ranvier.importers.builder import ModuleBuilder, named
from ranvier.importers.errors import ModelImportError
from ranvier.importers.tensorflow.graph import attribute
from ranvier.importers.tensorflow.protos import Message
from ranvier.importers.tensorflow.tensors import attribute_value, element_of_code
from ranvier.importers.tensorflow.values import TensorList, Value

Handler: TypeAlias = "Callable[[Node], Value | Sequence[Value]]"

HANDLERS: dict[str, Handler] = {}


def tf_op(*op_types: str) -> Callable[[Handler], Handler]:
    """Enter a handler for op types."""

    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(op_types, handler))
        return handler

    return enter


def enter_rows(rows: dict[str, type[TensorOp]]) -> None:
    """Enter ops that are one `nn` op on the same operands."""
    for op_type, op in rows.items():
        HANDLERS[op_type] = row(op)


def row(op: type[TensorOp]) -> Handler:
    return lambda node: node.build(op(*node.operands()))


class NotInNn(Exception):
    """`nn` lacks this form of the op."""


class Node:
    """One node, its operands resolved, with the module under construction."""

    def __init__(
        self,
        proto: Message,
        inputs: Sequence[Value],
        builder: ModuleBuilder,
        place: str,
        location: LocationAttr | None = None,
    ) -> None:
        self.proto = proto
        self.inputs = inputs
        self.builder = builder
        self.place = place
        self.name = str(proto.name)
        self.op_type = str(proto.op)
        self.location = location_of(proto) if location is None else location

    # -- Operands -----------------------------------------------------------------------------

    def operands(self) -> list[SSAValue]:
        return [self.operand(position) for position in range(len(self.inputs))]

    def operand(self, position: int) -> SSAValue:
        value = self._input(position)
        if not isinstance(value, SSAValue):
            raise VerifyException(f"operand {position} is a list of tensors, not a tensor")
        return value

    def list_operand(self, position: int) -> TensorList:
        value = self._input(position)
        if not isinstance(value, TensorList):
            raise VerifyException(f"operand {position} is no list of tensors")
        return value

    def _input(self, position: int) -> Value:
        if position >= len(self.inputs):
            raise VerifyException(f"operand {position} is missing")
        return self.inputs[position]

    def shape(self, position: int = 0) -> Shape:
        return shape_of(self.operand(position))

    def rank(self) -> int:
        return len(self.shape())

    def element(self, position: int = 0) -> Attribute:
        return element_of(self.operand(position))

    def constant(self, position: int) -> Array:
        """The value of an operand that the model must fix."""
        if (array := self.builder.constant_of(self.operand(position))) is None:
            self.fail(
                Code.NODE_NOT_STATIC,
                f"operand {position} '{self.proto.input[position]}' is not a constant of the model",
            )
        return array

    def constant_ints(self, position: int) -> tuple[int, ...]:
        return tuple(map(int, self.constant(position).reshape(-1)))

    def scalar(self, position: int) -> Any:
        """The one number of a constant operand."""
        array = self.constant(position)
        if array.size != 1:
            raise VerifyException(f"operand {position} is one number, got {array.size}")
        return array.item()

    # -- Attributes ---------------------------------------------------------------------------

    def attribute(self, name: str, default: Any = None) -> Any:
        """A Python value; strings are decoded. The default where it is absent or empty."""
        value = attribute_value(attribute(self.proto, name))
        if isinstance(value, bytes):
            value = value.decode("utf-8", "surrogateescape")
        return default if value is None else value

    def ints(self, name: str) -> tuple[int, ...]:
        return tuple(self.attribute(name, ()))

    def element_attribute(self, name: str, default: int = 0) -> Attribute:
        """An attribute that is an element type. Raises VerifyException if `nn` has none."""
        return element_of_code(self.attribute(name, default))

    # -- Results ------------------------------------------------------------------------------

    def build(self, op: TensorOp) -> SSAValue:
        """Append an op of one result."""
        return self.builder.append(op, self.location)

    def build_constant(self, array: Array | np.generic) -> SSAValue:
        """A constant that the node itself stands for."""
        return self.builder.constant(np.asarray(array), self.name, self.location)

    # -- Errors -------------------------------------------------------------------------------

    def error(self, code: Code, text: str) -> ModelImportError:
        return ModelImportError(code, f"{self.place}: {described(self.proto)}: {text}")

    def reason(self, error: ModelImportError) -> str:
        """The text of an error without what says where it is."""
        text = str(error).removeprefix(f"{self.place}: ")
        return text.removeprefix(f"{described(self.proto)}: ")

    def fail(self, code: Code, text: str) -> NoReturn:
        raise self.error(code, text)


def described(proto: Message) -> str:
    return f"node '{proto.name}' ({proto.op})"


def location_of(proto: Message) -> LocationAttr:
    """`loc("<name>"("<op type>"))`: operator counts read it."""
    return named(proto.name, named(proto.op))
