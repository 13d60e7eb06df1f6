"""Elements written by index."""

from __future__ import annotations

from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f32, i1, i8, i32, i64
from xdsl.ir import Attribute

from ranvier.dialects import nn
from samples import Array, Operand, Sample, const
from samples.indexing import Shape, each

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


def scatter_elements(
    shape: Shape,
    indices: Operand,
    axis: int,
    reduction: str,
    element: Attribute = f32,
    **kw: Any,
) -> Sample:
    operands = Operand(shape, element), indices, Operand(indices.shape, element)
    properties = {"axis": axis, "reduction": reduction}
    return Sample(nn.ScatterElementsOp, operands, scattered, properties, **kw)


def scatter_nd(
    shape: Shape, indices: Operand, reduction: str, element: Attribute = f32, **kw: Any
) -> Sample:
    updates = (*indices.shape[:-1], *shape[indices.shape[-1] :])
    operands = Operand(shape, element), indices, Operand(updates, element)
    return Sample(nn.ScatterNdOp, operands, scattered_tuples, {"reduction": reduction}, **kw)


def written(x: Array, updates: Array, starts: Array, *, axis: int, circular: bool) -> Array:
    """Step by step."""
    result = x.copy()
    into, out = np.moveaxis(result, axis, 1), np.moveaxis(updates, axis, 1)
    for b, start in enumerate(starts.tolist()):
        for step in range(out.shape[1]):
            place = start + step
            into[b, place % into.shape[1] if circular else place] = out[b, step]
    return result


def tensor_scatter(
    shape: Shape, axis: int, steps: int, element: Attribute = f32, *, circular: bool, **kw: Any
) -> Sample:
    size = shape[axis]
    updates = Operand((*shape[:axis], steps, *shape[axis + 1 :]), element)
    starts = Operand(shape[:1], i64, 0, 2 * size if circular else size - steps)
    properties = {"axis": axis, "circular": circular}
    operands = (Operand(shape, element), updates, starts)
    return Sample(nn.TensorScatterOp, operands, written, properties, **kw)


# Without a reduction, equal places would leave any of their updates.
SAMPLES = [
    scatter_elements((5, 4), Operand((1, 4), i64, -5, 4), 0, "none"),
    scatter_elements((4, 5), Operand((4, 3), i64, -5, 4), 1, "add"),
    scatter_elements((5, 4), Operand((3, 4), i64, 0, 4), 0, "max"),
    scatter_elements((5, 4), const(Operand((3, 2), i64, -5, 4)), 0, "min"),
    scatter_elements((2, 5, 3), const(Operand((2, 4, 3), i32, 0, 4)), 1, "mul", bf16),
    scatter_elements((4, 5), Operand((4, 1), i32, 0, 4), 1, "none", i1),
    scatter_elements((4, 5), Operand((2, 1), i32, -5, 4), 1, "none", i32),
    # Narrow floats are summed in f32.
    scatter_elements((1, 3), Operand((1, 400), i32, 0, 2), 1, "add", bf16),
    *(
        scatter_elements((5, 4), Operand((3, 4), i64, -5, 4), 0, reduction, element)
        for reduction in ("add", "mul", "max", "min")
        for element in (i32, i8)
    ),
    scatter_nd((3, 600), const(Operand((9, 1), i64, -3, 2)), "mul", i32),
    scatter_nd((6, 3), Operand((1, 1), i64, -6, 5), "none"),
    scatter_nd((4, 5), Operand((7, 2), i64, -4, 3), "mul"),
    scatter_nd((4, 5, 3), const(Operand((2, 3, 2), i64, -4, 3)), "add"),
    scatter_nd((4, 5), Operand((1, 2), i64, 0, 3), "none", i64),
    tensor_scatter((3, 2, 7, 5), 2, 3, circular=False),
    tensor_scatter((2, 9, 4), 1, 9, bf16, circular=True),
    tensor_scatter((4, 6), 1, 1, circular=True),
]
