"""Where an op comes from: the framework's ops that it stands for, and lines of source.

A framework op is known by its location, `loc("name"("type"))`, alone or in a fused one. Lines of
source are `loc("model.py":3:7)` beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from xdsl.dialects.builtin import (
    UNKNOWN_LOC,
    ArrayAttr,
    FileLineColLoc,
    FusedLoc,
    LocationAttr,
    NameLoc,
)
from xdsl.ir import Operation


def location_parts(location: LocationAttr) -> Iterator[LocationAttr]:
    """The locations that a fused one is made of; none for the unknown one."""
    if isinstance(location, FusedLoc):
        for part in cast(ArrayAttr[Any], location.locations):
            yield from location_parts(part)
    elif location != UNKNOWN_LOC:
        yield location


def framework_ops(op: Operation) -> list[NameLoc]:
    """The framework ops that an op stands for."""
    return [part for part in location_parts(op.location) if isinstance(part, NameLoc)]


def framework_name(location: NameLoc) -> str:
    return location.desc.data


def framework_type(location: NameLoc) -> str:
    """The op type in `loc("name"("type":13:4))`, also without numbers; empty if there is none."""
    match location.location:
        case FileLineColLoc(filename=kind):
            return kind.data
        case NameLoc(desc=kind):
            return kind.data
        case _:
            return ""


def format_location(location: LocationAttr) -> str:
    """`"conv_3" (Conv)`, `model.py:3:7`, both joined by commas if fused; empty if unknown."""
    return ", ".join(_format_part(part) for part in location_parts(location))


def _format_part(part: LocationAttr) -> str:
    match part:
        case NameLoc():
            kind = framework_type(part)
            return f"'{framework_name(part)}'" + (f" ({kind})" if kind else "")
        case FileLineColLoc():
            return f"{part.filename.data}:{part.line.data}:{part.column.data}"
        case _:
            return str(part)


def describe(op: Operation) -> str:
    """An op for a message: `nn.erf at 'act_1' (Erf)`."""
    where = format_location(op.location)
    return f"{op.name} at {where}" if where else op.name


def source_location(op: Operation, part: NameLoc) -> str:
    """Where a framework op is: its name and type, then the lines of source that are known."""
    lines = [p for p in location_parts(op.location) if isinstance(p, FileLineColLoc)]
    return ", ".join(map(_format_part, (part, *lines)))
