"""A placement as rules that give it again: `ranvier explain --write-rules`.

One rule per framework op places it; where the pipeline has several cores another puts it on its
core, and one that rules keep in f32 has a rule for that. What no rule can say of an op by its name
is left to the compiler, in a comment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ranvier.dialects import graph
from ranvier.explanation import Explanation, Parts, Row
from ranvier.passes.placement.conditions import quoted

_NO_BREAKS = {ord("\n"): " ", ord("\r"): " "}


def rules_of(explanation: Explanation) -> str:
    """The rules as text, to edit and load back."""
    lines = [f"# Placement on {explanation.target}: a later rule wins over an earlier one."]
    names = Counter(row.name for row in explanation.ops)
    for row, parts in zip(explanation.ops, explanation.parts, strict=True):
        where = condition(row, alone=names[row.name] == 1)
        lines += [line.translate(_NO_BREAKS) for line in rules_for(row, parts, where)]
    return "\n".join(lines) + "\n"


def condition(row: Row, *, alone: bool) -> str:
    """What holds of this op and of no other: names may be given twice."""
    name = f"name == {quoted(row.name)}"
    if alone:
        return name
    if row.position is not None:
        return f"{name} and position == {row.position}"
    return f"{name} and framework_op == {quoted(row.framework_op)}"


def rules_for(row: Row, parts: Parts, where: str) -> Iterator[str]:
    yield placement(row, parts, where)
    if row.core is not None and row.core == row.last_core:
        yield f"core {row.core} {where}"
    elif row.core is not None:
        yield from pieces(row, parts, where)
    if row.keeps_f32:
        yield kept(parts, where)


def pieces(row: Row, parts: Parts, where: str) -> Iterator[str]:
    """The cores of an op that spans several, as far as the names of what it consists of say them.

    What is named nowhere goes where the rest of the pipeline leaves it.
    """
    yield f"# on cores {row.core} to {row.last_core}: {where}"
    for name, cores in parts.cores.items():
        if len(cores) == 1 and name in parts.known:
            yield f"core {min(cores)} {name} where {where}"


def placement(row: Row, parts: Parts, where: str) -> str:
    why = f"  # {row.reason} [{row.code}]" if row.code else ""
    if not row.host_ops:
        return f"{row.placement} {where}{why}"
    named = [name for name in parts.on_host() if name in parts.known]
    if named:
        return f"{graph.HOST} {', '.join(named)} where {where}{why}"
    return f"# in part on the {graph.HOST}: {where}{why}"


def kept(parts: Parts, where: str) -> str:
    """The rule for precision: of all ops that a framework op is, or of those of some names."""
    if parts.kept == parts.known:
        return f"keep f32 {where}"
    named = [name for name, count in parts.known.items() if parts.kept[name] == count]
    if named:
        return f"keep f32 {', '.join(named)} where {where}"
    return f"# in part kept in f32: {where}"
