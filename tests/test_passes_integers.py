"""`legalize` narrows i64 to i32 exactly where the values are proven to fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    DictionaryAttr,
    ModuleOp,
    f32,
    i1,
    i32,
    i64,
)
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue

from ranvier.backend.reference import Executor
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import element_of, element_type_of, tensor
from ranvier.dialects.weights import STORE
from ranvier.passes.analysis.dataflow import main_block
from ranvier.passes.legalize import legalize
from ranvier.passes.legalize.integers import CHECKED, RANGE, narrow_integers

Array = np.ndarray[Any, np.dtype[Any]]
Build = Callable[..., Sequence[Operation]]

IDS = np.array([[3, -1, 0], [2, 2, 1]])
TABLE = np.arange(20, dtype=np.float32).reshape(5, 4)
LARGE = (1 << 40) + np.arange(3)


def module_of(
    build: Build, arrays: Sequence[Array], ranges: Sequence[tuple[int, int] | None] = ()
) -> ModuleOp:
    types = [tensor(array.shape, element_type_of(array.dtype)) for array in arrays]
    block = Block(arg_types=types)
    ops = build(*block.args)
    block.add_ops([*ops, ReturnOp(ops[-1].results[0])])
    main = FuncOp("main", (types, [ops[-1].results[0].type]), Region(block))
    if ranges:
        main.arg_attrs = ArrayAttr(
            DictionaryAttr({} if r is None else {RANGE: DenseArrayBase.from_list(i64, r)})
            for r in ranges
        )
    return ModuleOp([main])


@dataclass(frozen=True)
class ToyTarget:
    """Lacks some ops on i32, and has all others."""

    lacks: tuple[type[Operation], ...] = ()
    name: str = "toy"
    weight_capacity: int = 1 << 20
    max_cores: int = 1

    def why_unsupported(self, op: Operation) -> Reason | None:
        if isinstance(op, self.lacks):
            return Reason(Code.OP_NO_LOWERING, f"no instruction computes {op.name}")
        return None

    def cost(self, op: Operation) -> float:
        return 1.0

    def pipeline(self, cores: int) -> str:
        return ""


def narrowed(
    build: Build,
    *arrays: Array,
    ranges: Sequence[tuple[int, int] | None] = (),
    target: ToyTarget = ToyTarget(),
) -> list[Operation]:
    """The ops after narrowing, which keeps the results and their types."""
    module = module_of(build, arrays, ranges)
    inputs = {f"arg{i}": array for i, array in enumerate(arrays)}
    before = list(Executor(module).run(inputs).values())
    narrow_integers(module, lambda op: target.why_unsupported(op) is None)
    module.verify()
    after = list(Executor(module).run(inputs).values())
    for x, y in zip(before, after, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    block = main_block(module)
    assert block is not None
    return list(block.ops)


def wide(ops: Sequence[Operation]) -> list[str]:
    """The ops, casts and the end apart, that still compute on i64."""
    return [
        op.name
        for op in ops
        if not isinstance(op, nn.CastOp | ReturnOp)
        and any(element_of(value) == i64 for value in (*op.operands, *op.results))
    ]


def test_an_input_keeps_its_type_and_is_cast_once_at_the_edge() -> None:
    def twice(table: SSAValue, ids: SSAValue) -> Sequence[Operation]:
        first, second = (nn.GatherOp(table, ids, axis=0) for _ in range(2))
        return [first, second, nn.AddOp(first.result, second.result)]

    first, *rest = narrowed(twice, TABLE, IDS)
    assert isinstance(first, nn.CastOp)
    assert CHECKED in first.attributes
    assert element_of(first.operand) == i64
    assert not wide(rest)
    assert [op.name for op in rest] == ["nn.gather", "nn.gather", "nn.add", "func.return"]


def test_what_the_target_lacks_keeps_the_types_of_the_model() -> None:
    def build(table: SSAValue, ids: SSAValue) -> Sequence[Operation]:
        return [nn.GatherOp(table, ids, axis=0)]

    assert wide(narrowed(build, TABLE, IDS, target=ToyTarget((nn.GatherOp,)))) == ["nn.gather"]


def plus(amount: Array) -> Build:
    def build(ids: SSAValue) -> Sequence[Operation]:
        constant = nn.ConstantOp(amount)
        return [constant, nn.AddOp(ids, constant.result)]

    return build


def test_a_sum_is_narrowed_only_if_its_range_is_declared() -> None:
    """An input may be anything in i32, so that a sum with it may leave i32."""
    one = np.array(1)
    assert wide(narrowed(plus(one), IDS)) == ["nn.constant", "nn.add"]
    assert wide(narrowed(plus(one), IDS, ranges=[(-5, 5)])) == []


def test_constants_beyond_i32_stay() -> None:
    assert "nn.add" in wide(narrowed(plus(LARGE), IDS, ranges=[(-5, 5)]))


def test_sizes_bound_positions() -> None:
    def build(x: SSAValue) -> Sequence[Operation]:
        place = nn.ArgMaxOp(x, axis=1, keepdims=False, last=False)
        last = nn.ConstantOp(np.array(3))
        return [place, last, nn.EqualOp(place.result, last.result)]

    ops = narrowed(build, TABLE)
    assert wide(ops) == []
    assert element_of(ops[-2].operands[0]) == i32


def test_the_best_of_floats_stand_at_places_of_i32() -> None:
    def build(x: SSAValue) -> Sequence[Operation]:
        best = nn.TopKOp(x, axis=1, k=2, largest=True)
        return [best, nn.GatherElementsOp(x, best.indices, axis=1)]

    assert wide(narrowed(build, TABLE)) == []


def test_values_of_i32_have_their_own_bounds() -> None:
    """Positions counted from a mask, as RoBERTa numbers its tokens: of i32 and i64 by turns."""

    def build(mask: SSAValue) -> Sequence[Operation]:
        ops: list[nn.types.TensorOp] = [nn.CastOp(mask, i32)]
        ops.append(nn.CastOp(ops[0].results[0], i64))
        ops.append(nn.CumSumOp(ops[-1].results[0], axis=1, exclusive=False, reverse=False))
        ops.append(nn.CastOp(ops[-1].results[0], i32))
        ops.append(nn.MulOp(ops[-1].results[0], ops[0].results[0]))
        ops.append(nn.CastOp(ops[-1].results[0], i64))
        one = nn.ConstantOp(np.array(1))
        return [*ops, one, nn.AddOp(ops[-1].results[0], one.result)]

    assert wide(narrowed(build, np.array([[True, False, True], [True, True, True]]))) == []


def test_a_product_of_i32_that_wraps_around_proves_nothing() -> None:
    def build(x: SSAValue) -> Sequence[Operation]:
        product = nn.MulOp(x, x)
        whole = nn.CastOp(product.result, i64)
        return [product, whole, nn.AddOp(whole.result, whole.result)]

    assert wide(narrowed(build, np.array([1 << 16], np.int32))) == ["nn.add"]


def test_an_op_that_decomposes_into_i32_is_narrowed() -> None:
    ids = np.array([[3, -1], [2, 1]])
    module = module_of(lambda x: [nn.TriluOp(x, upper=True, diagonal=0)], [ids])
    legalize(module, ToyTarget(lacks=(nn.TriluOp,)))
    selected = [op for op in module.walk() if isinstance(op, nn.SelectOp)]
    assert [element_of(op.result) for op in selected] == [i32]
    np.testing.assert_array_equal(Executor(module).run({"arg0": ids})["result0"], np.triu(ids))


CHAINS: dict[str, Callable[[SSAValue], nn.types.TensorOp]] = {
    "mul": lambda x: nn.MulOp(x, x),
    "neg": nn.NegOp,
    "abs": nn.AbsOp,
    "max": lambda x: nn.MaxOp(x, x),
    "reduce_sum": lambda x: nn.ReduceSumOp(x, axes=(0, 1), keepdims=False),
    "reshape": lambda x: nn.ReshapeOp(x, shape=(3, 2)),
    "concat": lambda x: nn.ConcatOp(x, x, axis=0),
    "to_float": lambda x: nn.CastOp(x, f32),
    "to_bool": lambda x: nn.CastOp(x, i1),
    "pad": lambda x: nn.PadOp(x, low=(1, 0), high=(0, 2), mode="constant", value=7.0),
}


@pytest.mark.parametrize("name", CHAINS)
def test_ops_on_proven_values_are_narrowed(name: str) -> None:
    assert wide(narrowed(lambda x: [CHAINS[name](x)], IDS, ranges=[(-100, 100)])) == []


def test_a_product_that_may_leave_i32_stays() -> None:
    assert wide(narrowed(lambda x: [nn.MulOp(x, x)], IDS, ranges=[(0, 1 << 16)])) == ["nn.mul"]


@pytest.mark.parametrize(
    ("bounds", "stays"),
    [({"low": 0.0, "high": 4.0}, []), ({"high": float(1 << 31)}, ["nn.clamp"])],
)
def test_a_clamp_of_any_i32_is_narrowed_if_i32_has_its_bounds(
    bounds: dict[str, float], stays: list[str]
) -> None:
    assert wide(narrowed(lambda x: [nn.ClampOp(x, **bounds)], IDS)) == stays


def test_casts_from_floats_prove_nothing() -> None:
    def build(x: SSAValue) -> Sequence[Operation]:
        whole = nn.CastOp(x, i64)
        return [whole, nn.NegOp(whole.result)]

    assert wide(narrowed(build, TABLE)) == ["nn.neg"]


@pytest.mark.parametrize(("values", "stays"), [(np.arange(200), []), (LARGE, ["nn.mul"])])
def test_weights_of_integers_are_read(values: Array, stays: list[str]) -> None:
    def build(x: SSAValue) -> Sequence[Operation]:
        load = nn.LoadWeightOp("w", tensor(values.shape, i64))
        truth = nn.CastOp(x, i64)
        return [load, truth, nn.MulOp(load.result, truth.result)]

    module = module_of(build, [np.ones(len(values), np.bool_)])
    weight = nn.WeightOp("w", tensor(values.shape, i64), array=STORE.register(values))
    module.body.block.insert_op_before(weight, module.body.block.ops.first)
    narrow_integers(module, lambda op: True)
    module.verify()
    block = main_block(module)
    assert block is not None
    computing = [op for op in block.ops if not isinstance(op, nn.LoadWeightOp)]
    assert wide(computing) == stays
