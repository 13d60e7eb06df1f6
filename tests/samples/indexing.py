"""Elements by index, of constants and of inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f32, i1, i8, i32, i64
from xdsl.ir import Attribute

from ranvier.dialects import nn
from samples import Array, Operand, Sample, const

Shape = tuple[int, ...]


def gathered(x: Array, indices: Array, *, axis: int) -> Array:
    """Slice by slice."""
    slices = np.moveaxis(x, axis, 0)
    picked = np.array([slices[i] for i in indices.reshape(-1).tolist()])
    picked = picked.reshape(*indices.shape, *slices.shape[1:])
    own = range(indices.ndim)
    return np.moveaxis(picked, own, range(axis, axis + indices.ndim))


def gather(
    shape: Shape, indices: Operand, axis: int, element: Attribute = f32, **kw: Any
) -> Sample:
    return Sample(nn.GatherOp, (Operand(shape, element), indices), gathered, {"axis": axis}, **kw)


GATHER = [
    gather((129, 5), const(Operand((4,), i64, -129, 128)), 0),
    gather((3, 7), const(Operand((2, 2), i32, 0, 6)), 1, bf16),
    gather((2, 5, 3), const(Operand((), i64, 3, 3)), 1),
    gather((17, 3), Operand((8, 5), i64, -17, 16), 0),
    gather((4, 9), Operand((3,), i32, 0, 8), 1),
    # More runs of indices than slices are worth.
    gather((40, 2), const(Operand((65,), i64, 0, 39)), 0),
]


def each(indices: Array) -> Any:
    return np.ndindex(*indices.shape)


def elements(x: Array, indices: Array, *, axis: int) -> Array:
    """Element by element; ONNX's evaluator takes neither negative indices nor fewer rows."""
    picked = [x[(*at[:axis], indices[at], *at[axis + 1 :])] for at in each(indices)]
    return np.array(picked).reshape(indices.shape)


def tuples(x: Array, indices: Array, *, batch: int) -> Array:
    """Tuple by tuple, as ONNX's evaluator, which takes no negative indices."""
    places = np.ndindex(*indices.shape[:-1])
    picked = [x[(*at[:batch], *indices[at])] for at in places]
    return np.array(picked).reshape(*indices.shape[:-1], *x.shape[batch + indices.shape[-1] :])


def one_hot(shape: Shape, axis: int, depth: int) -> Sample:
    def oracle(indices: Array, on: Array, off: Array, *, axis: int, depth: int) -> Array:
        result = np.full((*indices.shape, depth), off)
        for at in each(indices):
            if -depth <= indices[at] < depth:
                result[(*at, indices[at])] = on
        return np.moveaxis(result, -1, axis)

    operands = Operand(shape, i64, -depth - 1, depth), Operand(()), Operand(())
    return Sample(nn.OneHotOp, operands, oracle, {"axis": axis, "depth": depth})


def best_first(x: Array, *, axis: int, k: int, largest: bool) -> tuple[Array, ...]:
    """Sorted line by line; of equal elements the first comes first, NaN is larger than numbers."""
    lines = np.moveaxis(x, axis, -1)
    places = np.zeros((*lines.shape[:-1], k), np.int64)
    sign = -1 if largest else 1
    for at in np.ndindex(*lines.shape[:-1]):
        keys = [(sign * int(v != v), sign * v if v == v else 0) for v in lines[at].tolist()]
        places[at] = sorted(range(len(keys)), key=lambda i, keys=keys: (keys[i], i))[:k]
    values = np.take_along_axis(lines, places, -1)
    return np.moveaxis(values, -1, axis), np.moveaxis(places, -1, axis)


LEVELS = (-np.inf, *(i / 4 for i in range(-99, 99)), np.inf, np.nan)
"""So few that they repeat."""


def top_k_of_integers(shape: Shape, axis: int, k: int, element: Attribute, *, largest: bool):
    values = (-(2.0**31), -65537.0, -65536.0, -1.0, 0.0, 65535.0, 65536.0, 16777217.0, 2.0**31 - 1)
    if element == i8:
        values = tuple(float(i) for i in range(-128, 128, 15))
    properties = {"axis": axis, "k": k, "largest": largest}
    operand = Operand(shape, element, values=values)
    return Sample(nn.TopKOp, (operand,), best_first, properties)


def top_k(
    shape: Shape, axis: int, k: int, element: Attribute = f32, *, largest: bool, **kw: Any
) -> Sample:
    properties = {"axis": axis, "k": k, "largest": largest}
    operand = Operand(shape, element, values=LEVELS)
    return Sample(nn.TopKOp, (operand,), best_first, properties, **kw)


def reverse_sequence(shape: Shape, axis: int, batch_axis: int) -> Sample:
    def oracle(x: Array, lengths: Array, *, axis: int, batch_axis: int) -> Array:
        result = x.copy()
        rows, turned = (np.moveaxis(a, (batch_axis, axis), (0, 1)) for a in (x, result))
        for b, length in enumerate(lengths):
            turned[b, :length] = rows[b, :length][::-1]
        return result

    lengths = Operand((shape[batch_axis],), i64, 0, shape[axis])
    properties = {"axis": axis, "batch_axis": batch_axis}
    return Sample(nn.ReverseSequenceOp, (Operand(shape), lengths), oracle, properties)


SAMPLES = [
    *GATHER,
    Sample(
        nn.GatherElementsOp,
        (Operand((5, 4)), Operand((3, 4), i64, -5, 4)),
        elements,
        {"axis": 0},
    ),
    Sample(
        nn.GatherElementsOp,
        (Operand((2, 7)), const(Operand((2, 3), i64, 0, 6))),
        elements,
        {"axis": 1},
    ),
    Sample(
        nn.GatherNdOp,
        (Operand((4, 5, 3)), Operand((6, 2), i64, 0, 3)),
        tuples,
        {"batch": 0},
    ),
    Sample(
        nn.GatherNdOp,
        (Operand((4, 5, 3)), Operand((4, 2, 1), i64, 0, 4)),
        tuples,
        {"batch": 1},
    ),
    one_hot((3, 4), 2, 5),
    one_hot((6,), 0, 3),
    top_k((3, 9), 1, 4, largest=True),
    top_k((7, 2), 0, 3, largest=False),
    top_k((2, 5, 3), 1, 5, bf16, largest=False),
    top_k_of_integers((3, 40), 1, 9, i32, largest=True),
    top_k_of_integers((40, 3), 0, 40, i64, largest=False),
    top_k_of_integers((2, 33), 1, 33, i8, largest=True),
    # The best elements are carried from part to part of a line that does not fit.
    top_k((2, 25200), 1, 7, largest=True),
    # Rows over what is on chip at once.
    gather((5, 3, 8200), Operand((4,), i32, -5, 4), 0),
    gather((3, 5, 4), Operand((2, 3), i64, -5, 4), 1, i1),
    reverse_sequence((5, 3, 2), 0, 1),
    reverse_sequence((3, 4), 1, 0),
]
