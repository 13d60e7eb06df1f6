"""What passes ask of a target, and how a module says which target it is for.

Targets install themselves under the entry point group `ranvier.targets`; nothing of them is
imported before one is asked for by name.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Protocol, cast, runtime_checkable

from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Operation

from ranvier.dialects.diagnostics import Code, Reason
from ranvier.passes.errors import PassError

ATTRIBUTE = "ranvier.target"
"""Module attribute: the name of the target that the module is for."""

DEFAULT = "inf2"

ENTRY_POINTS = "ranvier.targets"


class Target(Protocol):
    """A machine with NeuronCores, as passes see it."""

    @property
    def name(self) -> str: ...

    @property
    def weight_capacity(self) -> int:
        """Bytes of weights that one core keeps resident between inferences."""
        ...

    @property
    def max_cores(self) -> int: ...

    def why_unsupported(self, op: Operation) -> Reason | None:
        """Why this op, with these shapes, types and attributes, does not lower; None if it does."""
        ...

    def cost(self, op: Operation) -> float:
        """Estimated seconds of one execution on one core."""
        ...

    def pipeline(self, cores: int) -> str:
        """The passes from stages to a program for so many cores, in xDSL's pipeline syntax."""
        ...


@runtime_checkable
class HostCosts(Protocol):
    """What a target may know besides: the host beside it, and the way there."""

    def host_cost(self, op: Operation) -> float:
        """Estimated seconds of one execution on the host."""
        ...

    def transfer_cost(self, nbytes: int) -> float:
        """Estimated seconds to move so many bytes between the host and the target."""
        ...


@cache
def load_target(name: str) -> Target:
    """An installed target. Raises PassError with the installed names if there is none."""
    installed = entry_points(group=ENTRY_POINTS)
    for entry in installed:
        if entry.name == name:
            return cast(Target, entry.load())
    known = ", ".join(sorted(installed.names)) or "none"
    raise PassError(Code.TARGET_UNKNOWN, f"unknown target '{name}'; installed targets: {known}")


def target_name(module: ModuleOp, option: str | None = None) -> str:
    """The module's target: what `option` says, else its attribute, else `inf2`.

    Raises PassError if the option contradicts the attribute.
    """
    stated = module.attributes.get(ATTRIBUTE)
    if not isinstance(stated, StringAttr):
        return option or DEFAULT
    if option is not None and option != stated.data:
        raise PassError(
            Code.TARGET_CONFLICT,
            f"target={option} contradicts the module's target '{stated.data}', which an earlier "
            "pass has set",
        )
    return stated.data


def target_of(module: ModuleOp, option: str | None = None) -> Target:
    """The module's target, loaded. An option that names it is written into the module."""
    target = load_target(target_name(module, option))
    if option is not None:
        set_target(module, target)
    return target


def set_target(module: ModuleOp, target: Target) -> None:
    """Let later passes know what the module is for."""
    module.attributes[ATTRIBUTE] = StringAttr(target.name)
