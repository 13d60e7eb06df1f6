"""Costs of single instructions by hand, and timelines that can be told without running them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from calls import calls_of

from ranvier.backend.neuron.cost import DMA_LATENCY, cycles, dma_cost, seconds
from ranvier.backend.neuron.limits import INF1, INF2
from ranvier.backend.neuron.program import (
    SCRATCH,
    CoreProgram,
    Instruction,
    Loop,
    Operand,
    Program,
    Record,
)
from ranvier.backend.neuron.simulator import Timeline, simulate
from ranvier.dialects import nc
from ranvier.dialects.nc import Access, Wait
from ranvier.dialects.nc.types import ELEMENTS, Space

SBUF, PSUM, DRAM = Space.SBUF, Space.PSUM, Space.DRAM


def at(
    space: Space, partitions: int, size: int, element: str = "f32", dims: Any = None, depth: int = 0
) -> Operand:
    """An operand at address 0 with so many elements per partition."""
    dims = dims or ((1, size),)
    access = Access(0, partitions if space != DRAM else 0, 0, (0,) * depth, dims)
    memory = SCRATCH if space == DRAM else 0
    return Operand(space, memory, 0, ELEMENTS[element][0], access)


def matmul(
    k: int, m: int, n: int, element: str = "bf16", depth: int = 0, **more: Any
) -> Instruction:
    operands = {
        "dst": at(PSUM, m, n, depth=depth),
        "stationary": at(SBUF, k, m, element, depth=depth),
        "moving": at(SBUF, k, n, element, depth=depth),
    }
    return Instruction(nc.MatmulOp, operands, {"first_at": ()}, **more)


def vector(
    kind: type[nc.InstructionOp], views: dict[str, Operand], /, **fields: Any
) -> Instruction:
    return Instruction(kind, views, fields)


def three(n: int, lhs: Space, element: str) -> dict[str, Operand]:
    others = {"dst": at(SBUF, 128, n, element), "rhs": at(SBUF, 128, n, element)}
    return {**others, "lhs": at(lhs, 128, n, element)}


def two(n: int, element: str = "f32", source: str | None = None) -> dict[str, Operand]:
    return {"dst": at(SBUF, 128, n, element), "src": at(SBUF, 128, n, source or element)}


def reduction(n: int, element: str) -> dict[str, Operand]:
    return {"dst": at(SBUF, 128, 1, element), "src": at(SBUF, 128, n, element)}


TABLE = [
    (matmul(128, 128, 512), 512),
    (matmul(128, 128, 32), 64),
    (matmul(128, 16, 8), 16),
    (matmul(128, 128, 512, "f32"), 2048),
    (vector(nc.TransposeOp, {"dst": at(PSUM, 128, 128), "src": at(SBUF, 128, 128, "bf16")}), 128),
    (vector(nc.TransposeOp, {"dst": at(PSUM, 20, 16), "src": at(SBUF, 16, 20, "f32")}), 80),
    (vector(nc.ActivationOp, two(512), func="relu", scale=1.0), 512),
    (vector(nc.ActivationOp, two(3), func="relu", scale=1.0), 64),
    (vector(nc.ActivationOp, {**two(512), "sum": at(SBUF, 128, 1)}, func="exp", scale=1.0), 576),
    (vector(nc.TensorTensorOp, three(512, SBUF, "bf16"), op="add"), 512),
    (vector(nc.TensorTensorOp, three(512, SBUF, "bf16"), op="max"), 1024),
    (vector(nc.TensorTensorOp, three(512, SBUF, "f32"), op="add"), 1024),
    (vector(nc.TensorTensorOp, three(512, PSUM, "f32"), op="add"), 512),
    (vector(nc.TensorScalarOp, two(512), op0="add", scalar0=1.0), 512),
    (vector(nc.ReduceOp, reduction(512, "bf16"), op="max", axes=1), 256),
    (vector(nc.ReduceOp, reduction(512, "f32"), op="max", axes=1), 512),
    (vector(nc.ReduceOp, reduction(512, "bf16"), op="min", axes=1), 512),
    (vector(nc.CopyOp, two(300)), 300),
    (vector(nc.MemsetOp, {"dst": at(SBUF, 1, 512, "bf16")}, value=0.0), 256),
    (vector(nc.MemsetOp, {"dst": at(SBUF, 1, 512, "bf16")}, value=1.0), 512),
    (vector(nc.ReciprocalOp, two(100)), 800),
    (vector(nc.CopyPredicatedOp, {**two(100), "predicate": at(SBUF, 128, 100, "ui8")}), 200),
    (vector(nc.CopyPredicatedOp, {**two(100), "predicate": at(PSUM, 128, 100, "ui8")}), 100),
]


@pytest.mark.parametrize(("instruction", "expected"), TABLE)
def test_cycles_are_those_of_the_table(instruction: Instruction, expected: float) -> None:
    assert cycles(instruction, INF2) == expected


def test_every_instruction_has_a_cost() -> None:
    known = {instruction.op for instruction, _ in TABLE} | {nc.ScalarTensorTensorOp}
    engines = {op for op in nc.INSTRUCTIONS.values() if op.ENGINE != "dma"}
    assert engines == known


def test_a_narrow_array_takes_wide_outputs_in_parts() -> None:
    assert cycles(matmul(128, 128, 512), INF1) == 1024
    assert cycles(matmul(128, 64, 512), INF1) == 512


def load(n: int, queue: int = 0, partitions: int = 128, depth: int = 0, **more: Any) -> Instruction:
    operands = {
        "dst": at(SBUF, partitions, n, "bf16", depth=depth),
        "src": at(DRAM, 0, partitions * n, "bf16", depth=depth),
    }
    return Instruction(nc.DmaOp, operands, {"queue": queue}, **more)


def test_a_transfer_is_latency_then_bytes_and_descriptors() -> None:
    cost = dma_cost(load(1024))
    assert (cost.nbytes, cost.descriptors) == (128 * 2048, 128)
    expected = DMA_LATENCY + 8 * (2048 / 17e9 + 16e-9)
    assert seconds(load(1024), INF2) == pytest.approx(expected)


def test_short_runs_cost_a_burst_each() -> None:
    sparse = Instruction(
        nc.DmaOp,
        {"dst": at(SBUF, 128, 100, "bf16"), "src": at(DRAM, 0, 0, "bf16", ((300, 128), (3, 100)))},
        {},
    )
    cost = dma_cost(sparse)
    assert (cost.nbytes, cost.moved) == (128 * 200, 128 * 100 * 64)


def timeline(*records: Record, machine: Any = INF2, cores: int = 1, **options: Any) -> Timeline:
    core = CoreProgram((), 1 << 20, records)
    return simulate(Program(machine.name, (core,) * cores), machine, **options)


def test_one_stream_adds_up() -> None:
    result = timeline(*[matmul(128, 128, 512)] * 10)
    visible = 60 / 2.8e3
    assert result.makespan_us == pytest.approx(10 * 512 / 2.8e3 + visible)
    assert result.engines["pe"].instructions == 10
    assert result.macs == 10 * 128 * 128 * 512


def test_engines_overlap_unless_they_wait() -> None:
    act = vector(nc.ActivationOp, two(7000), func="relu", scale=1.0)
    dve = vector(nc.CopyOp, two(5600))
    free = timeline(act, dve)
    assert free.makespan_us == pytest.approx(5.0, rel=0.02)
    chained = timeline(act, replace(dve, waits=(Wait("act", 1, ()),)))
    assert chained.makespan_us == pytest.approx(10.0, rel=0.02)


def test_memory_ports_are_not_shared() -> None:
    act = vector(
        nc.ActivationOp,
        {"dst": at(SBUF, 128, 512), "src": at(PSUM, 128, 512)},
        func="relu",
        scale=1.0,
    )
    dve = vector(nc.CopyOp, {"dst": at(SBUF, 128, 512), "src": at(PSUM, 128, 512)})
    serial = timeline(act, dve)
    assert serial.makespan_us > timeline(act, dve, hazards=False).makespan_us


def test_waits_in_loops_move_with_their_turns() -> None:
    body = (
        load(512, depth=1),
        matmul(128, 128, 512, depth=1, waits=(Wait("q0", 1, (1,)),)),
    )
    result = timeline(Loop(20, body))
    assert result.engines["pe"].instructions == result.engines["dma"].instructions == 20
    assert result.makespan_us > result.dma.busy_us > 0


def test_queues_share_the_dma_engines() -> None:
    one = timeline(*[load(4096)] * 8)
    many = timeline(*[load(4096, queue) for queue in range(8)])
    assert many.makespan_us == pytest.approx(one.makespan_us, rel=0.01)
    assert one.makespan_us >= one.dma.busy_us
    assert one.dma.bytes == 8 * 128 * 8192


def test_time_is_monotone_in_clock_and_bandwidth() -> None:
    records = [
        record
        for step in range(1, 21)
        for record in (load(512), replace(matmul(128, 128, 512), waits=(Wait("q0", step, ()),)))
    ]
    base = timeline(*records).makespan_us
    assert timeline(*records, machine=replace(INF2, pe_clock=1e9)).makespan_us > base
    assert timeline(*records, machine=replace(INF2, dma_bytes_per_second=5e9)).makespan_us > base


def test_a_pipeline_has_a_latency_and_an_interval() -> None:
    single, double = timeline(matmul(128, 128, 512)), timeline(matmul(128, 128, 512), cores=2)
    assert double.makespan_us == pytest.approx(2 * single.makespan_us)
    assert double.interval_us == pytest.approx(single.interval_us)


def test_figures_of_inf1_are_marked_as_assumed() -> None:
    assert "pe_clock" in timeline(matmul(128, 64, 512), machine=INF1).assumed
    assert not timeline(matmul(128, 64, 512)).assumed


def test_the_work_is_linear_in_the_issues() -> None:
    """A hundred thousand issues take seconds; `benchmarks/linear.py` measures them."""
    body = (
        load(64, depth=2),
        matmul(128, 128, 64, depth=2, waits=(Wait("q0", 1, (250, 1)),)),
    )

    def calls(times: int) -> int:
        return calls_of(lambda: results.append(timeline(Loop(times, (Loop(250, body),)))))

    results: list[Timeline] = []
    assert calls(200) <= 11 * calls(20)
    instructions = [sum(use.instructions for use in r.engines.values()) for r in results]
    assert instructions == [100_000, 10_000]


def test_the_observer_sees_every_issue() -> None:
    seen: list[tuple[int, str, float, float]] = []
    timeline(
        Loop(3, (load(64, depth=1),)),
        observe=lambda core, stream, _, start, end: seen.append((core, stream, start, end)),
    )
    assert [entry[:2] for entry in seen] == [(0, "q0")] * 3
    assert all(start < end for _, _, start, end in seen)
