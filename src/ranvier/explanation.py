"""Where each op of a model runs, why, and what crosses: the facts behind `ranvier explain`.

The path is that of `compile` up to the segments, so that the two agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, NameLoc
from xdsl.ir import Block, BlockArgument, Operation, SSAValue

from ranvier.dialects import graph
from ranvier.passes.analysis.dataflow import (
    constant_ops,
    main_block,
    operands_of,
    value_bytes,
)
from ranvier.passes.analysis.locations import (
    framework_ops,
    framework_position,
    framework_type,
    shown_name,
    source_lines,
    source_location,
)
from ranvier.passes.analysis.operators import (
    OperatorCounts,
    count_operators,
    heavy_host_work,
    live_ops,
    reason_of,
    segments_of,
)
from ranvier.passes.partition_pipeline import partition_pipeline
from ranvier.passes.pipelines import parse_pipeline, placement_pipeline, run_passes
from ranvier.passes.rewriting.implicit_casts import is_implicit
from ranvier.passes.rewriting.marks import keeps_f32
from ranvier.passes.segment import SegmentPass
from ranvier.passes.segment.gains import Gain, gains_of
from ranvier.passes.target import load_target
from ranvier.program import Options


@dataclass
class Row:
    """A framework op: what it is called, where it runs, and why there."""

    name: str
    op: str
    """The ops of the IR that rules know it by."""
    framework_op: str
    placement: str
    segment: str
    code: str
    reason: str
    location: str
    source: str = ""
    """The lines of source alone."""
    bytes_in: int = 0
    """Bytes that it reads from outside its segment."""
    bytes_out: int = 0
    """Bytes of its results that are read outside its segment."""
    host_ops: str = ""
    """Of an op that is partly on the host, the ops of the IR that are."""
    core: int | None = None
    """The NeuronCore of a pipeline of several that the op begins on."""
    last_core: int | None = None
    """The one that it ends on."""
    keeps_f32: bool = False
    """Whether a rule keeps any of it in f32."""
    position: int | None = None
    """In the framework's graph, where its files have an order."""


@dataclass
class Parts:
    """The ops of the IR that a framework op is: when rules are applied, and when it is placed."""

    known: Counter[str] = field(default_factory=Counter[str])
    """Names at the time of rules, and how many ops of each."""
    kept: Counter[str] = field(default_factory=Counter[str])
    """Those that rules keep in f32."""
    placed: dict[str, set[bool]] = field(default_factory=dict[str, set[bool]])
    """Later names, and whether such ops are on the host."""
    cores: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    """Later names, and the NeuronCores of such ops in a pipeline of several."""

    def on_host(self) -> list[str]:
        """The later names of which every op is on the host."""
        return [name for name, sides in self.placed.items() if sides == {True}]


@dataclass(frozen=True)
class SegmentRow:
    """A segment, its framework ops and what crosses its boundary."""

    name: str
    placement: str
    ops: int
    bytes_in: int
    bytes_out: int


@dataclass
class Explanation:
    """A placed model. `edges` are pairs of rows, of which the second reads from the first."""

    target: str
    operators: OperatorCounts
    ops: list[Row]
    segments: list[SegmentRow]
    gains: list[Gain]
    heavy_host_work: list[tuple[str, int, float]]
    edges: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    parts: list[Parts] = field(default_factory=list[Parts])
    """Per row, what rules can say of it."""

    def describe(self) -> dict[str, Any]:
        """The object of `--json`."""
        return {
            "target": self.target,
            "operators": asdict(self.operators),
            "ops": [asdict(row) for row in self.ops],
            "segments": [asdict(segment) for segment in self.segments],
            "summary": [
                {
                    "op": gain.op,
                    "code": gain.reason.code.number,
                    "reason": gain.reason.text,
                    "ops": gain.ops,
                    "segments": gain.segments,
                    "bytes": gain.bytes,
                }
                for gain in self.gains
            ],
            "heavy_host_work": [
                {"op": op, "ops": count, "macs_share": round(share, 4)}
                for op, count, share in self.heavy_host_work
            ],
        }


def explain_module(module: ModuleOp, options: Options) -> Explanation:
    """Place an imported module, in place, and say how and why.

    Raises PassError as compiling does: for wrong rules, for cores that the pipeline lacks, and for
    host ops if they are forbidden.
    """
    text = placement_pipeline(options.target, options.cast_mode, placing=options.placing)
    passes = parse_pipeline(text)
    names = [step.name for step in passes]
    legalize, at = names.index("legalize"), names.index("segment")
    segment = passes[at]
    assert isinstance(segment, SegmentPass)
    run_passes(module, passes[:legalize])
    parts = parts_of(module)
    flow = flow_of(module)
    run_passes(module, passes[legalize:at])
    plan = segment.plan(Context(), module)
    gains: list[Gain] = []
    if plan is not None:
        gains = gains_of(plan)
        plan.outline()
    run_passes(module, passes[at + 1 :])
    table = Table(module, parts)
    assert options.cores != "auto"  # `Options.for_module` has counted the weights
    partition_pipeline(module, load_target(options.target), cores=options.cores)
    if options.cores > 1:
        table.add_cores(module)
    return Explanation(
        target=options.target,
        operators=count_operators(module),
        ops=list(table.rows.values()),
        segments=table.segments,
        gains=gains,
        heavy_host_work=heavy_host_work(module),
        edges=edges_between(list(table.rows), flow),
        parts=[parts[part] for part in table.rows],
    )


def parts_of(module: ModuleOp) -> dict[NameLoc, Parts]:
    """The ops that each framework op is when rules have been applied."""
    found: dict[NameLoc, Parts] = {}
    block = main_block(module)
    if block is not None:
        constants = constant_ops(block.ops)
        for op in block.ops:
            for part in framework_ops(op) if op not in constants else ():
                parts = found.setdefault(part, Parts())
                parts.known[op.name] += 1
                parts.kept[op.name] += keeps_f32(op)
    return found


Flow: TypeAlias = "list[tuple[list[NameLoc], set[int]]]"
"""Per op, the framework ops that it is and which earlier ops it reads from, by position."""


def flow_of(module: ModuleOp) -> Flow:
    """The graph as the user knows it: later, ops are merged, split and put in another order."""
    flow: Flow = []
    numbers: dict[Operation, int] = {}
    block = main_block(module)
    if block is not None:
        constants = constant_ops(block.ops)
        for op in block.ops:
            if op not in constants:
                owners = (v.owner for v in operands_of(op))
                read = {numbers[o] for o in owners if isinstance(o, Operation) and o in numbers}
                numbers[op] = len(flow)
                flow.append((framework_ops(op), read))
    return flow


def edges_between(rows: Sequence[NameLoc], flow: Flow) -> list[tuple[int, int]]:
    """Pairs of rows. What a fused op consists of is a chain; an op without a row passes on."""
    numbers = {part: number for number, part in enumerate(rows)}
    edges: set[tuple[int, int]] = set()
    makers: list[set[int]] = []
    for parts, read in flow:
        made = set[int]().union(*(makers[number] for number in read))
        for number in (numbers[part] for part in parts if part in numbers):
            edges.update((maker, number) for maker in made if maker != number)
            made = {number}
        makers.append(made)
    return sorted(edges)


class Table:
    """The rows of a segmented module, in the order of its segments."""

    def __init__(self, module: ModuleOp, parts: dict[NameLoc, Parts]) -> None:
        self.rows: dict[NameLoc, Row] = {}
        self.segments: list[SegmentRow] = []
        self._parts = parts
        for segment in segments_of(module):
            self._add(segment)
        for part, row in self.rows.items():
            placed = parts[part].placed
            if row.placement == graph.HOST and any(False in sides for sides in placed.values()):
                names = (name for name, sides in placed.items() if True in sides)
                row.host_ops = ", ".join(names)

    def _add(self, segment: graph.SegmentOp) -> None:
        named: set[NameLoc] = set()
        live = set(live_ops(segment))
        yielded = set(segment.yielded)
        for op in segment.block.ops:
            for part in framework_ops(op) if op in live else ():
                named.add(part)
                self._row(op, part, segment, yielded)
        self.segments.append(
            SegmentRow(
                segment.label.data,
                segment.placement.data,
                len(named),
                sum(value_bytes(value.type) for value in segment.inputs),
                sum(value_bytes(value.type) for value in segment.outputs),
            )
        )

    def add_cores(self, module: ModuleOp) -> None:
        """Say of each op on the target which core it begins on, once there are stages."""
        for stage in module.walk():
            if isinstance(stage, graph.StageOp):
                constants = constant_ops(stage.block.ops)
                ops = (op for op in stage.block.ops if op not in constants and not is_implicit(op))
                for op, part in ((op, part) for op in ops for part in framework_ops(op)):
                    row, core = self.rows.get(part), stage.core.value.data
                    if row is not None and row.placement == graph.NEURON:
                        row.core = core if row.core is None else min(row.core, core)
                        row.last_core = core if row.last_core is None else max(row.last_core, core)
                        self._parts[part].cores.setdefault(op.name, set()).add(core)

    def _row(
        self, op: Operation, part: NameLoc, segment: graph.SegmentOp, yielded: set[SSAValue]
    ) -> None:
        row = self.rows.get(part)
        parts = self._parts.setdefault(part, Parts())
        if row is None:
            row = self.rows[part] = Row(
                name=shown_name(part),
                op=", ".join(parts.known) or op.name,
                framework_op=framework_type(part),
                placement=graph.NEURON,
                segment=segment.label.data,
                code="",
                reason="",
                location=source_location(op, part),
                source=source_lines(op, part),
                keeps_f32=parts.kept.total() > 0,
                position=framework_position(part),
            )
        if segment.on_host and row.placement != graph.HOST:
            reason = reason_of(op)
            row.placement, row.segment = graph.HOST, segment.label.data
            row.code = reason.code.number if reason else ""
            row.reason = reason.text if reason else ""
        parts.placed.setdefault(op.name, set()).add(segment.on_host)
        row.bytes_in += sum(value_bytes(value.type) for value in foreign(op, segment.block))
        row.bytes_out += sum(value_bytes(r.type) for r in results_behind(op) if r in yielded)


def foreign(op: Operation, block: Block) -> Iterator[SSAValue]:
    """The arguments of the segment that an op reads, also through casts and constants."""
    pending: Sequence[SSAValue] = operands_of(op)
    seen: set[SSAValue] = set()
    while pending:
        following: list[SSAValue] = []
        for value in pending:
            if value in seen:
                continue
            seen.add(value)
            if isinstance(value, BlockArgument) and value.block is block:
                yield value
            elif isinstance(value.owner, Operation) and is_implicit(value.owner):
                following.extend(value.owner.operands)
        pending = following


def results_behind(op: Operation) -> Iterator[SSAValue]:
    """The results of an op, and of the casts of ours that return them to f32."""
    for result in op.results:
        yield result
        for use in result.uses:
            if is_implicit(use.operation):
                yield from use.operation.results
