"""Nodes by name, and how graphs and function bodies refer to each other's results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, NoReturn

from ranvier.dialects.diagnostics import Code
from ranvier.importers.errors import ModelImportError
from ranvier.importers.tensorflow.outputs import position_of
from ranvier.importers.tensorflow.protos import AttrValue, Message

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
LOOPS = ("While", "StatelessWhile")
BRANCHES = ("If", "StatelessIf")
CASES = ("Case", "StatelessCase")


_ABSENT: Message = AttrValue()


def attribute(node: Message, name: str) -> Message:
    """An attribute, or an empty one: a plain look-up would add it to the node."""
    return node.attr[name] if name in node.attr else _ABSENT


class Tensor(NamedTuple):
    """A result of a node."""

    node: str
    position: int

    def __str__(self) -> str:
        return f"{self.node}:{self.position}"


def tensor_named(name: str) -> Tensor:
    """`node:1`; `node` is its first result."""
    node, separator, index = name.rpartition(":")
    if separator and index.isdecimal():
        return Tensor(node, int(index))
    return Tensor(name, 0)


def fail(place: str, code: Code, text: str) -> NoReturn:
    raise ModelImportError(code, f"{place}: {text}")


@dataclass
class Library:
    """The functions of a graph, and the name of the model for messages."""

    place: str
    functions: Mapping[str, Message] = field(default_factory=dict[str, Message])

    def function(self, node: Message, name: str) -> Message:
        if (found := self.functions.get(name)) is None:
            fail(
                self.place,
                Code.NODE_INVALID,
                f"node '{node.name}' ({node.op}) calls '{name}', which the model does not define",
            )
        return found

    def called(self, node: Message) -> Message | None:
        """The function that a node stands for alone, if it does."""
        if node.op in CALLS:
            return self.function(node, attribute(node, "f").func.name)
        return self.functions.get(node.op)


class Nodes:
    """The nodes of a graph or of a function's body, by name."""

    def __init__(self, place: str, nodes: Iterable[Message]) -> None:
        self.place = place
        self.by_name: dict[str, Message] = {}
        for node in nodes:
            if node.name in self.by_name:
                fail(place, Code.NODE_INVALID, f"two nodes are named '{node.name}'")
            self.by_name[node.name] = node

    def node(self, name: str, reader: str = "") -> Message:
        if (node := self.by_name.get(name)) is None:
            by = f"node '{reader}' reads" if reader else "there is no"
            fail(self.place, Code.NODE_INVALID, f"{by} node '{name}', which the graph lacks")
        return node

    def tensor(self, text: str) -> Tensor:
        """The result that an input of a node names."""
        return tensor_named(text)

    def data_inputs(self, node: Message) -> list[Tensor]:
        return [self.tensor(text) for text in node.input if not text.startswith("^")]

    def control_inputs(self, node: Message) -> list[str]:
        return [text[1:].partition(":")[0] for text in node.input if text.startswith("^")]


class Body(Nodes):
    """The nodes of a function. Its arguments have no node; they are read as `argument:0`."""

    def __init__(self, place: str, function: Message) -> None:
        super().__init__(f"{place}: function '{function.signature.name}'", function.node_def)
        self.function = function

    @cached_property
    def arguments(self) -> Sequence[str]:
        return [argument.name for argument in self.function.signature.input_arg]

    @cached_property
    def results(self) -> Sequence[Tensor]:
        names = [result.name for result in self.function.signature.output_arg]
        missing = [name for name in names if name not in self.function.ret]
        if missing:
            fail(self.place, Code.NODE_INVALID, f"result '{missing[0]}' is not defined")
        return [self.tensor(self.function.ret[name]) for name in names]

    def tensor(self, text: str) -> Tensor:
        """`argument`, or `node:name:index`, or `node:name` for index 0."""
        parts = text.split(":")
        if len(parts) == 1:
            return Tensor(text, 0)
        name, result = parts[0], parts[1]
        index = int(parts[2]) if len(parts) > 2 and parts[2].isdecimal() else 0
        return Tensor(name, position_of(self.node(name), result, index))
