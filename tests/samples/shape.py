"""Movements: every element type that a machine holds, ranks 0 to 5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32, i1, i32, i64
from xdsl.ir import Attribute

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp
from samples import Array, Operand, Sample
from samples.oracles import framed

Shape = tuple[int, ...]


def move(
    op: type[TensorOp],
    oracle: Any,
    shape: Shape,
    element: Attribute,
    /,
    host: tuple[str, ...] | None = (),
    **properties: Any,
) -> Sample:
    return Sample(op, (Operand(shape, element, -9, 9),), oracle, properties, host=host)


def reshape(shape: Shape, to: Shape, element: Attribute = f32, **kw: Any) -> Sample:
    return move(
        nn.ReshapeOp,
        lambda x, shape: np.array(x.ravel().tolist()).reshape(shape),
        shape,
        element,
        shape=to,
        **kw,
    )


def transpose(shape: Shape, permutation: Shape, element: Attribute = f32, **kw: Any) -> Sample:
    def oracle(x: Array, *, permutation: Shape) -> Array:
        return np.moveaxis(x, permutation, range(len(permutation)))

    return move(nn.TransposeOp, oracle, shape, element, permutation=permutation, **kw)


def broadcast(shape: Shape, to: Shape, element: Attribute = f32, **kw: Any) -> Sample:
    return move(
        nn.BroadcastOp, lambda x, shape: x * np.ones(shape, x.dtype), shape, element, shape=to, **kw
    )


def sliced(x: Array, *, starts: Shape, sizes: Shape, steps: Shape) -> Array:
    result = np.empty(sizes, x.dtype)
    for at in np.ndindex(*sizes):
        result[at] = x[tuple(s + i * d for s, i, d in zip(starts, at, steps, strict=True))]
    return result


def cut(
    shape: Shape, starts: Shape, sizes: Shape, steps: Shape, element: Attribute = f32, **kw: Any
) -> Sample:
    return move(nn.SliceOp, sliced, shape, element, starts=starts, sizes=sizes, steps=steps, **kw)


def concat(shapes: Sequence[Shape], axis: int, element: Attribute = f32, **kw: Any) -> Sample:
    operands = tuple(Operand(shape, element, -9, 9) for shape in shapes)

    def oracle(*parts: Array, axis: int) -> Array:
        return np.moveaxis(
            np.array([row for x in parts for row in np.moveaxis(x, axis, 0)]), 0, axis
        )

    return Sample(nn.ConcatOp, operands, oracle, {"axis": axis}, **kw)


def triangle(x: Array, *, upper: bool, diagonal: int) -> Array:
    rows, columns = np.indices(x.shape[-2:])
    kept = columns - rows >= diagonal if upper else columns - rows <= diagonal
    return x * kept


def trilu(shape: Shape, diagonal: int, *, upper: bool, element: Attribute = f32) -> Sample:
    return move(nn.TriluOp, triangle, shape, element, upper=upper, diagonal=diagonal)


def padded(x: Array, *, low: Shape, high: Shape, mode: str, value: float) -> Array:
    if mode == "constant":
        return framed(x, low, high, value)
    pads = np.maximum([*low, *high], 0).astype(np.int64)
    cropped = framed(x, np.minimum(low, 0).tolist(), np.minimum(high, 0).tolist())
    return np.pad(cropped, pads.reshape(2, -1).T, mode=mode)


def pad(
    shape: Shape,
    low: Shape,
    high: Shape,
    element: Attribute = f32,
    *,
    mode: str = "constant",
    value: float = 0.0,
    **kw: Any,
) -> Sample:
    return move(nn.PadOp, padded, shape, element, low=low, high=high, mode=mode, value=value, **kw)


SAMPLES = [
    reshape((3, 129), (129, 3)),
    reshape((2, 3, 4, 5), (6, 20), bf16),
    reshape((1,), ()),
    reshape((8, 33), (2, 2, 2, 11, 3), i32),
    reshape((4, 4), (16,), i1),
    reshape((4, 4), (2, 8), i64),
    transpose((3, 129), (1, 0)),
    transpose((2, 3, 4, 5), (0, 2, 3, 1)),
    transpose((2, 1, 3, 4, 5), (4, 0, 3, 1, 2), f16),
    transpose((127, 128), (1, 0), bf16),
    transpose((5, 3), (1, 0), i1),
    transpose((7,), (0,)),
    broadcast((1, 7), (5, 7)),
    broadcast((), (33,)),
    broadcast((5, 1, 3), (2, 5, 129, 3), bf16),
    broadcast((1, 1), (4, 4), i32),
    cut((3, 129), (1, 2), (2, 63), (1, 2)),
    cut((9,), (8,), (5,), (-2,)),
    cut((2, 3, 8, 7), (1, 0, 7, 6), (1, 3, 8, 3), (1, 1, -1, -3), bf16),
    cut((), (), (), ()),
    cut((4, 4), (0, 3), (4, 1), (1, 1), i1),
    concat([(3, 5), (3, 129), (3, 1)], 1),
    concat([(2, 3), (1, 3)], 0, bf16),
    concat([(2, 3, 4)], 1),
    concat([(1, 2, 2, 3), (1, 2, 5, 3), (1, 2, 1, 3)], 2, i32),
    concat([(2,), (2,)], 0, i64),
    pad((3, 5), (1, 0), (2, 129)),
    pad((2, 3, 4, 5), (0, 0, 1, 2), (0, 0, 3, 1), value=-1.5),
    pad((6, 7), (-1, 2), (-2, -3), bf16, value=0.5),
    pad((7,), (0,), (0,), f16),
    pad((4, 4), (1, 1), (1, 1), i32, value=7.0),
    pad((5, 6), (2, 3), (4, 0), mode="reflect"),
    pad((2, 3, 4), (0, 2, 1), (1, 0, 2), mode="edge"),
    pad((4, 5), (3, 0), (1, 5), mode="wrap"),
    pad((3, 4), (-1, 1), (1, -2), bf16, mode="reflect"),
    pad((3, 2), (9, 0), (0, 7), mode="edge"),
    pad((3, 4), (3, -1), (2, 3), i64, mode="wrap"),
    pad((3, 4), (1, 1), (1, 1), i1, mode="edge"),
    trilu((5, 7), 0, upper=True),
    trilu((300, 280), -20, upper=False),
    trilu((2, 7, 5), 2, upper=False),
    trilu((3, 4, 129), -1, upper=True, element=bf16),
    trilu((4, 4), 0, upper=False, element=i64),
]
