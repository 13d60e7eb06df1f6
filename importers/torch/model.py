"""What an import of a PyTorch model gives: the module, and how a call of the model maps to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp

from ranvier.dialects.diagnostics import Reason


@dataclass(frozen=True)
class Output:
    """One leaf of what the model returns.

    The result of `@main` called `name`, or that of the node `foreign`, or a value that the model
    fixes: a number, None.
    """

    name: str | None
    constant: object = None
    foreign: str | None = None


@dataclass(frozen=True)
class Mutation:
    """The result of `@main` called `name` is the new value of a buffer or of an input."""

    name: str
    target: str
    """Name of the buffer in the state dict, or of the input."""
    is_input: bool


@dataclass(frozen=True)
class Imported:
    """A module of `nn`, and how a call of the model maps to a call of `@main`.

    Values that belong to `foreign` nodes are beside those of the user: their results are further
    arguments of `@main`, what they read further results, each under the node's name. A program that
    has none runs as a whole.
    """

    module: ModuleOp
    inputs: tuple[str | None, ...]
    """Per leaf of the user's inputs, in their order: its name in `@main`, None if no tensor."""
    outputs: tuple[Output, ...]
    """Per leaf of the user's outputs, in their order."""
    mutations: tuple[Mutation, ...] = ()
    foreign: Mapping[str, Reason] = field(default_factory=dict[str, Reason])
    """Nodes that no module holds, as their shapes depend on values, by name."""
    nodes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name in a location -> name of the node in the framework's graph."""
