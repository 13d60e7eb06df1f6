"""Elements by index, of constants and of inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f32, i32, i64
from xdsl.ir import Attribute

from ranvier.dialects import nn
from samples import ANYWHERE, Array, Operand, Sample, const
from samples.oracles import by_onnx

Shape = tuple[int, ...]


def gathered(x: Array, indices: Array, *, axis: int) -> Array:
    return by_onnx("Gather", x, indices.astype("int64"), axis=axis)


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
    return by_onnx("GatherElements", x, indices, axis=axis)


def tuples(x: Array, indices: Array, *, batch: int) -> Array:
    return by_onnx("GatherND", x, indices, batch_dims=batch)


COMBINE = {"none": lambda _, b: b, "add": np.add, "mul": np.multiply, "max": max, "min": min}


def scattered(x: Array, indices: Array, updates: Array, *, axis: int, reduction: str) -> Array:
    """Update by update."""
    result = x.copy()
    for at in each(indices):
        place = (*at[:axis], indices[at], *at[axis + 1 :])
        result[place] = COMBINE[reduction](result[place], updates[at])
    return result


def scattered_tuples(x: Array, indices: Array, updates: Array, *, reduction: str) -> Array:
    result = x.copy()
    for at in np.ndindex(*indices.shape[:-1]):
        place = tuple(indices[at])
        result[place] = np.vectorize(COMBINE[reduction])(result[place], updates[at])
    return result


def scatter_elements(axis: int, reduction: str) -> Sample:
    # Without a reduction, equal places would leave any of their updates.
    places = tuple(float(i) for i in range(5))
    size = (1, 4) if reduction == "none" else (3, 4)
    indices = Operand(size if axis == 0 else size[::-1], i64, values=places)
    shape = (5, 4) if axis == 0 else (4, 5)
    operands = Operand(shape), indices, Operand(indices.shape)
    properties = {"axis": axis, "reduction": reduction}
    return Sample(nn.ScatterElementsOp, operands, scattered, properties, host=ANYWHERE)


def scatter_nd(shape: Shape, places: Operand, updates: Shape, reduction: str) -> Sample:
    operands = Operand(shape), places, Operand(updates)
    return Sample(
        nn.ScatterNdOp, operands, scattered_tuples, {"reduction": reduction}, host=ANYWHERE
    )


def one_hot(shape: Shape, axis: int, depth: int) -> Sample:
    def oracle(indices: Array, on: Array, off: Array, *, axis: int, depth: int) -> Array:
        result = np.full((*indices.shape, depth), off)
        for at in each(indices):
            if -depth <= indices[at] < depth:
                result[(*at, indices[at])] = on
        return np.moveaxis(result, -1, axis)

    operands = Operand(shape, i64, -depth - 1, depth), Operand(()), Operand(())
    return Sample(nn.OneHotOp, operands, oracle, {"axis": axis, "depth": depth}, host=ANYWHERE)


def largest_first(x: Array, *, axis: int, k: int, largest: bool) -> tuple[Array, ...]:
    counted = np.array(k, np.int64).reshape(1)
    return by_onnx("TopK", x, counted, outputs=2, axis=axis, largest=int(largest))


def top_k(shape: Shape, axis: int, k: int, *, largest: bool) -> Sample:
    properties = {"axis": axis, "k": k, "largest": largest}
    # Distinct also in bf16, so that the order is that of the oracle.
    operand = Operand(shape, values=tuple(i / 4 for i in range(-99, 99)))
    return Sample(nn.TopKOp, (operand,), largest_first, properties, host=ANYWHERE)


def reverse_sequence(shape: Shape, axis: int, batch_axis: int) -> Sample:
    def oracle(x: Array, lengths: Array, *, axis: int, batch_axis: int) -> Array:
        result = x.copy()
        rows, turned = (np.moveaxis(a, (batch_axis, axis), (0, 1)) for a in (x, result))
        for b, length in enumerate(lengths):
            turned[b, :length] = rows[b, :length][::-1]
        return result

    lengths = Operand((shape[batch_axis],), i64, 0, shape[axis])
    properties = {"axis": axis, "batch_axis": batch_axis}
    return Sample(
        nn.ReverseSequenceOp, (Operand(shape), lengths), oracle, properties, host=ANYWHERE
    )


SAMPLES = [
    *GATHER,
    Sample(
        nn.GatherElementsOp,
        (Operand((5, 4)), Operand((3, 4), i64, -5, 4)),
        elements,
        {"axis": 0},
        host=ANYWHERE,
    ),
    Sample(
        nn.GatherElementsOp,
        (Operand((2, 7)), const(Operand((2, 3), i64, 0, 6))),
        elements,
        {"axis": 1},
        host=ANYWHERE,
    ),
    Sample(
        nn.GatherNdOp,
        (Operand((4, 5, 3)), Operand((6, 2), i64, 0, 3)),
        tuples,
        {"batch": 0},
        host=ANYWHERE,
    ),
    Sample(
        nn.GatherNdOp,
        (Operand((4, 5, 3)), Operand((4, 2, 1), i64, 0, 4)),
        tuples,
        {"batch": 1},
        host=ANYWHERE,
    ),
    scatter_elements(0, "none"),
    scatter_elements(1, "add"),
    scatter_elements(0, "max"),
    scatter_nd((6, 3), Operand((1, 1), i64, 0, 5), (1, 3), "none"),
    scatter_nd((4, 5), Operand((7, 2), i64, 0, 3), (7,), "mul"),
    one_hot((3, 4), 2, 5),
    one_hot((6,), 0, 3),
    top_k((3, 9), 1, 4, largest=True),
    top_k((7, 2), 0, 3, largest=False),
    reverse_sequence((5, 3, 2), 0, 1),
    reverse_sequence((3, 4), 1, 0),
]
