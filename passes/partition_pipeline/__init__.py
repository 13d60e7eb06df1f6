"""Cut each device segment into pipeline stages, one per NeuronCore, of nearly equal cost.

Before: `graph.segment "seg0" on "neuron"` with ops in a row.
After:  at most N `graph.stage` regions in it, and a `graph.transfer` for each value that a later
        stage reads, one per value and reading core. One core gives one stage.

Relies on `Target.cost` and `Target.weight_capacity`. The cut is optimal for the order of the ops:
the costliest stage is as cheap as contiguous stages allow, and among such cuts the bytes that cross
are fewest. More stages than that need not exist, so there may be fewer than N. Where rules put ops
on cores, `pinned` orders and cuts them so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from ranvier.dialects import graph, nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.types import type_of
from ranvier.passes.analysis.dataflow import bytes_of, constant_ops, expression
from ranvier.passes.analysis.operators import segments_of
from ranvier.passes.errors import PassError
from ranvier.passes.partition_pipeline.balance import Profile, cut
from ranvier.passes.partition_pipeline.pinned import cut_pinned, pinned_order, windows_of
from ranvier.passes.rewriting.marks import CORE, core_of, remove_marks
from ranvier.passes.rewriting.outline import Outliner
from ranvier.passes.target import Target, target_of

RELOAD_SECONDS_PER_BYTE = 1 / 50e9
"""Weights beyond a core's capacity stream from DRAM in each inference, at some 50 GB/s."""


@dataclass(frozen=True)
class PartitionPipelinePass(ModulePass):
    """Cut device segments into at most `cores` pipeline stages."""

    name = "partition-pipeline"

    cores: int = 1
    """NeuronCores of the pipeline."""

    target: str | None = None
    """Name of the target; the module's own if absent."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        partition_pipeline(op, target_of(op, self.target), cores=self.cores)


def partition_pipeline(module: ModuleOp, target: Target, *, cores: int = 1) -> None:
    """Cut every device segment. Raises PassError if the target lacks that many cores."""
    if not 1 <= cores <= target.max_cores:
        raise PassError(
            Code.OPTION_INVALID,
            f"a pipeline on {target.name} takes 1 to {target.max_cores} cores, got cores={cores}",
        )
    for segment in segments_of(module):
        if not segment.on_host and not any(
            isinstance(op, graph.StageOp) for op in segment.block.ops
        ):
            cut_segment(segment, target, cores)


def cut_segment(segment: graph.SegmentOp, target: Target, cores: int) -> None:
    """Put the ops of a device segment into stages."""
    block = segment.block
    floating = constant_ops(block.ops)
    ops = [op for op in block.ops if op not in floating and op is not block.last_op]
    if any(core_of(op) is not None for op in ops):
        ops = pinned_order(ops, cores)
        pins = {i: core for i, op in enumerate(ops) if (core := core_of(op)) is not None}
        bounds = cut_pinned(profile(ops, floating, target), windows_of(pins, len(ops), cores))
        while len(bounds) > 2 and bounds[-2] == bounds[-1]:  # cores after the last op
            bounds.pop()
    else:
        bounds = cut(profile(ops, floating, target), cores) if ops else [0, 0]
    for op in block.ops:
        remove_marks(op, CORE)
    groups = [ops[low:high] for low, high in pairwise(bounds)]
    StageBuilder(block, groups, floating).run()


def profile(ops: Sequence[Operation], constants: set[Operation], target: Target) -> Profile:
    """Costs, resident weights and crossing bytes of ops in a row.

    A weight counts where it is read first; `crossing[i]` is what a cut before op `i` sends on.
    """
    position = {op: i for i, op in enumerate(ops)}
    seen: set[str] = set()
    weights: list[int] = []
    crossing = [0] * (len(ops) + 1)
    for i, op in enumerate(ops):
        weights.append(sum(_fresh_weight_bytes(v, constants, seen) for v in held_operands(op)))
        for result in op.results:
            last = max((position.get(use.operation, i) for use in result.uses), default=i)
            size = bytes_of(type_of(result))
            crossing[i + 1] += size
            crossing[last + 1] -= size
    for i in range(len(ops)):
        crossing[i + 1] += crossing[i]
    return Profile(
        seconds=[target.cost(op) for op in ops],
        weights=weights,
        crossing=crossing[: len(ops)],
        capacity=target.weight_capacity,
        seconds_per_byte=RELOAD_SECONDS_PER_BYTE,
    )


def held_operands(op: Operation) -> Sequence[SSAValue]:
    """Operands that are read as a whole: a lookup picks rows of a table that stays in DRAM."""
    return op.operands[1:] if isinstance(op, nn.GatherOp) else op.operands


def _fresh_weight_bytes(value: SSAValue, constants: set[Operation], seen: set[str]) -> int:
    """Bytes of the weights behind a constant operand that no earlier op has read."""
    if value.owner not in constants:
        return 0
    total = 0
    for op in expression(value):
        if isinstance(op, nn.LoadWeightOp) and op.symbol not in seen:
            seen.add(op.symbol)
            total += bytes_of(type_of(op.result))
    return total


class StageBuilder:
    """Turns groups of ops into stages, and values between them into transfers."""

    def __init__(
        self, block: Block, groups: Sequence[Sequence[Operation]], floating: set[Operation]
    ) -> None:
        self._outliner = Outliner(block, groups, floating, self._build)
        self._last = len(groups) - 1

    def run(self) -> None:
        self._outliner.run(self._last)

    def _build(
        self, index: int, inputs: Sequence[SSAValue], types: Sequence[Attribute], body: Region
    ) -> Sequence[Operation]:
        transfers: list[Operation] = []
        arrived: list[SSAValue] = []
        for value in inputs:
            if isinstance(value.owner, graph.StageOp):
                transfer = graph.TransferOp(value, value.owner.core.value.data, index)
                transfer.result.name_hint = value.name_hint
                transfers.append(transfer)
                value = transfer.result
            arrived.append(value)
        return [*transfers, graph.StageOp(index, arrived, types, body)]
