"""Reductions of rows, columns, everything and nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32, i1, i8, i16, i32, i64
from xdsl.ir import Attribute

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, dtype_of, is_float, ui8
from samples import ANYWHERE, BOTH, Array, Operand, Sample
from samples.oracles import by_onnx


def along(one: Callable[[Array, Array], Array], *, mean: bool = False) -> Callable[..., Array]:
    """Reduces one axis after another by a function of two elements."""

    def oracle(x: Array, *, axes: tuple[int, ...], keepdims: bool) -> Array:
        total = x
        for axis in sorted(axes, reverse=True):
            slices = np.moveaxis(total, axis, 0)
            total = slices[0]
            for part in slices[1:]:
                total = one(total, part)
            total = np.expand_dims(total, axis) if keepdims else total
        count = np.prod([x.shape[axis] for axis in axes], dtype=int)
        return total / count if mean else total

    return oracle


CASES: tuple[tuple[tuple[int, ...], Attribute, tuple[int, ...], bool], ...] = (
    ((3, 129), f32, (1,), False),
    ((129, 5), f32, (0,), True),
    ((2, 5, 7), bf16, (0, 2), False),
    ((2, 3, 5, 7), f32, (2, 3), True),
    ((2, 3, 5, 7), f16, (1,), False),
    ((513,), f32, (0,), False),
    ((2, 1, 3, 1, 5), f32, (0, 3, 4), False),
    ((4, 6), f32, (), False),
    ((8, 33, 4), f32, (0, 1, 2), True),
)


def cases(
    op: type[TensorOp], oracle: Callable[..., Any], *, host: tuple[str, ...] | None = ()
) -> Iterable[Sample]:
    for shape, element, axes, keepdims in CASES:
        properties = {"axes": axes, "keepdims": keepdims}
        yield Sample(op, (Operand(shape, element),), oracle, properties, host=host)


def products(op: type[TensorOp], oracle: Callable[..., Any]) -> Iterable[Sample]:
    """Of few factors near 1, so that they neither vanish nor overflow."""
    for shape, axes, keepdims in (((3, 5), (1,), False), ((2, 3, 4), (0, 2), True)):
        operand = Operand(shape, f32, 0.5, 1.5)
        yield Sample(op, (operand,), oracle, {"axes": axes, "keepdims": keepdims})


def placed(op_type: str) -> Callable[..., Array]:
    def oracle(x: Array, *, axis: int, keepdims: bool, last: bool) -> Array:
        return by_onnx(op_type, x, axis=axis, keepdims=int(keepdims), select_last_index=int(last))

    return oracle


def places(op: type[TensorOp], op_type: str) -> Iterable[Sample]:
    """Few levels, so that extremes repeat."""
    for shape, element, axis, keepdims, last in (
        ((3, 129), f32, 1, False, False),
        ((2, 5, 7), f32, 0, True, True),
        ((2, 5, 7), bf16, 1, False, True),
        ((33,), f32, 0, False, False),
        ((9, 40), f32, 1, False, True),
        ((9, 4), i32, 0, False, True),
        ((4, 9), i64, 1, True, False),
    ):
        # NaN is the extreme, and infinity is no number that the machine takes away.
        odd = (np.inf, -np.inf, np.nan) if shape == (9, 40) else ()
        levels = (-1.0, -0.5, 0.0, 0.5, 1.0, *odd)
        # Neighbours in i32 are equal in f32.
        wide = (2.0**31 - 1, 2.0**31 - 2, -(2.0**31), 1 - 2.0**31)
        operand = Operand(shape, element, values=levels if is_float(element) else wide)
        properties = {"axis": axis, "keepdims": keepdims, "last": last}
        yield Sample(op, (operand,), placed(op_type), properties)


def running(one: Callable[[Array, Array], Array], neutral: float) -> Callable[..., Array]:
    """Step by step along the axis."""

    def oracle(x: Array, *, axis: int, exclusive: bool, reverse: bool) -> Array:
        slices = list(np.moveaxis(x, axis, 0))
        total, found = np.full_like(slices[0], neutral), list[Array]()
        for part in reversed(slices) if reverse else slices:
            after = one(total, part)
            found.append(total if exclusive else after)
            total = after
        return np.moveaxis(np.array(found[::-1] if reverse else found), 0, axis)

    return oracle


def cumulative(op: type[TensorOp], oracle: Callable[..., Array]) -> Iterable[Sample]:
    for shape, element, axis, exclusive, reverse in (
        ((3, 17), f32, 1, False, False),
        ((9, 2, 5), f32, 0, True, False),
        ((2, 7), f32, 1, False, True),
        ((2, 7), i64, 1, True, True),
    ):
        properties = {"axis": axis, "exclusive": exclusive, "reverse": reverse}
        host = ANYWHERE if element == i64 else ()
        yield Sample(op, (Operand(shape, element),), oracle, properties, host=host)


def count(x: Array, *, axes: tuple[int, ...], keepdims: bool) -> int:
    return int(np.prod([x.shape[axis] for axis in axes]))


RARE, USUAL = (0.0,) * 9 + (1.0,), (1.0,) * 9 + (0.0,)
"""Truth values of which a row has none or some, all or not all."""


def integers(op: type[TensorOp], one: Callable[[Array, Array], Array]) -> Iterable[Sample]:
    """Any values of each width, in rows, columns, and rows of several tiles; the low bits stay."""
    for element, shape, axes in (
        (i32, (3, 129), (1,)),
        (i32, (129, 5), (0,)),
        (i32, (2, 2053), (1,)),
        (i32, (7919,), (0,)),
        (i16, (2, 5, 7), (0, 2)),
        (i8, (33,), (0,)),
        (ui8, (3, 33), (1,)),
    ):
        info = np.iinfo(dtype_of(element))
        operand = Operand(shape, element, int(info.min), int(info.max))
        if op is nn.ReduceProdOp:  # a product with even factors is soon 0
            operand = Operand(shape, element, values=(3.0, 5.0, 7.0, 11.0, 101.0))
        properties = {"axes": axes, "keepdims": False}
        yield Sample(op, (operand,), along(one), properties, slow=shape == (7919,))


SUM, MEAN = along(np.add), along(np.add, mean=True)
MAX, MIN = along(np.maximum), along(np.minimum)

SAMPLES = [
    *cases(nn.ReduceSumOp, SUM),
    *cases(nn.ReduceMeanOp, MEAN),
    *cases(nn.ReduceMaxOp, MAX),
    *cases(nn.ReduceMinOp, MIN),
    *cases(nn.ReduceL1Op, lambda x, **p: SUM(np.abs(x), **p)),
    *cases(nn.ReduceL2Op, lambda x, **p: SUM(x * x, **p) ** 0.5),
    *cases(nn.ReduceSumSquareOp, lambda x, **p: SUM(x * x, **p)),
    *cases(nn.ReduceLogSumExpOp, lambda x, **p: np.log(SUM(np.exp(x), **p))),
    *products(nn.ReduceProdOp, along(np.multiply)),
    *places(nn.ArgMaxOp, "ArgMax"),
    *places(nn.ArgMinOp, "ArgMin"),
    *cumulative(nn.CumSumOp, running(np.add, 0)),
    *cumulative(nn.CumProdOp, running(np.multiply, 1)),
    # A row over one tile is summed tile by tile.
    Sample(nn.ReduceSumOp, (Operand((2, 8209)),), SUM, {"axes": (1,), "keepdims": False}),
    Sample(nn.ReduceMaxOp, (Operand((127, 65)),), MAX, {"axes": (0, 1), "keepdims": False}),
    Sample(
        nn.ReduceMeanOp,
        (Operand((1, 2048, 7, 7)),),
        MEAN,
        {"axes": (2, 3), "keepdims": True},
    ),
    *integers(nn.ReduceSumOp, np.add),
    *integers(nn.ReduceProdOp, np.multiply),
    *integers(nn.ReduceMaxOp, np.maximum),
    *integers(nn.ReduceMinOp, np.minimum),
    *(
        Sample(
            nn.ReduceMeanOp,
            (Operand(shape, element, -100 if element != ui8 else 0, 100),),
            lambda x, **p: np.trunc(SUM(x.astype(np.int64), **p) / count(x, **p)).astype(np.int64),
            {"axes": axes, "keepdims": True},
        )
        for shape, element, axes in (
            ((3, 129), i32, (1,)),
            ((129, 5), i8, (0,)),
            ((3, 7), ui8, (1,)),
        )
    ),
    *(
        Sample(
            nn.ReduceL2Op,
            (Operand(shape, i32, -limit, limit),),
            lambda x, **p: np.floor(SUM(x.astype(np.int64) ** 2, **p) ** 0.5),
            {"axes": (0,), "keepdims": False},
        )
        for shape, limit in (((33, 3), 3000), ((1, 99), 46340), ((2048,), 1000))
    ),
    *(
        Sample(
            op,
            (Operand((5, 9), i1, values=levels),),
            along(one),
            {"axes": (1,), "keepdims": False},
        )
        for op, one, levels in (
            (nn.ReduceSumOp, np.logical_or, RARE),
            (nn.ReduceMaxOp, np.logical_or, RARE),
            (nn.ReduceProdOp, np.logical_and, USUAL),
            (nn.ReduceMinOp, np.logical_and, USUAL),
        )
    ),
    # Sums of squares and exponentials beyond f16, whose result is not.
    Sample(
        nn.ReduceL2Op,
        (Operand((3, 129), f16, -900.0, 900.0),),
        lambda x, **p: SUM(x * x, **p) ** 0.5,
        {"axes": (1,), "keepdims": False},
    ),
    Sample(
        nn.ReduceLogSumExpOp,
        (Operand((3, 129), f16, 0.0, 50.0),),
        lambda x, **p: np.log(SUM(np.exp(x), **p)),
        {"axes": (1,), "keepdims": False},
    ),
    # i64 runs as i32 where all values are proven to fit.
    Sample(nn.ReduceMaxOp, (Operand((3, 5), i64, -9, 9),), MAX, {"axes": (0,), "keepdims": True}),
    Sample(
        nn.ReduceSumOp,
        (Operand((3, 5), i64, -9, 9),),
        SUM,
        {"axes": (0,), "keepdims": True},
        host=BOTH,
    ),
]
