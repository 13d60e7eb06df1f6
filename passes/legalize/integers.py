"""Narrow i64 to i32 where the values are proven to fit.

Before: `nn.gather %table, %ids` with `%ids : tensor<5x32xi64>`, an input of the program.
After:  the same on `nn.cast %ids {to = i32} {ranvier.checked}`; the input keeps its type.

Proofs are intervals: of constants, of the sizes that positions stay below, of narrower types, and
of ops on all these. An input lies in the interval that its attribute `ranvier.range` states, or
else in that of i32; whoever runs the program checks it, at the casts that are marked as checked. An
op is narrowed if all of its i64 operands and results are proven; others keep i64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import product
from typing import TypeAlias

import numpy as np
from xdsl.dialects.builtin import DenseArrayBase, ModuleOp, UnitAttr, i1, i8, i32, i64
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Block, BlockArgument, Operation, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import CallerError
from ranvier.dialects.interfaces import Array, ints
from ranvier.dialects.nn.materialize import Weights
from ranvier.dialects.nn.shape import MovementOp
from ranvier.dialects.nn.types import TensorOp, element_of, is_float, shape_of, size_of, tensor, ui8
from ranvier.passes.analysis.dataflow import main_block, remove_dead_ops

RANGE, CHECKED = "ranvier.range", "ranvier.checked"

Interval: TypeAlias = tuple[int, int]
Rule: TypeAlias = "Callable[[TensorOp, list[Interval]], Interval]"

I32: Interval = (-(1 << 31), (1 << 31) - 1)
OF_TYPE: dict[Attribute, Interval] = {i1: (0, 1), i8: (-128, 127), ui8: (0, 255), i32: I32}


def narrow_integers(module: ModuleOp, runs: Callable[[Operation], bool]) -> None:
    """Rewrite every op of `@main` whose i64 values fit i32, if the target runs it on i32.

    `runs` says so of an op that is in no block.
    """
    if (block := main_block(module)) is not None:
        Narrowing(block, Weights(module), runs).run()
        remove_dead_ops(block)


class Narrowing:
    """One walk over a block: the interval of each integer, and the i32 twin of each i64 value."""

    def __init__(self, block: Block, weights: Weights, runs: Callable[[Operation], bool]) -> None:
        self._block = block
        self._runs = runs
        self._weights = weights
        self._intervals: dict[SSAValue, Interval] = {}
        self._twins: dict[SSAValue, SSAValue] = {}

    def run(self) -> None:
        for argument in self._block.args:
            if element_of(argument) == i64:
                self._intervals[argument] = declared_range(argument)
        for op in list(self._block.ops):
            if isinstance(op, nn.LoadWeightOp) and element_of(op.result) == i64:
                self._learn(op)
            if not isinstance(op, TensorOp) or isinstance(op, nn.ConstantOp):
                continue
            for result in op.results:
                if (interval := self._proven(op, result)) is not None:
                    self._intervals[result] = interval
            if self._gains(op):
                self._narrow(op)

    def _learn(self, op: nn.LoadWeightOp) -> None:
        """The interval of a weight of integers, if its bytes are here."""
        with suppress(CallerError):
            if (interval := bounds_of(self._weights.array(op.symbol))) is not None:
                self._intervals[op.result] = interval

    def _interval(self, value: SSAValue) -> Interval | None:
        if (known := self._intervals.get(value)) is not None:
            return known
        if isinstance(value.owner, nn.ConstantOp):
            return bounds_of(value.owner.array())
        return OF_TYPE.get(element_of(value))

    def _proven(self, op: TensorOp, result: SSAValue) -> Interval | None:
        """The interval of a result of i64 or i32, if it is known and inside that of i32."""
        if element_of(result) not in (i64, i32) or not size_of(result):
            return None
        rule = next((RULES[kind] for kind in type(op).__mro__ if kind in RULES), None)
        operands = [self._interval(operand) for operand in counted(op)]
        known = [interval for interval in operands if interval is not None]
        if rule is None or len(known) < len(operands):
            return None
        low, high = rule(op, known)
        return (low, high) if I32[0] <= low and high <= I32[1] else None

    def _gains(self, op: TensorOp) -> bool:
        """Whether the op has i64 values, and all of them may be i32."""
        values = [value for value in (*op.operands, *op.results) if element_of(value) == i64]
        fits = [self._interval(value) is not None for value in values]
        if isinstance(op, nn.ClampOp) and not bounds_fit(op):
            return False
        return bool(values) and all(fits) and isinstance(op, NARROWED)

    def _narrow(self, op: TensorOp) -> None:
        operands = [self._twin(v) if element_of(v) == i64 else v for v in op.operands]
        if isinstance(op, nn.CastOp):
            twin: TensorOp = nn.CastOp(operands[0], i32 if op.to == i64 else op.to)
        else:
            types = [
                tensor(shape_of(result), i32 if element_of(result) == i64 else element_of(result))
                for result in op.results
            ]
            twin = op.rebuilt(*operands, result_types=types)
        if not self._runs(twin):
            twin.drop_all_references()  # on the host it keeps the model's own type
            return
        twin.location = op.location
        self._block.insert_op_before(twin, op)
        for old, new in zip(op.results, twin.results, strict=True):
            new.name_hint = old.name_hint
            if old.type == new.type:
                if old in self._intervals:
                    self._intervals[new] = self._intervals[old]
                old.replace_all_uses_with(new)
                continue
            # Readers that keep i64 read it through a cast; if there are none it is dead.
            wide = nn.CastOp(new, i64)
            wide.location = op.location
            self._block.insert_op_before(wide, op)
            old.replace_all_uses_with(wide.result)
            self._intervals[wide.result] = self._intervals.get(old, I32)
            self._twins[wide.result] = new
        Rewriter.erase_op(op)

    def _twin(self, value: SSAValue) -> SSAValue:
        """The value as i32."""
        if (twin := self._twins.get(value)) is not None:
            return twin
        narrow: TensorOp
        match value.owner:
            case Block():
                narrow = nn.CastOp(value, i32)
                narrow.attributes[CHECKED] = UnitAttr()
                point = InsertPoint.at_start(self._block)
            case nn.ConstantOp() as owner:
                narrow = nn.ConstantOp(owner.array().astype(np.int32))
                narrow.location = owner.location
                point = InsertPoint.after(owner)
            case owner:
                narrow = nn.CastOp(value, i32)
                narrow.location = owner.location
                point = InsertPoint.after(owner)
        Rewriter.insert_op(narrow, point)
        self._twins[value] = narrow.results[0]
        return narrow.results[0]


def declared_range(argument: BlockArgument) -> Interval:
    """What `ranvier.range` of an argument of `@main` states, or all of i32."""
    main = argument.owner.parent_op()
    if not isinstance(main, FuncOp) or main.arg_attrs is None:
        return I32
    stated = main.arg_attrs.data[argument.index].data.get(RANGE)
    if not isinstance(stated, DenseArrayBase):
        return I32
    low, high = ints(stated)
    return max(low, I32[0]), min(high, I32[1])


def bounds_of(array: Array) -> Interval | None:
    """The smallest and largest element of an array of integers inside i32."""
    if not array.size or array.dtype.kind not in "bi":
        return None
    low, high = int(array.min()), int(array.max())
    return (low, high) if I32[0] <= low and high <= I32[1] else None


# -- Intervals of results ---------------------------------------------------------------------


def counted(op: TensorOp) -> Iterable[SSAValue]:
    """The operands whose values its result depends on, rather than which of them it takes."""
    if isinstance(op, nn.ArgMaxOp | nn.ArgMinOp):
        return ()
    if isinstance(op, nn.SelectOp):
        return op.operands[1:]
    if isinstance(op, nn.ScatterElementsOp | nn.ScatterNdOp):
        return op.operands[0], op.operands[2]
    if isinstance(op, nn.TopKOp):
        return () if is_float(element_of(op.operand)) else op.operands
    if isinstance(op, nn.ReverseSequenceOp):
        return op.operands[:1]
    if isinstance(op, nn.TensorScatterOp):
        return op.operands[:2]
    if isinstance(op, nn.OneHotOp):
        return op.operands[1:]
    if isinstance(op, nn.GatherOp | nn.GatherElementsOp | nn.GatherNdOp):
        return op.operands[:1]
    return op.operands


def union(op: TensorOp, operands: list[Interval]) -> Interval:
    return min(low for low, _ in operands), max(high for _, high in operands)


def padded(op: TensorOp, operands: list[Interval]) -> Interval:
    fill = int(op.get("value", 0.0))
    return union(op, [*operands, (fill, fill)])


def taken(op: TensorOp, operands: list[Interval]) -> Interval:
    """Values of the operand, and positions in it."""
    return union(op, [*operands, position(op, operands)])


def scattered(op: TensorOp, operands: list[Interval]) -> Interval:
    """Combined values have no bounds without those of the indices."""
    if op.get("reduction") in ("add", "mul"):
        return I32[0] - 1, I32[1] + 1
    return union(op, operands)


def running(op: TensorOp, operands: list[Interval]) -> Interval:
    ((low, high),) = operands
    terms = shape_of(op.operands[0])[op.get("axis")]
    return terms * min(low, 0), terms * max(high, 0)


def position(op: TensorOp, operands: list[Interval]) -> Interval:
    return 0, shape_of(op.operands[0])[op.get("axis")] - 1


def corners(combine: Callable[[int, int], int]) -> Rule:
    """The interval of an operation that is monotonic in each operand."""

    def rule(op: TensorOp, operands: list[Interval]) -> Interval:
        results = [combine(x, y) for x, y in product(*operands)]
        return min(results), max(results)

    return rule


def negated(op: TensorOp, operands: list[Interval]) -> Interval:
    ((low, high),) = operands
    return -high, -low


def magnitude(op: TensorOp, operands: list[Interval]) -> Interval:
    ((low, high),) = operands
    return 0, max(abs(low), abs(high))


def summed(op: TensorOp, operands: list[Interval]) -> Interval:
    ((low, high),) = operands
    terms = max(1, size_of(op.operands[0]) // size_of(op.results[0]))
    return terms * min(low, 0), terms * max(high, 0)


def clamped(op: TensorOp, operands: list[Interval]) -> Interval:
    ((low, high),) = operands
    bottom, top = op.get("low", low), op.get("high", high)
    return int(min(max(low, bottom), top)), int(min(max(high, bottom), top))


def bounds_fit(op: nn.ClampOp) -> bool:
    """Whether a clamp has no bound that i32 lacks."""
    bounds = [bound for name in ("low", "high") if (bound := op.get(name)) is not None]
    return all(I32[0] <= bound <= I32[1] for bound in bounds)


def remaining(op: TensorOp, operands: list[Interval]) -> Interval:
    """Of the divisor's sign and smaller than it."""
    _, (low, high) = operands
    return min(low + 1, 0), max(high - 1, 0)


def remaining_of(op: TensorOp, operands: list[Interval]) -> Interval:
    """Of the dividend's sign, not larger than it and smaller than the divisor."""
    (low, high), divisor = operands
    top = max(0, magnitude(op, [divisor])[1] - 1)
    return max(min(low, 0), -top), min(max(high, 0), top)


def divided(op: TensorOp, operands: list[Interval]) -> Interval:
    """Not larger than the dividend, of either sign."""
    _, top = magnitude(op, operands[:1])
    return -top, top


def shrunk(op: TensorOp, operands: list[Interval]) -> Interval:
    """Between the first operand and 0, or -1."""
    low, high = operands[0]
    return min(low, -1 if low < 0 else 0), max(high, 0)


def of_bits(op: TensorOp, operands: list[Interval]) -> Interval:
    """The bits that any operand has."""
    bits = max(max(~low if low < 0 else low, high).bit_length() for low, high in operands)
    signed = any(low < 0 for low, _ in operands)
    return -(1 << bits) if signed else 0, (1 << bits) - 1


def rectified(op: TensorOp, operands: list[Interval]) -> Interval:
    ((low, high),) = operands
    return max(low, 0), max(high, 0)


RULES: dict[type[Operation], Rule] = {
    MovementOp: union,
    nn.ConcatOp: union,
    nn.PadOp: padded,
    nn.GatherOp: union,
    nn.GatherElementsOp: union,
    nn.GatherNdOp: union,
    nn.SelectOp: union,
    nn.ReduceMaxOp: union,
    nn.ReduceMinOp: union,
    nn.CastOp: union,
    nn.AddOp: corners(lambda x, y: x + y),
    nn.SubOp: corners(lambda x, y: x - y),
    nn.MulOp: corners(lambda x, y: x * y),
    nn.MaxOp: corners(max),
    nn.MinOp: corners(min),
    nn.NegOp: negated,
    nn.AbsOp: magnitude,
    nn.ClampOp: clamped,
    nn.DivOp: divided,
    nn.ModOp: remaining,
    nn.FmodOp: remaining_of,
    nn.AndOp: of_bits,
    nn.OrOp: of_bits,
    nn.XorOp: of_bits,
    nn.ShiftRightOp: shrunk,
    nn.SignOp: lambda op, operands: (-1, 1),
    nn.ReluOp: rectified,
    nn.ReduceSumOp: summed,
    nn.CumSumOp: running,
    nn.ScatterElementsOp: scattered,
    nn.ScatterNdOp: scattered,
    nn.ReverseSequenceOp: union,
    nn.TensorScatterOp: union,
    nn.TopKOp: taken,
    nn.OneHotOp: union,
    nn.ReduceMeanOp: summed,
    nn.ArgMaxOp: position,
    nn.ArgMinOp: position,
}

COMPARISONS = (
    nn.EqualOp,
    nn.LessOp,
    nn.LessEqualOp,
    nn.GreaterOp,
    nn.GreaterEqualOp,
)
NARROWED: tuple[type[Operation], ...] = (*COMPARISONS, *RULES)
"""Ops that exist on i32: what they give is i32 then, where it was i64."""
