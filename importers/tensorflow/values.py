"""What a result can be while a graph is imported: a tensor, a list of tensors, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from xdsl.ir import Attribute, SSAValue

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.shapes import Shape


@dataclass(frozen=True)
class TensorList:
    """A TensorList or the state of a TensorArray. Items that nobody set are zeros."""

    items: tuple[SSAValue | None, ...]
    element: Attribute
    shape: Shape | None = None
    """Of an item, where it is known before one is set."""


@dataclass(frozen=True)
class Missing:
    """A result that has no place in `nn`: its element type, its shape or its op."""

    code: Code
    reason: str
    node: str
    """The node that has none; all that follow it are missing as well."""
    value: SSAValue | None = field(default=None, compare=False)
    """What stands for it in a module of unknown types."""

    def why(self, node: str) -> str:
        """Why a node is missing."""
        return self.reason if node == self.node else f"it follows {self.node}: {self.reason}"


@dataclass(frozen=True)
class Dead:
    """The side of a branch that is not taken."""


Value: TypeAlias = SSAValue | TensorList | Missing | Dead
