"""Where an op comes from: the framework's ops that it stands for, and lines of source.

A framework op is known by its location, `loc("name"("type"))`, alone or in a fused one. Lines of
source are `loc("model.py":3:7)` beside it, or within: `loc("name"("type"("model.py":3:7)))`,
`loc("name"(fused["type":17:3, "model.py":3:7]))`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from xdsl.dialects.builtin import (
    UNKNOWN_LOC,
    ArrayAttr,
    FileLineColLoc,
    FusedLoc,
    LocationAttr,
    NameLoc,
    UnregisteredOp,
)
from xdsl.ir import Operation


def location_parts(location: LocationAttr) -> Iterator[LocationAttr]:
    """The locations that a fused one is made of; none for the unknown one."""
    if isinstance(location, FusedLoc):
        for part in cast(ArrayAttr[Any], location.locations):
            yield from location_parts(part)
    elif location != UNKNOWN_LOC:
        yield location


def _parts_within(location: NameLoc) -> Iterator[LocationAttr]:
    return location_parts(cast("LocationAttr", location.location))


def framework_ops(op: Operation) -> list[NameLoc]:
    """The framework ops that an op stands for."""
    return [part for part in location_parts(op.location) if isinstance(part, NameLoc)]


_SPELLED = re.compile(r"\\(?:x[89a-f][0-9a-f]|u[0-9a-f]{4}|U000[0-9a-f]{5}|U0010[0-9a-f]{4})")


def framework_name(location: NameLoc) -> str:
    """The name as locations spell it."""
    return location.desc.data


def shown_name(location: NameLoc) -> str:
    """The name as the framework has it: a location spells what is not ASCII as Python does."""
    return unspelled(framework_name(location))


def unspelled(name: str) -> str:
    return _SPELLED.sub(_character, name)


def _character(spelled: re.Match[str]) -> str:
    """The character; halves of one, which no file holds, stay spelled, as ASCII does."""
    code = int(spelled[0][2:], 16)
    return spelled[0] if code < 0x80 or 0xD800 <= code < 0xE000 else chr(code)


def framework_position(location: NameLoc) -> int | None:
    """The position of a framework op in its graph, where the framework's files have an order."""
    match next(_parts_within(location), None):
        case FileLineColLoc(column=column):
            return column.data
        case _:
            return None


def framework_type(location: NameLoc) -> str:
    """The op type in `loc("name"("type":13:4))`, also without numbers; empty if there is none."""
    match next(_parts_within(location), None):
        case FileLineColLoc(filename=kind):
            return kind.data
        case NameLoc(desc=kind):
            return kind.data
        case _:
            return ""


def lines_within(location: NameLoc) -> list[FileLineColLoc]:
    """The lines of source that stand inside of a framework op's location."""
    first, *others = [*_parts_within(location), UNKNOWN_LOC]
    inner = [*_parts_within(first), *others] if isinstance(first, NameLoc) else others
    return [part for part in inner if isinstance(part, FileLineColLoc)]


def format_location(location: LocationAttr) -> str:
    """`'conv_3' (Conv)`, `model.py:3:7`, both joined by commas if fused; empty if unknown."""
    return ", ".join(_format_part(part) for part in location_parts(location))


def _format_part(part: LocationAttr) -> str:
    match part:
        case NameLoc():
            kind = framework_type(part)
            name = f"'{shown_name(part)}'" + (f" ({kind})" if kind else "")
            return ", ".join([name, *map(_format_part, lines_within(part))])
        case FileLineColLoc(line=line, column=column):
            place = f"{part.filename.data}:{line.data}"
            return f"{place}:{column.data}" if column.data else place
        case _:
            return str(part)


def describe(op: Operation) -> str:
    """An op for a message: `nn.erf at 'act_1' (Erf)`."""
    where = format_location(op.location)
    return f"{op_name(op)} at {where}" if where else op_name(op)


def op_name(op: Operation) -> str:
    """The name of an op, also of one whose dialect is not registered."""
    return op.op_name.data if isinstance(op, UnregisteredOp) else op.name


def source_location(op: Operation, part: NameLoc) -> str:
    """Where a framework op is: its name and type, then the lines of source that are known."""
    return ", ".join(map(_format_part, (part, *_lines_beside(op))))


def source_lines(op: Operation, part: NameLoc) -> str:
    """The lines of source of a framework op alone; empty if none is known."""
    return ", ".join(map(_format_part, (*lines_within(part), *_lines_beside(op))))


def _lines_beside(op: Operation) -> list[FileLineColLoc]:
    return [p for p in location_parts(op.location) if isinstance(p, FileLineColLoc)]
