"""Every pass keeps what a random program means, and every location of its live ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, NameLoc, NoneAttr, StringAttr, bf16, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ranvier.backend.reference import Executor
from ranvier.dialects import graph, nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import NARROW_FLOATS, element_of, tensor
from ranvier.passes.analysis.dataflow import is_constant_source, main_block
from ranvier.passes.analysis.operators import count_operators, framework_ops
from ranvier.passes.cast_bf16 import MODES, cast_bf16
from ranvier.passes.fold_batch_norm import fold_batch_norm
from ranvier.passes.fold_constants import fold_constants
from ranvier.passes.legalize import legalize
from ranvier.passes.partition_pipeline import partition_pipeline
from ranvier.passes.segment import segment
from ranvier.passes.simplify_shapes import simplify_shapes

LACKS = (nn.SiluOp, nn.BatchNormOp, nn.SinOp, nn.SoftmaxOp, nn.GatherOp)


@dataclass(frozen=True)
class ToyTarget:
    """Lacks some ops that decompose and one, the sine, that does not."""

    name: str = "toy"
    weight_capacity: int = 1 << 20
    max_cores: int = 4

    def why_unsupported(self, op: Operation) -> Reason | None:
        if isinstance(op, LACKS):
            return Reason(Code.OP_NO_LOWERING, f"no instruction computes {op.name}")
        return None

    def cost(self, op: Operation) -> float:
        return 1.0

    def pipeline(self, cores: int) -> str:
        return ""


TARGET = ToyTarget()
SHAPE = (2, 4, 3, 3)


def conv(x: SSAValue) -> Operation:
    weight = nn.ConstantOp(np.linspace(-0.5, 0.5, 16, dtype=np.float32).reshape(4, 4, 1, 1))
    return nn.ConvOp(x, weight, strides=(1, 1), padding=(0,) * 4, dilations=(1, 1), groups=1)


def batch_norm(x: SSAValue) -> Operation:
    statistics = [nn.ConstantOp(np.linspace(a, 1.5, 4, dtype=np.float32)) for a in (0.5, -1, 0, 1)]
    return nn.BatchNormOp(x, *statistics, epsilon=1e-3)


def weighted(x: SSAValue) -> Operation:
    load = nn.LoadWeightOp("w", tensor((4, 1), f32))
    doubled = nn.MulOp(load, nn.ConstantOp(np.array(2, np.float32)))
    return nn.MulOp(x, nn.ReshapeOp(doubled, shape=(1, 4, 1, 1)))


def shuffled(x: SSAValue) -> Operation:
    return nn.TransposeOp(nn.ReshapeOp(x, shape=(2, 4, 9, 1)), permutation=(0, 1, 2, 3))


def reshaped(x: SSAValue) -> Operation:
    return nn.ReshapeOp(x, shape=SHAPE)


STEPS: tuple[Callable[[SSAValue], Operation], ...] = (
    conv,
    batch_norm,
    weighted,
    lambda x: reshaped(shuffled(x).results[0]),
    nn.TanhOp,
    nn.SiluOp,
    nn.SinOp,
    lambda x: nn.SoftmaxOp(x, axis=1),
    lambda x: nn.MulOp(x, nn.ConstantOp(np.full((1, 4, 1, 1), 0.5, np.float32))),
    lambda x: nn.AddOp(nn.ConstantOp(np.full((4, 1, 1), 0.25, np.float32)), x),
    lambda x: nn.CastOp(nn.CastOp(x, bf16), f32),
)

# Per step: which op, and how far back the value is that its result is added to.
PLANS = st.lists(
    st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 4)), min_size=1, max_size=12
)


def build(plan: Sequence[tuple[int, int]]) -> ModuleOp:
    main = FuncOp("main", ([tensor(SHAPE, f32)], [tensor(SHAPE, f32)] * 2))
    block = main.body.block
    values: list[SSAValue] = [block.args[0]]
    for i, (step, back) in enumerate(plan):
        op = STEPS[step](values[-1])
        for part in in_order(op):
            part.location = NameLoc(StringAttr(f"op{i}"), NoneAttr())
            block.add_op(part)
        values.append(op.results[0])
        if back < len(values) - 1 and back:
            total = nn.AddOp(values[-1], values[-1 - back])
            total.location = NameLoc(StringAttr(f"sum{i}"), NoneAttr())
            block.add_op(total)
            values.append(total.result)
    block.add_op(ReturnOp(values[-1], values[len(values) // 2]))
    weight = nn.WeightOp("w", tensor((4, 1), f32), seed=3)
    return ModuleOp([weight, main])


def in_order(op: Operation) -> list[Operation]:
    """An op and what it reads that is in no block yet, operands first."""
    parts: list[Operation] = []
    for operand in op.operands:
        if isinstance(operand.owner, Operation) and operand.owner.parent is None:
            parts += [part for part in in_order(operand.owner) if part not in parts]
    return [*parts, op]


def run(module: ModuleOp) -> dict[str, np.ndarray]:
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    return Executor(module).run({"arg0": x})


def assert_close(actual, expected, tolerance):
    for name, array in actual.items():
        scale = np.abs(expected[name]).max() + 1e-3
        assert array.dtype == expected[name].dtype
        assert np.abs(array - expected[name]).max() <= tolerance * scale


PASSES: dict[str, Callable[[ModuleOp], None]] = {
    "fold-constants": fold_constants,
    "simplify-shapes": simplify_shapes,
    "fold-batch-norm": fold_batch_norm,
    "legalize": lambda module: legalize(module, TARGET),
    "cast-bf16 none": lambda module: cast_bf16(module, mode="none"),
    "segment": lambda module: segment(module, TARGET),
}


@pytest.mark.parametrize("name", PASSES)
@given(PLANS)
def test_a_pass_keeps_the_meaning(name, plan):
    module = build(plan)
    # Models round to bf16 themselves: a last bit before that is a bit of bf16 after it.
    tolerance = 0.02 if any(STEPS[step] is STEPS[-1] for step, _ in plan) else 1e-4
    expected = run(module)
    PASSES[name](module)
    module.verify()
    assert_close(run(module), expected, tolerance)


def whole_pipeline(module: ModuleOp, mode: str, cores: int) -> None:
    for step in (fold_constants, simplify_shapes, fold_batch_norm, fold_constants):
        step(module)
    legalize(module, TARGET)
    cast_bf16(module, mode=mode)
    simplify_shapes(module)
    segment(module, TARGET)
    fold_constants(module)
    partition_pipeline(module, TARGET, cores=cores)


@given(PLANS, st.sampled_from(list(MODES)), st.integers(1, 4))
def test_the_pipeline_keeps_the_meaning_within_the_casts(plan, mode, cores):
    module = build(plan)
    expected = run(module)
    whole_pipeline(module, mode, cores)
    module.verify()
    assert_close(run(module), expected, 0.02 * (len(plan) + 2))


@given(PLANS)
def test_every_live_framework_op_is_counted_to_the_end(plan):
    module = build(plan)
    simplify_shapes(module)
    named = {part for op in module.walk() for part in framework_ops(op)}
    counts = []
    for cores in (1, 3):
        copy = module.clone()
        whole_pipeline(copy, "all", cores)
        counts.append(count_operators(copy))
    assert counts[0] == counts[1]
    assert counts[0].before == counts[0].on_neuron + counts[0].host <= len(named)


@given(PLANS)
def test_no_op_of_the_model_loses_its_location(plan):
    module = build(plan)
    whole_pipeline(module, "all", 2)
    for op in module.walk():
        if op.dialect_name() == "nn" and not isinstance(op, nn.WeightOp | nn.YieldOp):
            assert framework_ops(op), op


@given(PLANS)
def test_host_segments_have_no_casts_of_ours(plan):
    module = build(plan)
    whole_pipeline(module, "all", 1)
    for part in module.walk():
        if isinstance(part, graph.SegmentOp) and part.on_host:
            assert not any(isinstance(op, nn.CastOp) and op.implicit for op in part.block.ops)


def test_products_accumulate_in_f32_in_every_mode():
    for mode, (narrow, _) in MODES.items():
        module = build([(0, 0)])
        cast_bf16(module, mode=mode)
        (product,) = (op for op in module.walk() if isinstance(op, nn.ConvOp))
        assert element_of(product.operand) == narrow
        assert element_of(product.result) == f32


def test_batch_norms_leave_no_trace_after_convolutions():
    module = build([(0, 0), (1, 0), (8, 0), (9, 0), *[(4, 0)] * 4])
    for step in (fold_constants, fold_batch_norm, fold_constants):
        step(module)
    names = [op.name for op in main_block(module).ops if not is_constant_source(op)]
    assert names == ["nn.conv", *["nn.tanh"] * 4, "func.return"]
    (folded,) = (op for op in module.walk() if isinstance(op, nn.ConvOp))
    assert [part.desc.data for part in framework_ops(folded)] == ["op0", "op1", "op2", "op3"]


def test_weights_round_once():
    """A cast of a folded weight takes over the body: no f32 weight lies between."""
    module = build([(2, 0)])
    fold_constants(module)
    cast_bf16(module)
    fold_constants(module)
    derived = [op for op in module.body.block.ops if isinstance(op, nn.WeightOp) and op.body.blocks]
    assert [isinstance(op.tensor_type.element_type, NARROW_FLOATS) for op in derived] == [True]
