"""Put every op of a function into a segment on the target or on the host, with as few as possible.

Before: ops in a row, some of which the target lacks.
After:  `graph.segment "seg0" on "neuron"` and `graph.segment "host0" on "host"` regions; each op on
        the host carries the reason, `ranvier.reason = ["RV0201", "text"]`.

The segments are convex and acyclic, as few as any placement needs, and of those the ones across
whose boundary fewer bytes move: `levels` and `crossing` have the algorithms, on numbers alone.
Constants are copied into each segment that reads them.

Relies on `Target.why_unsupported`, on the marks of rules, and on no dialect of ops: only implicit
casts of `nn`, which `cast-bf16` inserts, are known. They run on the target and are taken away from
host ops, which compute in the model's own types. Cores are left to `partition-pipeline`.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from ranvier.dialects import graph
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import REASON, reason_attribute
from ranvier.passes.analysis.dataflow import (
    constant_ops,
    is_constant,
    main_block,
    remove_dead_ops,
)
from ranvier.passes.analysis.locations import describe
from ranvier.passes.analysis.operators import reason_of
from ranvier.passes.apply_rules import apply_rules
from ranvier.passes.errors import PassError
from ranvier.passes.placement import Rules
from ranvier.passes.placement.nodes import impossible
from ranvier.passes.rewriting.implicit_casts import (
    implicitly_narrow,
    is_implicit,
    is_narrowing,
    unwind_host_casts,
    widen_for,
)
from ranvier.passes.rewriting.marks import KEEP, PLACEMENT, placement_of, remove_marks
from ranvier.passes.rewriting.outline import Outliner
from ranvier.passes.segment.demotion import Thresholds, demoted
from ranvier.passes.segment.placed_graph import crossing_at, floating_casts, levels_of
from ranvier.passes.simplify_shapes import merge_equal_casts
from ranvier.passes.target import HostCosts, Target, set_target, target_of

FALLBACKS = ("host", "error")
MOST_NAMED = 20
"""Ops that one error message lists."""


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

    rules: str = ""
    """A file of placement rules, applied before."""

    single_fusion_ratio_threshold: float | int = 1
    """If one device segment has more than this part of all ops, the others go to the host."""

    weigh_transfers: bool = False
    """Leave a device segment on the host if moving its data takes longer than it saves."""

    function: str = "main"
    """The function that is segmented."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if (plan := self.plan(ctx, op)) is not None:
            plan.outline()

    def plan(self, ctx: Context, op: ModuleOp) -> Plan | None:
        """What the pass would do."""
        apply_rules(op, Path(self.rules) if self.rules else None, ctx=ctx, function=self.function)
        thresholds = Thresholds(
            self.minimum_size, self.single_fusion_ratio_threshold, self.weigh_transfers
        )
        target = target_of(op, self.target)
        return plan_segments(
            op, target, fallback=self.fallback, thresholds=thresholds, function=self.function
        )


def segment(
    module: ModuleOp,
    target: Target,
    *,
    rules: Rules | None = None,
    fallback: str = "host",
    thresholds: Thresholds | None = None,
    function: str = "main",
) -> None:
    """Segment a function of any dialect.

    `rules` are placement rules as text or as a file. Raises PassError for a wrong rule, for one
    that places an op where it cannot run, and if fallback is `error` and an op needs the host.
    """
    with collector_paused():
        apply_rules(module, rules, function=function)
        plan = plan_segments(
            module, target, fallback=fallback, thresholds=thresholds, function=function
        )
        if plan is not None:
            plan.outline()


@contextmanager
def collector_paused() -> Generator[None]:
    """Without collections of cyclic garbage: each would walk the whole program for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def plan_segments(
    module: ModuleOp,
    target: Target,
    *,
    fallback: str = "host",
    thresholds: Thresholds | None = None,
    function: str = "main",
) -> Plan | None:
    """Decide where each op runs; None if there is nothing to segment.

    Host ops lose the casts of ours; else the module stays as it is until the plan is carried out.
    """
    thresholds = thresholds or Thresholds()
    check_options(thresholds, fallback, target)
    set_target(module, target)
    block = main_block(module, function)
    if block is None or any(isinstance(op, graph.SegmentOp) for op in block.ops):
        return None
    remove_dead_ops(block)
    plan = first_plan(block, target)
    plan.settle()
    if plan.reasons and thresholds != Thresholds():
        while more := demoted(
            plan.device_segments(), plan.reasons, target, thresholds, plan.crossing_of
        ):
            plan.reasons |= more
            plan.settle()
    if plan.reasons and fallback == "error":
        raise PassError(Code.FALLBACK_FORBIDDEN, _refusal(target, plan.reasons))
    return plan


def check_options(thresholds: Thresholds, fallback: str, target: Target) -> None:
    ratio = thresholds.single_fusion_ratio
    wrong: list[str] = []
    if fallback not in FALLBACKS:
        wrong.append(f"fallback={fallback}: {' or '.join(FALLBACKS)}")
    if thresholds.minimum_size < 1:
        wrong.append(f"minimum-size={thresholds.minimum_size}: at least 1")
    if not 0 <= ratio <= 1:
        wrong.append(f"single-fusion-ratio-threshold={ratio:g}: from 0 to 1")
    if thresholds.weigh_transfers and not isinstance(target, HostCosts):
        wrong.append(f"weigh-transfers: {target.name} has no numbers for the host")
    if wrong:
        raise PassError(Code.OPTION_INVALID, f"bad options of segment: {'; '.join(wrong)}")


def first_plan(block: Block, target: Target) -> Plan:
    """The ops that do not run on the target, and why; constants run nowhere.

    A reason that stands on an op holds, and a rule comes before what the target says. Raises
    PassError for rules that place ops on the target which it does not run.
    """
    plan = Plan(block)
    reasons, refused = plan.reasons, list[str]()
    for op in block.ops:  # once for all that it asks: large programs do not stay in the caches
        if is_constant(op, plan.constants):
            plan.constants.add(op)
            continue
        if is_implicit(op):
            plan.has_casts = True
            continue
        if op is block.last_op:
            continue
        placement, rule = placement_of(op) or ("", "")
        if (reason := reason_of(op)) is not None:
            reasons[op] = reason
        elif placement == graph.HOST:
            reasons[op] = Reason(Code.OP_RULE, rule)
        elif (reason := target.why_unsupported(op)) is not None:
            reasons[op] = reason
            if placement == graph.NEURON:
                refused.append(f"{rule}: {describe(op)}: {reason.text} [{reason.code.number}]")
    if refused:
        raise impossible(_listed(refused), target.name)
    return plan


@dataclass
class Plan:
    """Which ops are on the host and why, and the level of each op: a level is a segment."""

    block: Block
    reasons: dict[Operation, Reason] = field(default_factory=dict[Operation, Reason])
    constants: set[Operation] = field(default_factory=set[Operation])
    has_casts: bool = False
    """Whether `cast-bf16` has left any."""
    levels: dict[Operation, int] = field(default_factory=dict[Operation, int])
    floating: AbstractSet[Operation] = frozenset[Operation]()
    """What is copied to its readers, and has no level of its own."""
    _crossing: dict[int, int] | None = None

    def settle(self) -> None:
        """Take the casts of ours away from host ops, and find the levels."""
        if self.has_casts:
            before, self.reasons = self.reasons, unwind_host_casts(self.block, self.reasons)
            if self.reasons.keys() != before.keys():
                self._remove_dead_casts()
        self._float()
        self.levels = levels_of(self.block, self.reasons.keys(), self.floating)
        self._crossing = None

    def _remove_dead_casts(self) -> None:
        remove_dead_ops(self.block)
        self.constants = constant_ops(self.block.ops)

    def _float(self) -> None:
        casts = floating_casts(self.block) if self.has_casts else frozenset[Operation]()
        self.floating = self.constants | casts

    def segments(self) -> dict[int, list[Operation]]:
        """The ops of each level in order, floating ones left out."""
        members: dict[int, list[Operation]] = {}
        for op, level in self.levels.items():
            if op not in self.floating:
                members.setdefault(level, []).append(op)
        return dict(sorted(members.items()))

    def device_segments(self) -> list[list[Operation]]:
        return [ops for level, ops in self.segments().items() if level % 2]

    def crossing_of(self, segment: Sequence[Operation]) -> int:
        """Bytes that a device segment reads and writes: constants are in it, and cost none."""
        if self._crossing is None:
            self._crossing = crossing_at(
                self.block, self.reasons.keys(), self.floating, self.levels
            )
        return self._crossing.get(self.levels[segment[0]], 0)

    def outline(self) -> None:
        """Put each level into a segment, in the order of levels."""
        for op, reason in self.reasons.items():
            op.attributes[REASON] = reason_attribute(reason)
        if self.has_casts and widen_crossing_values(self.block, self.levels):
            merge_equal_casts(self.block)
            self._remove_dead_casts()
            self._float()
        outline_levels(self.block, self.levels, self.floating)


def widen_crossing_values(block: Block, levels: dict[Operation, int]) -> bool:
    """Between segments, pass f32 where only casts of ours made a value narrow: it is exact.

    Returns whether there was one.
    """
    widened = False
    for value in implicitly_narrow(block):
        op = value.owner
        if not isinstance(op, Operation) or is_narrowing(op):
            continue
        readers = [use for use in value.uses if levels.get(use.operation, -1) != levels[op]]
        if readers:
            widened = True
            for cast_op in widen_for(value, readers):
                levels[cast_op] = levels[op]
    return widened


def outline_levels(
    block: Block, levels: Mapping[Operation, int], floating: AbstractSet[Operation]
) -> None:
    """One segment per level, in the order of levels."""
    end = block.last_op
    assert end is not None
    members: dict[int, list[Operation]] = {}
    for op in block.ops:
        remove_marks(op, PLACEMENT, KEEP)
        if op not in floating and op is not end:
            members.setdefault(levels[op], []).append(op)
    host = min((level for level in members if level % 2 == 0), default=0)
    if any(operand.owner in floating for operand in end.operands):
        members.setdefault(host, [])
    order = sorted(members)
    names = segment_names(order)

    def build(
        index: int, inputs: Sequence[SSAValue], types: Sequence[Attribute], body: Region
    ) -> Sequence[Operation]:
        placement = graph.NEURON if order[index] % 2 else graph.HOST
        return [graph.SegmentOp(names[index], placement, inputs, types, body)]

    Outliner(block, [members[level] for level in order], floating, build).run(
        order.index(host) if host in members else 0
    )


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
    return f"{count} the host, which fallback=error forbids on {target.name}: {_listed(lines)}"


def _listed(lines: Sequence[str]) -> str:
    more = f"; and {len(lines) - MOST_NAMED} more" if len(lines) > MOST_NAMED else ""
    return "; ".join(lines[:MOST_NAMED]) + more
