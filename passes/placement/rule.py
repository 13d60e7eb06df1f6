"""One placement rule as data, and whether it speaks of an op."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

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

    def matches(self, subject: Subject) -> bool | None:
        """Whether the rule speaks of it; None if that depends on what is not known."""
        about = self._is_about(subject.op_name)
        held = False if about is False else self._holds_of(subject)
        return None if about is None and held is not False else held

    def _is_about(self, op: str | None) -> bool | None:
        if not self.patterns or any(pattern.text == "*" for pattern in self.patterns):
            return True
        return None if op is None else any(pattern.matches(op) for pattern in self.patterns)

    def _holds_of(self, subject: Subject) -> bool | None:
        if self.names is not None:  # of which there may be thousands
            return not self.names.isdisjoint(subject.names)
        return self.condition is None or self.condition.holds(subject)

    def text(self) -> str:
        """The rule as the grammar reads it."""
        verb = {CORE: f"core {self.core}", KEEP: "keep f32"}.get(self.verb, self.verb)
        ops = ", ".join(pattern.text for pattern in self.patterns)
        condition = "" if self.condition is None else f"where {self.condition.text()}"
        because = f"because {quoted(self.because)}" if self.because else ""
        return " ".join(part for part in (verb, ops or "*", condition, because) if part)


class Index:
    """Finds the rules that may match; a rule about a name costs nothing for other names."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._others: list[tuple[int, Rule]] = []
        self._by_name: dict[str, list[tuple[int, Rule]]] = {}
        for number, rule in enumerate(rules):
            if rule.names is None:
                self._others.append((number, rule))
            else:
                for name in rule.names:
                    self._by_name.setdefault(name, []).append((number, rule))

    def candidates(self, subject: Subject) -> Iterator[Rule]:
        """In the order of the rules, each once."""
        found = dict(self._others)
        for name in subject.names:
            found |= dict(self._by_name.get(name, ()))
        yield from (found[number] for number in sorted(found))
