"""One placement rule as data, and whether it speaks of an op."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from ranvier.passes.analysis.locations import op_name
from ranvier.passes.placement.conditions import (
    Comparison,
    Condition,
    Place,
    Subject,
    quoted,
)

HOST, NEURON, CORE, KEEP = "host", "neuron", "core", "keep"


@dataclass(frozen=True)
class Pattern:
    """An op name in which `*` stands for anything."""

    text: str
    place: Place

    @property
    def is_exact(self) -> bool:
        return "*" not in self.text

    def matches(self, name: str) -> bool:
        return name == self.text if self.is_exact else fnmatchcase(name, self.text)


@dataclass(frozen=True)
class Rule:
    """`verb op, op where condition because "text"`; without ops it is about every op."""

    verb: str
    place: Place
    patterns: tuple[Pattern, ...] = ()
    condition: Condition | None = None
    core: int | None = None
    because: str = ""

    @property
    def origin(self) -> str:
        """What a reason says of the rule: `rule line 3`, and why if the rule says."""
        line = f"rule line {self.place.line}"
        return f"{line}: {self.because}" if self.because else line

    @cached_property
    def names(self) -> frozenset[str] | None:
        """The names that an op must have one of, if the rule is about just those."""
        match self.condition:
            case Comparison(field=field, operator="==", value=str(name)) if str(field) == "name":
                return frozenset((name,))
            case Comparison(field=field, operator="in", value=items) if str(field) == "name":
                return frozenset(items)
            case _:
                return None

    def matches(self, subject: Subject) -> bool:
        name = op_name(subject.op)
        if self.patterns and not any(pattern.matches(name) for pattern in self.patterns):
            return False
        return self.condition is None or self.condition.holds(subject)

    def text(self) -> str:
        """The rule as the grammar reads it."""
        verb = {CORE: f"core {self.core}", KEEP: "keep f32"}.get(self.verb, self.verb)
        ops = ", ".join(pattern.text for pattern in self.patterns)
        condition = "" if self.condition is None else f"where {self.condition.text()}"
        because = f"because {quoted(self.because)}" if self.because else ""
        return " ".join(part for part in (verb, ops or "*", condition, because) if part)
