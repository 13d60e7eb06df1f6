"""A node of an MXNet symbol as its handler sees it, and the table of handlers.

A handler is a function of a `Node` that returns its results as SSA values. `mx_op` enters it under
all spellings of an op; a family's `ROWS` enter ops that are one `nn` op on the same operands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np
from xdsl.dialects.builtin import FileLineColLoc, IntAttr, LocationAttr, StringAttr
from xdsl.ir import Attribute, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of, shape_of
from ranvier.importers.builder import ModuleBuilder, named
from ranvier.importers.errors import ModelImportError, NoSuchForm
from ranvier.importers.mxnet.symbol import SymbolNode
from ranvier.importers.semantics import element_type, normal_axis

Handler: TypeAlias = "Callable[[Node], SSAValue | Sequence[SSAValue]]"

HANDLERS: dict[str, Handler] = {}

_NUMBER = re.compile(r"-?\d+|None")
_TRUE, _FALSE = frozenset({"True", "true", "1"}), frozenset({"False", "false", "0", "None", ""})
_REQUIRED = object()


def mx_op(*names: str) -> Callable[[Handler], Handler]:
    """Enter a handler under each of the names."""

    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return enter


def enter_rows(rows: Mapping[str, type[TensorOp]]) -> None:
    """Enter ops that are one `nn` op on the same operands."""
    for name, op in rows.items():
        HANDLERS[name] = row(op)


def row(op: type[TensorOp]) -> Handler:
    return lambda node: node.build(op(*node.operands))


class Attributes:
    """The attributes of a node, which are text."""

    def __init__(self, symbol: SymbolNode, where: str) -> None:
        self.symbol = symbol
        self.where = where

    def has(self, name: str) -> bool:
        return self.symbol.attrs.get(name, "None") != "None"

    def text(self, name: str, default: str | None = None) -> str:
        value = self.symbol.attrs.get(name, default)
        if value is None:
            self.fail(Code.NODE_INVALID, f"attribute '{name}' is missing")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.symbol.attrs.get(name)
        if value is None:
            return default
        if value not in _TRUE | _FALSE:
            self.fail(Code.NODE_INVALID, f"attribute '{name}' is True or False, got {value!r}")
        return value in _TRUE

    def number(self, name: str, default: Any = _REQUIRED) -> Any:
        """A float; the default where the attribute is absent or None."""
        return self._parsed(name, default, float)

    def integer(self, name: str, default: Any = _REQUIRED) -> Any:
        return self._parsed(name, default, int)

    def _parsed(self, name: str, default: Any, parse: Callable[[str], Any]) -> Any:
        if not self.has(name):
            if default is _REQUIRED:
                self.fail(Code.NODE_INVALID, f"attribute '{name}' is missing")
            return default
        value = self.symbol.attrs[name]
        try:
            return parse(value)
        except ValueError:
            self.fail(Code.NODE_INVALID, f"attribute '{name}' is no number: {value!r}")

    def entries(self, name: str) -> list[int | None] | None:
        """A tuple such as `(1, None)`, or one number; None where the attribute is absent."""
        if not self.has(name):
            return None
        value = self.symbol.attrs[name]
        if re.sub(r"[\s()\[\],L]|-?\d+|None", "", value):
            self.fail(Code.NODE_INVALID, f"attribute '{name}' is no tuple of integers: {value!r}")
        found: list[str] = _NUMBER.findall(value)
        return [None if entry == "None" else int(entry) for entry in found]

    def ints(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """A tuple of integers; the default where the attribute is absent or empty."""
        entries = self.entries(name)
        if not entries:
            if default is None:
                self.fail(Code.NODE_INVALID, f"attribute '{name}' is missing")
            return tuple(default)
        if None in entries:
            self.fail(Code.NODE_INVALID, f"attribute '{name}' has a None")
        return tuple(entry for entry in entries if entry is not None)

    def dtype(self, name: str = "dtype", default: str | None = None) -> Attribute:
        """An element type by NumPy's name. Raises VerifyException for one that `nn` lacks."""
        value = self.text(name, default)
        try:
            return element_type(np.dtype(value))
        except TypeError:
            self.fail(Code.NODE_INVALID, f"attribute '{name}' is no element type: {value!r}")

    # -- Errors -------------------------------------------------------------------------------

    def error(self, code: Code, text: str) -> ModelImportError:
        return ModelImportError(
            code, f"{self.where}: node '{self.symbol.name}' ({self.symbol.op}): {text}"
        )

    def fail(self, code: Code, text: str) -> NoReturn:
        raise self.error(code, text)

    def unsupported(self, text: str) -> NoReturn:
        """The node asks for what `nn` does not have."""
        raise NoSuchForm(text)


class Node(Attributes):
    """One operator, its operands resolved, with the module under construction."""

    def __init__(
        self,
        symbol: SymbolNode,
        index: int,
        operands: Sequence[SSAValue],
        builder: ModuleBuilder,
        where: str,
    ) -> None:
        super().__init__(symbol, where)
        self.index = index
        self.operands = operands
        self.builder = builder

    # -- Operands -----------------------------------------------------------------------------

    def operand(self, position: int) -> SSAValue:
        if position >= len(self.operands):
            self.fail(Code.NODE_INVALID, f"operand {position} is missing")
        return self.operands[position]

    def optional(self, position: int) -> SSAValue | None:
        return self.operands[position] if position < len(self.operands) else None

    def shape(self, position: int = 0) -> Shape:
        return shape_of(self.operand(position))

    def rank(self) -> int:
        return len(self.shape())

    def element(self, position: int = 0) -> Attribute:
        return element_of(self.operand(position))

    def axis(self, name: str = "axis", default: int | None = None) -> int:
        return normal_axis(
            self.integer(name, _REQUIRED if default is None else default), self.rank()
        )

    # -- Results ------------------------------------------------------------------------------

    @property
    def location(self) -> LocationAttr:
        """`loc("<name>"("<op>":0:<index>))`: operator counts read it."""
        place = FileLineColLoc(StringAttr(self.symbol.op), IntAttr(0), IntAttr(self.index))
        return named(self.symbol.name, place)

    def build(self, op: TensorOp) -> SSAValue:
        """Append an op of one result."""
        return self.builder.append(op, self.location)

    def constant(self, value: Array | float, like: Attribute | None = None) -> SSAValue:
        """A constant that the node stands for, in an element type."""
        array = np.asarray(value)
        if like is not None:
            array = array.astype(dtype_of(like))
        return self.builder.constant(array, self.symbol.name, self.location)

    def reshape(self, value: SSAValue, shape: Sequence[int]) -> SSAValue:
        if shape_of(value) == tuple(shape):
            return value
        return self.build(nn.ReshapeOp(value, shape=shape))

    def transpose(self, value: SSAValue, permutation: Sequence[int]) -> SSAValue:
        if list(permutation) == list(range(len(permutation))):
            return value
        return self.build(nn.TransposeOp(value, permutation=permutation))

    def broadcast(self, value: SSAValue, shape: Sequence[int]) -> SSAValue:
        if shape_of(value) == tuple(shape):
            return value
        return self.build(nn.BroadcastOp(value, shape=shape))

    def slice(self, value: SSAValue, axis: int, start: int, size: int) -> SSAValue:
        """`size` elements from `start` along one axis."""
        starts, sizes = [0] * len(shape_of(value)), list(shape_of(value))
        starts[axis], sizes[axis] = start, size
        steps = (1,) * len(sizes)
        return self.build(nn.SliceOp(value, starts=starts, sizes=sizes, steps=steps))

    def cast(self, value: SSAValue, element: Attribute) -> SSAValue:
        return value if element_of(value) == element else self.build(nn.CastOp(value, element))
