"""Cuts are optimal for the order of ops, the program means the same, and limits are errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pytest
from calls import calls_of
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ranvier.backend.neuron.target import INF2
from ranvier.backend.reference import Executor
from ranvier.dialects import graph, nn
from ranvier.dialects.nn.types import tensor
from ranvier.passes.errors import PassError
from ranvier.passes.partition_pipeline import partition_pipeline, profile
from ranvier.passes.partition_pipeline.balance import Profile, bottleneck, cut
from ranvier.passes.segment import segment

F4 = tensor((4,), f32)


@dataclass(frozen=True)
class ToyTarget:
    """Runs everything; an op costs what its position says."""

    name: str = "toy"
    weight_capacity: int = 100
    max_cores: int = 16

    def why_unsupported(self, op: Operation) -> None:
        return None

    def cost(self, op: Operation) -> float:
        return 3.0 if isinstance(op, nn.MulOp) else 1.0

    def pipeline(self, cores: int) -> str:
        return ""


PROFILES = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 80), st.integers(0, 5)), min_size=1, max_size=9
)


def profile_of(rows: Sequence[tuple[int, int, int]]) -> Profile:
    seconds, weights, crossing = zip(*rows, strict=True)
    return Profile(seconds, weights, crossing, capacity=100, seconds_per_byte=0.125)


def all_cuts(count: int, stages: int) -> list[list[int]]:
    return [
        [0, *bounds, count]
        for size in range(min(stages, count))
        for bounds in combinations(range(1, count), size)
    ]


@given(PROFILES, st.integers(1, 5))
def test_the_cut_is_the_best_of_all(rows, stages):
    costs = profile_of(rows)

    def worst(bounds: Sequence[int]) -> float:
        return max(costs.cost(low, high) for low, high in pairwise(bounds))

    def traffic(bounds: Sequence[int]) -> int:
        return sum(costs.crossing[i] for i in bounds[1:-1])

    cuts = all_cuts(len(rows), stages)
    best = min(worst(bounds) for bounds in cuts)
    chosen = cut(costs, stages)
    assert chosen in cuts
    assert worst(chosen) == bottleneck(costs, stages) == best
    assert traffic(chosen) == min(traffic(b) for b in cuts if worst(b) == best)


@given(st.lists(st.floats(1e-9, 1e-3), min_size=1, max_size=40), st.integers(1, 8))
def test_the_bottleneck_of_real_costs_is_achieved(seconds, stages):
    zeros = [0] * len(seconds)
    costs = Profile(seconds, zeros, zeros, capacity=0, seconds_per_byte=0.0)
    bounds = cut(costs, stages)
    assert len(bounds) - 1 <= stages
    worst = max(costs.cost(a, b) for a, b in pairwise(bounds))
    # Differences of prefix sums round in the last place.
    assert worst == pytest.approx(bottleneck(costs, stages), rel=1e-12)


def build(plan: Sequence[tuple[bool, int]]) -> ModuleOp:
    """Adds and muls of one of the last values and the last one, and of a constant."""
    main = FuncOp("main", ([F4], [F4, F4]))
    block = main.body.block
    constant = nn.ConstantOp(np.array([0.5, 1, 1.5, 0.25], np.float32))
    block.add_op(constant)
    values: list[SSAValue] = [constant.result, block.args[0]]
    for multiply, back in plan:
        operand = values[max(0, len(values) - 1 - back)]
        op = (nn.MulOp if multiply else nn.AddOp)(values[-1], operand)
        block.add_op(op)
        values.append(op.result)
    block.add_op(ReturnOp(values[-1], values[len(values) // 2]))
    return ModuleOp([main])


PLANS = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=20)


def run(module: ModuleOp) -> dict[str, np.ndarray]:
    return Executor(module).run({"arg0": np.array([-1, 0.5, 0.25, 2], np.float32)})


@given(PLANS, st.integers(1, 16))
def test_the_program_means_the_same_on_any_number_of_cores(plan, cores):
    module = build(plan)
    expected = run(module)
    segment(module, ToyTarget())
    partition_pipeline(module, ToyTarget(), cores=cores)
    module.verify()
    for name, array in run(module).items():
        np.testing.assert_array_equal(array, expected[name])


@given(PLANS, st.integers(1, 16))
def test_a_value_is_sent_once_to_each_core_that_reads_it(plan, cores):
    module = build(plan)
    segment(module, ToyTarget())
    partition_pipeline(module, ToyTarget(), cores=cores)
    sent = [
        (op.operand, op.destination.value.data)
        for op in module.walk()
        if isinstance(op, graph.TransferOp)
    ]
    assert len(sent) == len(set(sent))
    stages = [op.core.value.data for op in module.walk() if isinstance(op, graph.StageOp)]
    per_segment = sum(isinstance(op, graph.SegmentOp) and not op.on_host for op in module.walk())
    assert stages.count(0) == per_segment
    assert max(stages, default=0) < cores


def test_more_cores_than_ops_give_fewer_stages():
    module = build([(False, 0), (True, 1)])
    segment(module, ToyTarget())
    partition_pipeline(module, ToyTarget(), cores=16)
    stages = [op for op in module.walk() if isinstance(op, graph.StageOp)]
    assert [stage.core.value.data for stage in stages] == [0, 1]


@pytest.mark.parametrize("cores", [0, 17])
def test_cores_beyond_the_target_are_an_error(cores):
    with pytest.raises(PassError, match="1 to 16 cores"):
        partition_pipeline(build([(False, 0)]), ToyTarget(), cores=cores)


def test_weights_beyond_a_core_move_to_another():
    """Each weight fits a core, two do not: the cut follows the weights, not the equal costs."""
    rows = [(1, 80, 0), (1, 80, 0), (1, 0, 0), (1, 0, 0), (1, 0, 0), (1, 0, 0)]
    assert cut(profile_of(rows), 2)[1] == 1


def lookup(rows: int) -> tuple[nn.LoadWeightOp, nn.GatherOp]:
    """A table, and two rows picked from it."""
    table = nn.LoadWeightOp("table", tensor((rows, 4), f32))
    indices = nn.ConstantOp(np.array([1, 5], np.int32))
    return table, nn.GatherOp(table.result, indices.result, axis=0)


def test_the_table_of_a_lookup_stays_in_dram():
    """It takes no room on the core, unless another op reads the same weight as a whole."""
    table, gather = lookup(1000)
    whole = nn.AddOp(table.result, table.result)
    assert profile([gather], {table}, ToyTarget()).weights == [0]
    assert profile([gather, whole], {table}, ToyTarget()).weights == [0, 16000]


def test_a_lookup_costs_the_rows_that_it_picks():
    assert INF2.cost(lookup(30000)[1]) == INF2.cost(lookup(300)[1])


def test_the_work_for_sixteen_cores_is_linear():
    """At most 11 times the calls for 10 times the ops; `benchmarks/linear.py` has the seconds."""

    def calls(count: int) -> int:
        module = build([(i % 7 == 0, i % 5) for i in range(count)])
        segment(module, ToyTarget())
        return calls_of(lambda: partition_pipeline(module, ToyTarget(), cores=16))

    calls(100)  # what is imported once
    assert calls(10_000) <= 11 * calls(1_000)
