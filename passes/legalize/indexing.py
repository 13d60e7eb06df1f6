"""Gathers whose indices are constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import shape_of
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
    constant_array,
    slice_along,
)

Run: TypeAlias = tuple[int, int, int]
"""Start, count and step; a step of 0 repeats one place."""

PIECES = 16
"""A gather of more runs of indices than this stays a gather."""


class GatherByConstant(Decomposition[nn.GatherOp]):
    """`gather(x, [3, 4, 5, 0]) -> concat(x[3:6], x[0:1])`, for a few runs of equal steps"""

    def decompose(self, op: nn.GatherOp, emit: Emitter) -> SSAValue | None:
        indices, axis = constant_array(op.indices), int(op.get("axis"))
        size = shape_of(op.operand)[axis]
        # An index that is out of range is left to the gather, which refuses it.
        if (
            indices is None
            or not indices.size
            or not (-size <= indices.min() <= indices.max() < size)
        ):
            return None
        runs = equal_steps([int(i) % size for i in indices.reshape(-1)])
        if len(runs) > PIECES:
            return None
        joined = concat_of_runs(op.operand, axis, runs, emit)
        return emit(nn.ReshapeOp(joined, shape=shape_of(op.result)))


def concat_of_runs(x: SSAValue, axis: int, runs: Sequence[Run], emit: Emitter) -> SSAValue:
    """The elements along an axis that runs name, run after run."""
    parts: list[SSAValue] = []
    for start, count, step in runs:
        if step:
            parts.append(emit(slice_along(x, axis, start, count, step)))
            continue
        one = emit(slice_along(x, axis, start, 1))
        shape = tuple(count if d == axis else size for d, size in enumerate(shape_of(one)))
        parts.append(emit(nn.BroadcastOp(one, shape=shape)))
    return parts[0] if len(parts) == 1 else emit(nn.ConcatOp(*parts, axis=axis))


def equal_steps(indices: Sequence[int]) -> list[Run]:
    """Indices as runs of `start, count, step`, each as long as it goes."""
    runs: list[Run] = []
    for index in indices:
        if runs:
            start, count, step = runs[-1]
            if count == 1:
                runs[-1] = (start, 2, index - start)
                continue
            if index == start + count * step:
                runs[-1] = (start, count + 1, step)
                continue
        runs.append((index, 1, 1))
    return runs


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (GatherByConstant(),)
