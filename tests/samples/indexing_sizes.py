"""Ops of indices, orders and scans at the sizes where tiles begin and end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from xdsl.dialects.builtin import bf16, f16, f32, i1, i32, i64

from ranvier.dialects import nn
from samples import Operand, Sample, const, mostly_slow
from samples.indexing import (
    elements,
    gather,
    one_hot,
    reverse_sequence,
    top_k,
    tuples,
)
from samples.indexing_scatter import scatter_elements, scatter_nd, tensor_scatter
from samples.reduction import placed, running

SIZES = (1, 3, 127, 128, 129, 513)
BATCH = 8
LEVELS = tuple(i / 4 for i in range(-9, 9))


def indices(*shape: int, size: int, constant: bool = False) -> Operand:
    operand = Operand(shape, i64, -size, size - 1)
    return const(operand) if constant else operand


def gathers(n: int) -> Iterator[Sample]:
    yield gather((n, 7), indices(BATCH, 3, size=n), 0, f32)
    yield gather((BATCH, n), indices(n, size=n, constant=True), 1, bf16)
    yield gather((2, n, 5), indices(n, size=n), 1, i32)
    yield gather((n, BATCH), indices(5, size=n), 0, i1)
    for shape, places, axis, element in (
        ((BATCH, n), (BATCH, 5), 1, f32),
        ((n, BATCH), (n, 3), 1, f16),
        ((n, 3), (n, 2), 0, i64),
    ):
        yield Sample(
            nn.GatherElementsOp,
            (Operand(shape, element, -9, 9), indices(*places, size=shape[axis])),
            elements,
            {"axis": axis},
        )
    for shape, places, batch in (
        ((n, BATCH), (n, 2), 0),
        ((BATCH, n, 3), (BATCH, 5, 1), 1),
        ((2, n, 3), (n, 1), 0),
    ):
        reached = min(shape[batch : batch + places[-1]])
        yield Sample(
            nn.GatherNdOp,
            (Operand(shape), indices(*places, size=reached)),
            tuples,
            {"batch": batch},
        )


def scatters(n: int) -> Iterator[Sample]:
    yield scatter_elements((n, BATCH), indices(1, BATCH, size=n), 0, "none", f32)
    yield scatter_elements((BATCH, n), indices(BATCH, 3, size=n, constant=True), 1, "add", f32)
    yield scatter_elements((2, n), indices(2, n, size=n), 1, "max", bf16)
    yield scatter_nd((n, BATCH), indices(1, 1, size=n), "none", i32)
    yield scatter_nd((n, 3, 5), indices(BATCH, 1, size=n), "mul")
    yield scatter_nd((BATCH, n), indices(n, 2, size=min(n, BATCH)), "min")
    yield tensor_scatter((BATCH, n, 3), 1, min(n, 3), circular=True)
    yield tensor_scatter((2, 3, n), 2, (n + 1) // 2, bf16, circular=False)


def orders(n: int) -> Iterator[Sample]:
    elements = cycle((f32, bf16, f16))
    for shape, axis in (((BATCH, n), 1), ((n, BATCH), 0), ((n, 3), 1), ((2, n, 5), 1)):
        element = next(elements)
        for k in sorted({1, min(9, shape[axis]), shape[axis]}):
            yield top_k(shape, axis, k, element, largest=k != 1)
        for op, name in ((nn.ArgMaxOp, "ArgMax"), (nn.ArgMinOp, "ArgMin")):
            operand = Operand(shape, element, values=LEVELS)
            last = op is nn.ArgMinOp
            properties = {"axis": axis, "keepdims": not last, "last": last}
            yield Sample(op, (operand,), placed(name), properties, fixed=shape[axis] == 1)
        for exclusive, reverse in ((False, False), (True, True)):
            properties = {"axis": axis, "exclusive": exclusive, "reverse": reverse}
            operand, fixed = Operand(shape, element), exclusive and shape[axis] == 1
            yield Sample(nn.CumSumOp, (operand,), running(sum_of, 0), properties, fixed=fixed)
            near = Operand(shape, element, 0.98, 1.02)
            yield Sample(nn.CumProdOp, (near,), running(product_of, 1), properties, fixed=fixed)


def sum_of(x: float, y: float) -> float:
    return x + y


def product_of(x: float, y: float) -> float:
    return x * y


def masks(n: int) -> Iterator[Sample]:
    yield one_hot((BATCH, 3), 2, n)
    yield one_hot((n,), 0, BATCH)
    yield one_hot((2, n), 1, 5)
    yield reverse_sequence((n, BATCH), 0, 1)
    yield reverse_sequence((BATCH, n, 3), 1, 0)
    yield reverse_sequence((3, n, 2), 2, 1)


SAMPLES = mostly_slow(
    [
        sample
        for n in SIZES
        for family in (gathers, scatters, orders, masks)
        for sample in family(n)
    ],
    count=24,
    seed=4,
)
