"""Segments are convex, complete, in order, deterministic, and as few as levels allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import pytest
from calls import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, NameLoc, NoneAttr, StringAttr, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ranvier.backend.reference import Executor
from ranvier.dialects import graph, nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import REASON, reason_attribute
from ranvier.dialects.nn.types import NARROW_FLOATS, element_of, tensor
from ranvier.passes.analysis.dataflow import constant_ops, main_block
from ranvier.passes.analysis.operators import count_operators, host_ops
from ranvier.passes.cast_bf16 import cast_bf16
from ranvier.passes.errors import PassError
from ranvier.passes.segment import segment
from ranvier.passes.segment.demotion import Thresholds
from ranvier.passes.simplify_shapes import simplify_shapes

F4 = tensor((4,), f32)


@dataclass
class ToyTarget:
    """Runs everything but the ops that it lacks."""

    lacks: tuple[type[Operation], ...] = (nn.ErfOp,)
    name: str = "toy"
    weight_capacity: int = 1 << 20
    max_cores: int = 4
    asked: list[str] = field(default_factory=list)

    def why_unsupported(self, op: Operation) -> Reason | None:
        self.asked.append(op.name)
        if isinstance(op, self.lacks):
            return Reason(Code.OP_NO_LOWERING, f"no instruction computes {op.name}")
        return None

    def cost(self, op: Operation) -> float:
        return 1.0

    def pipeline(self, cores: int) -> str:
        return ""


def named(op: Operation, name: str, kind: str) -> Operation:
    op.location = NameLoc(StringAttr(name), NameLoc(StringAttr(kind), NoneAttr()))
    return op


def module_of(ops: Sequence[Operation], main: FuncOp, outputs: Sequence[SSAValue]) -> ModuleOp:
    main.body.block.add_ops([*ops, ReturnOp(*outputs)])
    return ModuleOp([main])


# Per op: whether the host runs it, and how far back its two operands are.
PLANS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30
)


def build(plan: Sequence[tuple[bool, int, int]]) -> ModuleOp:
    """A module of one argument and one constant; `nn.erf` for the host, `nn.add` for the target."""
    main = FuncOp("main", ([F4], [F4, F4]))
    constant = nn.ConstantOp(np.array([1, 2, 3, 4], np.float32))
    values: list[SSAValue] = [constant.result, main.body.block.args[0]]
    ops: list[Operation] = [constant]
    for i, (host, a, b) in enumerate(plan):
        lhs, rhs = values[max(0, len(values) - 1 - a)], values[max(0, len(values) - 1 - b)]
        op: Operation = nn.ErfOp(lhs) if host else nn.AddOp(lhs, rhs)
        ops.append(named(op, f"op{i}", "Erf" if host else "Add"))
        values.append(op.results[0])
    return module_of(ops, main, [values[-1], values[len(values) // 2]])


def segments_of(module: ModuleOp) -> list[graph.SegmentOp]:
    block = main_block(module)
    assert block is not None
    return [op for op in block.ops if isinstance(op, graph.SegmentOp)]


def run(module: ModuleOp) -> dict[str, np.ndarray]:
    x = np.linspace(-1, 1, 4, dtype=np.float32)
    return Executor(module).run({"arg0": x})


@given(PLANS)
def test_the_program_means_the_same(plan):
    module = build(plan)
    expected = run(module)
    segment(module, ToyTarget())
    module.verify()
    for name, array in run(module).items():
        np.testing.assert_array_equal(array, expected[name])


@given(PLANS)
def test_everything_is_in_a_segment_and_host_ops_have_a_reason(plan):
    module = build(plan)
    segment(module, ToyTarget())
    block = main_block(module)
    assert all(isinstance(op, graph.SegmentOp | ReturnOp) for op in block.ops)
    for part in segments_of(module):
        constants = constant_ops(part.block.ops)
        for op in set(part.block.ops) - constants:
            if isinstance(op, nn.ErfOp):
                assert part.on_host
                assert op.attributes[REASON].data[0].data == "RV0201"
            elif isinstance(op, nn.AddOp):
                assert not part.on_host


@given(PLANS)
def test_segments_are_convex(plan):
    """No path leaves a segment and comes back: the graph of segments has no cycle."""
    module = build(plan)
    segment(module, ToyTarget())
    uses = nx.DiGraph()
    for part in segments_of(module):
        uses.add_node(part)
        uses.add_edges_from((v.owner, part) for v in part.inputs if isinstance(v.owner, Operation))
    assert nx.is_directed_acyclic_graph(uses)
    assert list(nx.lexicographical_topological_sort(uses, key=list(uses).index)) == list(uses)


@given(PLANS)
def test_segments_are_no_more_than_the_longest_alternation(plan):
    """Each device segment but the first needs a host op between it and the one before."""
    module = build(plan)
    constants = constant_ops(main_block(module).ops)
    ops = [op for op in list(main_block(module).ops)[:-1] if op not in constants]
    depth: dict[Operation, int] = {}
    for op in ops:
        before = [(depth[v.owner], v.owner) for v in op.operands if v.owner in depth]
        depth[op] = max(
            (d + (isinstance(op, nn.AddOp) and isinstance(o, nn.ErfOp)) for d, o in before),
            default=int(isinstance(op, nn.AddOp)),
        )
        if isinstance(op, nn.AddOp):
            depth[op] = max(1, depth[op])
    bound = max((depth[op] for op in ops if isinstance(op, nn.AddOp)), default=0)
    segment(module, ToyTarget())
    assert sum(not part.on_host for part in segments_of(module)) <= bound


@given(PLANS)
def test_the_same_module_gives_the_same_text(plan):
    first, second = build(plan), build(plan)
    segment(first, ToyTarget())
    segment(second, ToyTarget())
    assert str(first) == str(second)


@given(PLANS)
def test_every_framework_op_is_counted_once(plan):
    module = build(plan)
    segment(module, ToyTarget())
    counts = count_operators(module)
    assert counts.before == counts.on_neuron + counts.host
    assert counts.after == counts.host + counts.segments
    assert len(host_ops(module)) == counts.host


@given(PLANS)
def test_host_ops_compute_in_the_models_own_types(plan):
    """Casts are unwound: no narrow value in or between host segments; results stay close."""
    module = build(plan)
    expected = run(module)
    cast_bf16(module)
    simplify_shapes(module)
    segment(module, ToyTarget())
    module.verify()
    for part in segments_of(module):
        for value in (*part.inputs, *part.outputs):
            assert not isinstance(element_of(value), NARROW_FLOATS)
        if part.on_host:
            for op in part.block.ops:
                assert all(not isinstance(element_of(r), NARROW_FLOATS) for r in op.results)
    for name, array in run(module).items():
        scale = np.abs(expected[name]).max() + 1
        assert np.abs(array - expected[name]).max() <= 0.05 * scale * len(plan)


def test_small_segments_go_to_the_host_but_not_the_whole_graph():
    plan = [(False, 0, 0), (True, 0, 0), (False, 0, 0), (False, 0, 1)]
    module = build(plan)
    segment(module, ToyTarget(), thresholds=Thresholds(2))
    reasons = {op.name: op.code for op in host_ops(module)}
    assert reasons == {"op0": "RV0209", "op1": "RV0201"}
    whole = build([(False, 0, 0)])
    segment(whole, ToyTarget(), thresholds=Thresholds(2))
    assert count_operators(whole).on_neuron == 1


def reasons(module: ModuleOp) -> dict[str, str]:
    return {op.name: op.code for op in host_ops(module)}


def test_an_op_that_a_rule_forces_is_in_a_small_segment():
    plan = [(False, 0, 0), (True, 0, 0), (False, 0, 0), (False, 0, 1)]
    module = build(plan)
    segment(module, ToyTarget(), rules='neuron name == "op0"', thresholds=Thresholds(2))
    assert reasons(module) == {"op1": "RV0201"}


def test_one_large_segment_leaves_the_others_on_the_host():
    plan = [(False, 0, 0), (True, 0, 0), *[(False, 0, 1)] * 8]
    for ratio, expected in ((0.6, {"op0": "RV0214", "op1": "RV0201"}), (0.9, {"op1": "RV0201"})):
        module = build(plan)
        segment(module, ToyTarget(), thresholds=Thresholds(single_fusion_ratio=ratio))
        assert reasons(module) == expected


@dataclass
class WeighingTarget(ToyTarget):
    """Moving a byte takes a second; the host takes `host` seconds for an op, the target one."""

    host: float = 10.0

    def host_cost(self, op: Operation) -> float:
        return self.host

    def transfer_cost(self, nbytes: int) -> float:
        return float(nbytes)


def test_an_op_between_host_ops_is_left_there_if_moving_costs_more():
    """The segment of one op reads 16 bytes and writes 16: 32 seconds, to save `host - 1`."""
    plan = [(True, 0, 0), (False, 0, 0), (True, 0, 0)]
    for host, option, expected in ((32, True, 3), (34, True, 2), (32, False, 2)):
        module = build(plan)
        thresholds = Thresholds(weigh_transfers=option)
        segment(module, WeighingTarget(host=host), thresholds=thresholds)
        assert count_operators(module).host == expected
    found = build(plan)
    segment(found, WeighingTarget(host=32), thresholds=Thresholds(weigh_transfers=True))
    assert [op.reason for op in host_ops(found) if op.code == "RV0213"] == [
        "moving 32 bytes in and out takes 32000000.0 us, running on toy saves 31000000.0 us"
    ]
    with pytest.raises(PassError, match="no numbers for the host"):
        segment(build(plan), ToyTarget(), thresholds=Thresholds(weigh_transfers=True))


def test_constants_and_casts_of_ours_do_not_move():
    """A product of 16 bytes in and 16 out, whatever its weight has, and whatever it is cast to."""
    for host, on_host in ((17, [True, False, True]), (16, [True])):  # it saves 2 * (host - 1)
        main = FuncOp("main", ([tensor((1, 4), f32)], [tensor((1, 4), f32)]))
        weight = nn.ConstantOp(np.ones((4, 4), np.float32))
        first = nn.ErfOp(main.body.block.args[0])
        double = nn.AddOp(first.result, first.result)
        product = nn.MatmulOp(double.result, weight.result)
        last = nn.ErfOp(product.result)
        module = module_of([weight, first, double, product, last], main, [last.result])
        cast_bf16(module, mode="matmult")
        options = Thresholds(weigh_transfers=True)
        segment(module, WeighingTarget(host=host), thresholds=options)
        assert [part.on_host for part in segments_of(module)] == on_host


def test_a_rule_that_cannot_hold_is_an_error_that_says_why():
    module = build([(True, 0, 0)])
    with pytest.raises(PassError, match=r"rule line 1: nn\.erf at 'op0' .*: no instr") as caught:
        segment(module, ToyTarget(), rules="neuron nn.erf")
    assert caught.value.code is Code.RULE_IMPOSSIBLE


def test_a_stated_reason_keeps_an_op_on_the_host():
    module = build([(False, 0, 0), (False, 0, 0)])
    op = list(main_block(module).ops)[1]
    op.attributes[REASON] = reason_attribute(Reason(Code.OP_COMPILE_FAILED, "it failed"))
    segment(module, ToyTarget())
    assert reasons(module) == {"op0": "RV0212"}


def test_a_value_with_two_readers_and_an_op_with_equal_operands_cross_once():
    """op0 feeds the host op and, twice, op2: one result of seg0, one argument of each reader."""
    module = build([(False, 0, 0), (True, 0, 0), (False, 1, 1), (False, 0, 1)])
    segment(module, ToyTarget())
    module.verify()
    for part in segments_of(module):
        assert len(set(part.inputs)) == len(part.inputs)
        assert len(set(part.yielded)) == len(part.yielded)


@given(st.integers(0, 2**32))
@settings(max_examples=10)
def test_large_random_graphs(seed):
    """2000 ops: complete, on their sides, deterministic, no more device segments than runs."""
    random = np.random.default_rng(seed)
    share = random.choice([0.01, 0.1, 0.5])
    plan = [
        (bool(random.random() < share), int(random.integers(40)), int(random.integers(40)))
        for _ in range(2000)
    ]
    module, again = build(plan), build(plan)
    ops = list(main_block(module).ops)[1:-1]
    constants = constant_ops(main_block(module).ops)
    live = needed(ops, main_block(module).last_op) - constants
    bound = device_runs([op for op in ops if op in live])
    segment(module, ToyTarget())
    module.verify()
    parts = segments_of(module)
    placed = [(op, part.on_host) for part in parts for op in part.block.ops if op in live]
    assert {op for op, _ in placed} == live
    assert len(placed) == len(live)
    assert all(on_host == isinstance(op, nn.ErfOp) for op, on_host in placed)
    assert sum(not part.on_host for part in parts) == bound
    segment(again, ToyTarget())
    assert str(module) == str(again)


def needed(ops: Sequence[Operation], end: Operation) -> set[Operation]:
    """The ops that results depend on."""
    found = {v.owner for v in end.operands}
    for op in reversed(ops):
        if op in found:
            found |= {v.owner for v in op.operands}
    return found & set(ops)


def device_runs(ops: Sequence[Operation]) -> int:
    """The most runs of device ops on any path, which no placement can undercut.

    Per op, the most runs on a path that ends there: inside a run of the target, or after one.
    """
    runs: dict[SSAValue, tuple[bool, int]] = {}
    for op in ops:
        host = isinstance(op, nn.ErfOp)
        read = [runs[v] for v in op.operands if v in runs] or [(True, 0)]
        most = max(count + (after_host and not host) for after_host, count in read)
        runs[op.results[0]] = (host, most)
    return max((most for _, most in runs.values()), default=0)


def test_forbidden_fallback_names_ops_reasons_and_places():
    module = build([(False, 0, 0), (True, 0, 0)])
    with pytest.raises(PassError, match=r"nn\.erf at 'op1' \(Erf\): no instruction") as caught:
        segment(module, ToyTarget(), fallback="error")
    assert caught.value.code is Code.FALLBACK_FORBIDDEN


def test_constants_are_not_asked_about():
    target = ToyTarget()
    segment(build([(False, 0, 0)]), target)
    assert target.asked == ["nn.add"]


@pytest.mark.parametrize("period", [2, 1000])
@pytest.mark.parametrize("size", [1_000, pytest.param(5_000, marks=pytest.mark.slow)])
def test_the_work_is_linear(size, period):
    """At most 11 times the calls for 10 times the ops; `benchmarks/linear.py` has the seconds."""

    def calls(count: int) -> int:
        module = build([(i % period == 0, i % 3, 1) for i in range(count)])
        return calls_of(lambda: segment(module, ToyTarget()))

    calls(10)  # what is imported once
    assert calls(10 * size) <= 11 * calls(size)


def test_the_work_is_linear_however_many_read_a_value():
    """One argument, one constant and one result that every op reads; a result that reads all."""

    def calls(count: int) -> int:
        main = FuncOp("main", ([F4], [F4]))
        x = main.body.block.args[0]
        constant = nn.ConstantOp(np.array([1, 2, 3, 4], np.float32))
        first = nn.AddOp(x, constant.result)
        ops: list[Operation] = [constant, first]
        for i in range(count):
            ops.append(nn.ErfOp(first.result) if i % 3 else nn.AddOp(x, constant.result))
        joined = nn.ConcatOp(*[op.results[0] for op in ops[1:]], axis=0)
        module = module_of([*ops, joined], main, [joined.result])
        return calls_of(lambda: segment(module, ToyTarget()))

    calls(10)
    assert calls(10_000) <= 11 * calls(1_000)
