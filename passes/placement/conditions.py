"""What a rule may ask of an op, or of a node of a framework: names, types, size and attributes."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, cast

from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    DictionaryAttr,
    FloatAttr,
    IntegerAttr,
    StringAttr,
    SymbolRefAttr,
    UnitAttr,
)
from xdsl.ir import Attribute, Operation, SSAValue

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import as_python
from ranvier.passes.analysis.dataflow import extents_of, value_bytes
from ranvier.passes.analysis.locations import (
    framework_name,
    framework_ops,
    framework_position,
    framework_type,
    op_name,
    unspelled,
)
from ranvier.passes.errors import PassError


class AnySize:
    """What `?` in a shape equals; the text "?" is another thing."""

    def __repr__(self) -> str:
        return "?"


ANY = AnySize()
"""A dimension of any size."""

Value = Any
"""A string, a number, a truth value, None, or a tuple of them."""

TENSOR_FIELDS = ("dtype", "rank", "shape", "size", "bytes")
OP_FIELDS = ("name", "framework_op", "position", "op")
AXES = ("axis", "axes")
"""Attributes that count from the end if they are negative."""


@dataclass(frozen=True)
class Place:
    """Where in the rules something stands."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Field:
    """`axis`, `settings.mode`, `shape`, `operand[1].dtype`."""

    path: str
    place: Place
    side: str = ""
    index: int = 0

    @property
    def is_attribute(self) -> bool:
        return not self.side and self.path not in (*OP_FIELDS, *TENSOR_FIELDS)

    @property
    def attribute(self) -> str:
        """The attribute that the path begins with; `attr.` reaches one with a field's name."""
        return self.path.removeprefix("attr.").split(".")[0]

    def __str__(self) -> str:
        return f"{self.side}[{self.index}].{self.path}" if self.side else self.path


def spellings(name: str) -> tuple[str, ...]:
    """A name as locations have it, and as the framework does."""
    return tuple(dict.fromkeys((unspelled(name), name)))


class Subject(ABC):
    """What conditions look at."""

    op_name: str | None
    """The name in the IR; None if there is no op yet."""
    names: tuple[str, ...]
    """The framework's names of it."""

    @abstractmethod
    def values(self, field: Field) -> Sequence[Value] | None:
        """What a field is: one value, several for the names of a fused op, none if it is absent.

        None if that is not known.
        """

    def axis(self, value: Value) -> Value:
        """Axes counted from the front."""
        return value


class NodeSubject(Subject):
    """A node of a framework, before it becomes ops: its name and type are all that is known."""

    def __init__(self, name: str, framework_op: str) -> None:
        self.op_name = None
        self.names = spellings(name)
        self._known = {"name": self.names, "framework_op": (framework_op,)}

    def values(self, field: Field) -> Sequence[Value] | None:
        return None if field.side else self._known.get(field.path)


class OpSubject(Subject):
    """An op; without a name of a framework it has that of its first result in the IR."""

    def __init__(self, op: Operation) -> None:
        self.op = op
        self.op_name = op_name(op)
        named = tuple(n for part in framework_ops(op) for n in spellings(framework_name(part)))
        hint = op.results[0].name_hint if op.results else None
        self.names = named or ((hint,) if hint else ())

    def values(self, field: Field) -> Sequence[Value]:
        if field.side or field.path in TENSOR_FIELDS:
            return self._tensor(field)
        match field.path:
            case "name":
                return self.names
            case "framework_op":
                return tuple(framework_type(part) for part in framework_ops(self.op))
            case "position":
                positions = map(framework_position, framework_ops(self.op))
                return tuple(position for position in positions if position is not None)
            case "op":
                return (self.op_name,)
            case _:
                return self._attribute(field.path.removeprefix("attr."))

    def _tensor(self, field: Field) -> Sequence[Value]:
        values: Sequence[SSAValue] = (
            self.op.operands if field.side == "operand" else self.op.results
        )
        if field.index >= len(values):
            return ()
        value = values[field.index]
        extents = extents_of(value.type)
        if extents is None:
            return ()
        shape, element = extents
        match field.path:
            case "dtype":
                return (str(element),)
            case "rank":
                return (len(shape),)
            case "shape":
                return (shape,)
            case "size":
                return (prod(shape),)
            case _:
                return (value_bytes(value.type),)

    def _attribute(self, path: str) -> Sequence[Value]:
        first, *rest = path.split(".")
        attribute = self.op.properties.get(first, self.op.attributes.get(first))
        for key in rest:
            data = attribute.data if isinstance(attribute, DictionaryAttr) else {}
            attribute = data.get(key)
        return () if attribute is None else (python_value(attribute),)

    @cached_property
    def rank(self) -> int | None:
        """The rank that axes count in."""
        for value in (*self.op.operands, *self.op.results):
            if (extents := extents_of(value.type)) is not None:
                return len(extents[0])
        return None

    def axis(self, value: Value) -> Value:
        if isinstance(value, tuple):
            return tuple(self.axis(item) for item in cast("tuple[Value, ...]", value))
        return value + self.rank if isinstance(value, int) and value < 0 and self.rank else value


def python_value(attribute: Attribute) -> Value:
    """The value of an attribute as rules compare it; one of an unknown kind as its text."""
    match attribute:
        case StringAttr() | IntegerAttr() | FloatAttr():
            return as_python(attribute)
        case DenseArrayBase():
            array: Any = attribute
            return tuple(array.iter_values())
        case ArrayAttr():
            return tuple(python_value(item) for item in attribute)
        case SymbolRefAttr():
            return attribute.root_reference.data
        case UnitAttr():
            return True
        case _:
            return str(attribute)


class Condition(ABC):
    """Something that holds of an op or does not."""

    @abstractmethod
    def holds(self, subject: Subject) -> bool | None:
        """None if it depends on what is not known."""

    @abstractmethod
    def fields(self) -> Sequence[Field]:
        """The fields that it looks at, for errors about unknown ones."""

    @abstractmethod
    def text(self) -> str:
        """The condition as rules write it."""


@dataclass(frozen=True)
class Not(Condition):
    inner: Condition

    def holds(self, subject: Subject) -> bool | None:
        held = self.inner.holds(subject)
        return None if held is None else not held

    def fields(self) -> Sequence[Field]:
        return self.inner.fields()

    def text(self) -> str:
        return f"not ({self.inner.text()})"


@dataclass(frozen=True)
class Several(Condition):
    """All of some conditions, or any of them."""

    word: str
    inner: tuple[Condition, ...]

    def holds(self, subject: Subject) -> bool | None:
        decisive = self.word == "or"
        unknown = False
        for condition in self.inner:
            held = condition.holds(subject)
            if held is decisive:
                return decisive
            unknown |= held is None
        return None if unknown else not decisive

    def fields(self) -> Sequence[Field]:
        return [field for condition in self.inner for field in condition.fields()]

    def text(self) -> str:
        return "(" + f" {self.word} ".join(condition.text() for condition in self.inner) + ")"


NEGATIONS = {"!=": "==", "!~": "~"}


@dataclass(frozen=True)
class Comparison(Condition):
    """`field operator value`; false where the op lacks the field, unless it asks for `none`."""

    field: Field
    operator: str
    value: Value

    def holds(self, subject: Subject) -> bool | None:
        values = subject.values(self.field)
        if values is None:
            return None
        if self.value is None:
            return (not values) == (self.operator == "==")
        if not values:
            return False
        expected = self.value
        if self.field.path in AXES:
            values, expected = [subject.axis(value) for value in values], subject.axis(expected)
        positive = NEGATIONS.get(self.operator, self.operator)
        found = any(self._compare(positive, value, expected) for value in values)
        return found if positive == self.operator else not found

    def _compare(self, operator: str, value: Value, expected: Value) -> bool:
        match operator:
            case "==":
                return equal(value, expected)
            case "in":
                return any(equal(value, item) for item in expected)
            case "~":
                return re.fullmatch(expected, str(value)) is not None
            case _:
                return self._ordered(operator, value, expected)

    def _ordered(self, operator: str, value: Value, expected: Value) -> bool:
        if not isinstance(value, int | float):
            raise PassError(
                Code.RULE_INVALID,
                f"{self.field.place}: {self.field} is {written(value)}, which has no order; "
                f"compare it with == or !=, or use ~",
            )
        return {
            "<": value < expected,
            "<=": value <= expected,
            ">": value > expected,
            ">=": value >= expected,
        }[operator]

    def fields(self) -> Sequence[Field]:
        return [self.field]

    def text(self) -> str:
        return f"{self.field} {self.operator} {written(self.value)}"


def equal(value: Value, expected: Value) -> bool:
    """Whether two values are the same; `?` in a shape is any dimension; 1 is not true."""
    if isinstance(value, tuple) and isinstance(expected, tuple):
        pairs = cast("tuple[Value, ...]", value), cast("tuple[Value, ...]", expected)
        return len(pairs[0]) == len(pairs[1]) and all(map(equal, *pairs))
    if isinstance(value, bool) != isinstance(expected, bool):
        return expected is ANY
    return value == expected or expected is ANY


def written(value: Value) -> str:
    """A value as rules write it."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{', '.join(map(written, cast('tuple[Value, ...]', value)))}]"
        case str():
            return quoted(value)
        case _:
            return repr(value)


ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})
"""What a literal spells in two characters: a carriage return would be read as the end of a line."""


def quoted(text: str) -> str:
    """A string literal of the rules."""
    return f'"{text.translate(ESCAPED)}"'
