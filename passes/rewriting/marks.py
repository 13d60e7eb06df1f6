"""What rules leave on an op for the passes after them: discardable attributes.

`ranvier.placement = ["host", "rule line 1"]` for `segment`, `ranvier.core = 2` for
`partition-pipeline`, `ranvier.keep = "f32"` for `cast-bf16`. An op that replaces a marked one
inherits its marks.
"""

from __future__ import annotations

from xdsl.dialects.builtin import ArrayAttr, IntegerAttr, StringAttr, i64
from xdsl.ir import Operation

PLACEMENT = "ranvier.placement"
CORE = "ranvier.core"
KEEP = "ranvier.keep"
MARKS = (PLACEMENT, CORE, KEEP)


def mark_placement(op: Operation, placement: str, origin: str) -> None:
    op.attributes[PLACEMENT] = ArrayAttr([StringAttr(placement), StringAttr(origin)])


def mark_core(op: Operation, core: int) -> None:
    op.attributes[CORE] = IntegerAttr(core, i64)


def mark_keep(op: Operation) -> None:
    op.attributes[KEEP] = StringAttr("f32")


def placement_of(op: Operation) -> tuple[str, str] | None:
    """Where a rule puts the op, and which rule; None if no rule says."""
    match op.attributes.get(PLACEMENT):
        case ArrayAttr(data=(StringAttr(data=placement), StringAttr(data=origin))):
            return placement, origin
        case _:
            return None


def core_of(op: Operation) -> int | None:
    """The NeuronCore that a rule puts the op on."""
    mark = op.attributes.get(CORE)
    return mark.value.data if isinstance(mark, IntegerAttr) else None


def keeps_f32(op: Operation) -> bool:
    return KEEP in op.attributes


def inherit_marks(new: Operation, old: Operation) -> None:
    """Let a rule hold for what an op becomes."""
    for name in MARKS:
        if name in old.attributes:
            new.attributes.setdefault(name, old.attributes[name])


def remove_marks(op: Operation, *names: str) -> None:
    """Take away marks that have done their work."""
    for name in names:
        op.attributes.pop(name, None)
