"""Put every op of `@main` into a segment on the target or on the host, with as few as possible.

Before: `nn` ops in a row, some of which the target lacks.
After:  `graph.segment "seg0" on "neuron"` and `graph.segment "host0" on "host"` regions; each op on
        the host carries the reason, `ranvier.reason = ["RV0201", "text"]`.

Number the ops in program order so that odd levels run on the target and even levels on the host,
and a level never decreases along a use. Then the ops of one level are convex, and no placement
needs fewer alternations. Constants are copied into each segment that reads them.

Relies on `Target.why_unsupported` alone. Casts that `cast-bf16` inserted run on the target and are
taken away from host ops, which compute in the model's own types. Cores are left to
`partition-pipeline`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import cast

from xdsl.context import Context
from xdsl.dialects.builtin import UNKNOWN_LOC, ArrayAttr, ModuleOp, StringAttr
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from ranvier.dialects import graph
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.passes.analysis.dataflow import constant_ops, main_block, remove_dead_ops
from ranvier.passes.analysis.operators import describe, framework_ops
from ranvier.passes.errors import PassError
from ranvier.passes.rewriting.implicit_casts import (
    implicitly_narrow,
    is_implicit,
    is_narrowing,
    unwind_host_casts,
    widen_for,
)
from ranvier.passes.rewriting.outline import Outliner
from ranvier.passes.simplify_shapes import merge_equal_casts
from ranvier.passes.target import Target, set_target, target_of

FALLBACKS = ("host", "error")


@dataclass(frozen=True)
class SegmentPass(ModulePass):
    """Group ops into segments on the target and on the host."""

    name = "segment"

    target: str | None = None
    """Name of the target; the module's own if absent."""

    minimum_size: int = 1
    """Device segments with fewer framework ops go to the host, unless one is the whole graph."""

    fallback: str = "host"
    """`host` runs what the target lacks on the host, `error` refuses it."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        segment(
            op,
            target_of(op, self.target),
            minimum_size=self.minimum_size,
            fallback=self.fallback,
        )


def segment(
    module: ModuleOp, target: Target, *, minimum_size: int = 1, fallback: str = "host"
) -> None:
    """Segment `@main`. Raises PassError if fallback is `error` and an op needs the host."""
    if fallback not in FALLBACKS or minimum_size < 1:
        raise PassError(
            Code.OPTION_INVALID,
            f"segment takes minimum-size of at least 1 and fallback {' or '.join(FALLBACKS)}, got "
            f"{minimum_size} and {fallback}",
        )
    set_target(module, target)
    block = main_block(module)
    if block is None or any(isinstance(op, graph.SegmentOp) for op in block.ops):
        return
    remove_dead_ops(block)
    reasons = host_reasons(block, target)
    demote_small_segments(block, reasons, minimum_size)
    if reasons and fallback == "error":
        raise PassError(Code.FALLBACK_FORBIDDEN, _refusal(target, reasons))
    for op, reason in unwind_host_casts(block, reasons).items():
        op.attributes[graph.REASON] = reason_attribute(reason)
        reasons[op] = reason
    widen_crossing_values(block, reasons.keys())
    merge_equal_casts(block)
    remove_dead_ops(block)
    outline_levels(block, reasons.keys())


def reason_attribute(reason: Reason) -> Attribute:
    """`["RV0201", "text"]`"""
    return ArrayAttr([StringAttr(reason.code.number), StringAttr(reason.text)])


def host_reasons(block: Block, target: Target) -> dict[Operation, Reason]:
    """The ops that the target does not run, and why; constants run nowhere."""
    constants = constant_ops(block.ops)
    reasons: dict[Operation, Reason] = {}
    for op in block.ops:
        if op is block.last_op or op in constants or is_implicit(op):
            continue
        if (reason := target.why_unsupported(op)) is not None:
            reasons[op] = reason
    return reasons


def floating_ops(block: Block) -> set[Operation]:
    """Ops that are copied to their readers: constants, and implicit casts of operands."""
    end = block.last_op
    casts = {
        op
        for op in block.ops
        if is_narrowing(op) and all(use.operation is not end for use in op.results[0].uses)
    }
    return constant_ops(block.ops) | casts


def assign_levels(
    ops: Sequence[Operation], on_host: AbstractSet[Operation], floating: AbstractSet[Operation]
) -> dict[Operation, int]:
    """The lowest level of each op, even on the host and odd on the target.

    A floating op has the level of what it reads, of either parity.
    """
    levels: dict[Operation, int] = {}
    for op in ops:
        read = (levels[v.owner] for v in op.operands if isinstance(v.owner, Operation))
        level = max(read, default=0)
        if op not in floating and level % 2 != (op not in on_host):
            level += 1
        levels[op] = level
    return levels


def demote_small_segments(
    block: Block, reasons: dict[Operation, Reason], minimum_size: int
) -> None:
    """Move device segments of fewer framework ops to the host, until none is left."""
    floating = floating_ops(block)
    ops = [op for op in block.ops if op is not block.last_op]
    while reasons and minimum_size > 1:
        levels = assign_levels(ops, reasons.keys(), floating)
        members: dict[int, list[Operation]] = {}
        for op in ops:
            if op not in floating and levels[op] % 2:
                members.setdefault(levels[op], []).append(op)
        small = [m for m in members.values() if segment_size(m) < minimum_size]
        if not small:
            return
        for segment_ops in small:
            reason = Reason(
                Code.OP_SEGMENT_TOO_SMALL,
                f"its segment has {segment_size(segment_ops)} of at least {minimum_size} ops",
            )
            reasons |= {op: reason for op in segment_ops if not is_implicit(op)}


def segment_size(ops: Sequence[Operation]) -> int:
    """Framework ops by location; an op without one counts for itself."""
    own = [op for op in ops if not is_implicit(op)]
    named = {part for op in own for part in framework_ops(op)}
    return len(named) + sum(op.location == UNKNOWN_LOC for op in own)


def widen_crossing_values(block: Block, on_host: AbstractSet[Operation]) -> None:
    """Between segments, pass f32 where only casts of ours made a value narrow: it is exact."""
    levels = assign_levels(list(block.ops), on_host, floating_ops(block))
    for value in implicitly_narrow(block):
        op = value.owner
        readers = [
            use for use in value.uses if levels[use.operation] != levels[cast(Operation, op)]
        ]
        if readers and isinstance(op, Operation) and not is_narrowing(op):
            widen_for(value, readers)


def outline_levels(block: Block, on_host: AbstractSet[Operation]) -> None:
    """One segment per level, in the order of levels."""
    floating = floating_ops(block)
    end = block.last_op
    assert end is not None
    ops = [op for op in block.ops if op is not end]
    levels = assign_levels(ops, on_host, floating)
    members: dict[int, list[Operation]] = {}
    for op in ops:
        if op not in floating:
            members.setdefault(levels[op], []).append(op)
    if any(operand.owner in floating for operand in end.operands):
        members.setdefault(0, [])
    order = sorted(members)
    names = segment_names(order)

    def build(
        index: int, inputs: Sequence[SSAValue], types: Sequence[Attribute], body: Region
    ) -> Sequence[Operation]:
        placement = graph.NEURON if order[index] % 2 else graph.HOST
        return [graph.SegmentOp(names[index], placement, inputs, types, body)]

    Outliner(block, [members[level] for level in order], floating, build).run(0)


def segment_names(levels: Sequence[int]) -> list[str]:
    """`seg0`, `seg1`, … on the target and `host0`, `host1`, … on the host."""
    counts = [0, 0]
    names: list[str] = []
    for level in levels:
        names.append(f"{('host', 'seg')[level % 2]}{counts[level % 2]}")
        counts[level % 2] += 1
    return names


def _refusal(target: Target, reasons: Mapping[Operation, Reason]) -> str:
    lines = [
        f"{describe(op)}: {reason.text} [{reason.code.number}]" for op, reason in reasons.items()
    ]
    count = "1 op needs" if len(lines) == 1 else f"{len(lines)} ops need"
    return f"{count} the host, which fallback=error forbids on {target.name}: " + "; ".join(lines)
