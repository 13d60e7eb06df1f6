"""What a module and its program cost: weights, stages of a pipeline, the simulated timeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
from xdsl.dialects.builtin import LocationAttr, ModuleOp, NameLoc
from xdsl.ir import Operation

from ranvier.backend.neuron.cost import dma_cost
from ranvier.backend.neuron.limits import MACHINES, Machine
from ranvier.backend.neuron.neff.encode import program_of
from ranvier.backend.neuron.program import Instruction
from ranvier.backend.neuron.simulator import Timeline, simulate
from ranvier.backend.reference import main_of
from ranvier.dialects import graph, nc, nn
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.materialize import in_memory
from ranvier.dialects.nn.types import element_of, is_float
from ranvier.passes.analysis.dataflow import constant_ops
from ranvier.passes.analysis.locations import framework_type
from ranvier.passes.analysis.operators import segments_of
from ranvier.passes.partition_pipeline import profile
from ranvier.passes.target import Target

MICROSECOND = 1e6

WEIGHTS_OF_FOUR_CORES = 2e7
"""neuron-cc's documented rule: four cores for so many weights."""


# -- Weights ----------------------------------------------------------------------------------


def automatic_cores(weights: int, most: int) -> int:
    """`4 * round(weights / 2e7)` cores, at least 1 and at most what the target has."""
    return max(1, min(most, 4 * round(weights / WEIGHTS_OF_FOUR_CORES)))


def weight_elements(module: ModuleOp) -> int:
    """Elements of all weights of a model; small ones are constants in its function."""
    return sum(_sizes(module))


def _sizes(module: ModuleOp) -> Iterator[int]:
    for op in module.body.block.ops:
        if isinstance(op, nn.WeightOp):
            yield prod(op.tensor_type.get_shape())
    for op in main_of(module).body.block.ops:
        if isinstance(op, nn.ConstantOp) and weight_name(op):
            yield op.array().size


def weight_name(op: Operation) -> str:
    """The name of a constant that the model stores; empty for one that an op stands for."""
    match op.location:
        case NameLoc() as location if not framework_type(location):
            return location.desc.data
        case _:
            return ""


def weights_not_finite(module: ModuleOp) -> list[str]:
    """Weights of an imported model that hold NaN, or infinities in a tensor of several elements.

    A single infinity is a bound or the fill of a mask, which models mean.
    """
    return [name for name, array in _arrays(module) if _is_suspicious(array)]


def _arrays(module: ModuleOp) -> Iterator[tuple[str, Array]]:
    for op in module.body.block.ops:
        if isinstance(op, nn.WeightOp) and is_float(op.tensor_type.element_type):
            if (array := in_memory(op)) is not None:
                yield op.symbol, array
    for op in main_of(module).body.block.ops:
        if isinstance(op, nn.ConstantOp) and (name := weight_name(op)):
            if is_float(element_of(op.result)):
                yield name, op.array()


def _is_suspicious(array: Array) -> bool:
    wrong = np.isnan(array) if array.size == 1 else ~np.isfinite(array)
    return bool(wrong.any())


# -- Stages -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class StageCost:
    """One stage of a segment: the target's estimate, by which it was cut, and the simulator's."""

    segment: str
    core: int
    estimated_us: float
    simulated_us: float = 0.0
    largest_op_us: float = 0.0
    """Simulated time on its busiest engine of the op that keeps one longest."""

    def describe(self) -> dict[str, Any]:
        return {key: round(v, 3) if type(v) is float else v for key, v in asdict(self).items()}


def stage_costs(module: ModuleOp, target: Target) -> list[StageCost]:
    """The stages that `partition-pipeline` has cut, in order."""
    costs: list[StageCost] = []
    for segment in segments_of(module):
        for stage in segment.block.ops:
            if not isinstance(stage, graph.StageOp):
                continue
            constants = constant_ops(stage.block.ops)
            end = stage.block.last_op
            row = profile(
                [op for op in stage.block.ops if op not in constants and op is not end],
                constants,
                target,
            )
            estimate = row.cost(0, len(row)) * MICROSECOND
            costs.append(StageCost(segment.label.data, stage.core.value.data, estimate))
    return costs


def with_simulation(stages: Sequence[StageCost], module: ModuleOp) -> list[StageCost]:
    """The stages with the simulated times of their cores, from the scheduled module."""
    times: dict[tuple[str, int], tuple[float, float]] = {}
    for op in module.body.block.ops:
        if isinstance(op, nc.ProgramOp):
            for core, time in enumerate(simulated_cores(op)):
                times[op.symbol, core] = time
    none = (0.0, 0.0)
    return [
        StageCost(s.segment, s.core, s.estimated_us, *times.get((s.segment, s.core), none))
        for s in stages
    ]


def simulated_cores(op: nc.ProgramOp) -> list[tuple[float, float]]:
    """Makespan, and the longest that one model op keeps an engine busy, of each core in us."""
    program = program_of(op)
    owners = {
        id(record): instruction.location
        for core, records in zip(op.cores, program.cores, strict=True)
        for instruction, (record, _) in zip(
            (inner for inner in core.walk() if isinstance(inner, nc.InstructionOp)),
            records.instructions(),
            strict=True,
        )
    }
    busy: list[dict[tuple[LocationAttr, str], float]] = [{} for _ in program.cores]

    def observe(core: int, _: str, record: Instruction, start: float, end: float) -> None:
        key = owners[id(record)], record.engine
        seconds = end - start if record.engine != "dma" else dma_share(record, machine)
        busy[core][key] = busy[core].get(key, 0.0) + seconds

    machine = MACHINES[program.target]
    timeline = simulate(program, machine, observe=observe)
    return [
        (core.makespan_us, max(used.values(), default=0.0) * MICROSECOND)
        for core, used in zip(timeline.cores, busy, strict=True)
    ]


def dma_share(record: Instruction, machine: Machine) -> float:
    """Seconds of all DMA engines that a transfer takes; it may overlap with others."""
    cost = dma_cost(record)
    engines = min(machine.dma_engines, cost.descriptors)
    return cost.seconds(engines, machine) * engines / machine.dma_engines


def pipeline_balance(stages: Sequence[StageCost], cores: int) -> dict[str, float]:
    """How near the pipeline is to the best that whole ops on so many cores could be, simulated.

    `bound_us` is the larger of an even share and the largest op, summed over segments, which follow
    each other; `gap` is what the slowest stage is above it, as a fraction.
    """
    bottleneck = bound = 0.0
    for label in dict.fromkeys(stage.segment for stage in stages):
        row = [stage for stage in stages if stage.segment == label]
        bottleneck += max(stage.simulated_us for stage in row)
        share = sum(stage.simulated_us for stage in row) / cores
        bound += max(share, *(stage.largest_op_us for stage in row))
    return {
        "bottleneck_us": round(bottleneck, 3),
        "bound_us": round(bound, 3),
        "gap": round(bottleneck / bound - 1, 4) if bound else 0.0,
    }


# -- The timeline -----------------------------------------------------------------------------


def profile_of(timelines: Sequence[Timeline], machine: Machine) -> dict[str, Any]:
    """Segments one after the other on the same cores, as `ranvier profile` reports them."""
    makespan = sum(timeline.makespan_us for timeline in timelines)
    interval = sum(timeline.interval_us for timeline in timelines)
    macs = sum(timeline.macs for timeline in timelines)
    engines: dict[str, dict[str, float]] = {}
    for timeline in timelines:
        for name, use in timeline.engines.items():
            entry = engines.setdefault(name, {"busy_us": 0.0, "instructions": 0})
            entry["busy_us"] += use.busy_us
            entry["instructions"] += use.instructions
    transfers = {
        "bytes": sum(timeline.dma.bytes for timeline in timelines),
        "busy_us": sum(timeline.dma.busy_us for timeline in timelines),
    }
    busy: Mapping[str, float] = {
        **{name: entry["busy_us"] for name, entry in engines.items()},
        "dma": transfers["busy_us"],
    }
    slots = PARTITIONS * machine.pe_columns * makespan / MICROSECOND * machine.pe_clock
    return {
        "makespan_us": makespan,
        "bound": max(busy, key=busy.__getitem__) if makespan else "host",
        "pe_utilisation": macs / slots if slots else 0.0,
        "macs_on_machine": macs,
        "engines": engines,
        "dma": transfers,
        "cores": [
            {"program": index, "core": number, "makespan_us": core.makespan_us, "macs": core.macs}
            for index, timeline in enumerate(timelines)
            for number, core in enumerate(timeline.cores)
        ],
        "throughput_per_s": MICROSECOND / interval if interval else 0.0,
        "latency_us": makespan,
        "basis": "documented-cost estimate",
    }
