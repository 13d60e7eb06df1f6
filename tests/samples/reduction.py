"""Reductions of rows, columns, everything and nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32, i32, i64
from xdsl.ir import Attribute

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp
from samples import BOTH, Array, Operand, Sample


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


def cases(op: type[TensorOp], oracle: Callable[..., Any]) -> Iterable[Sample]:
    for shape, element, axes, keepdims in CASES:
        properties = {"axes": axes, "keepdims": keepdims}
        yield Sample(op, (Operand(shape, element),), oracle, properties)


SUM, MEAN = along(np.add), along(np.add, mean=True)
MAX, MIN = along(np.maximum), along(np.minimum)

SAMPLES = [
    *cases(nn.ReduceSumOp, SUM),
    *cases(nn.ReduceMeanOp, MEAN),
    *cases(nn.ReduceMaxOp, MAX),
    *cases(nn.ReduceMinOp, MIN),
    # A row over one tile is summed tile by tile.
    Sample(nn.ReduceSumOp, (Operand((2, 8209)),), SUM, {"axes": (1,), "keepdims": False}),
    Sample(nn.ReduceMaxOp, (Operand((127, 65)),), MAX, {"axes": (0, 1), "keepdims": False}),
    Sample(
        nn.ReduceMeanOp,
        (Operand((1, 2048, 7, 7)),),
        MEAN,
        {"axes": (2, 3), "keepdims": True},
    ),
    *(
        Sample(
            op,
            (Operand((3, 5), element, -9, 9),),
            oracle,
            {"axes": (0,), "keepdims": True},
            host=BOTH,
        )
        for op, element, oracle in (
            (nn.ReduceSumOp, i32, SUM),
            (nn.ReduceMaxOp, i64, MAX),
            (nn.ReduceMinOp, i32, MIN),
        )
    ),
]
