"""Gathers whose indices are constants."""

from __future__ import annotations

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

PIECES = 16
"""A gather of more runs of indices than this stays a gather."""


class GatherByConstant(Decomposition[nn.GatherOp]):
    """`gather(x, [3, 4, 5, 0]) -> concat(x[3:6], x[0:1])`, for a few runs of equal steps"""

    def decompose(self, op: nn.GatherOp, emit: Emitter) -> SSAValue | None:
        indices, axis = constant_array(op.indices), int(op.get("axis"))
        shape = shape_of(op.operand)
        if indices is None or not indices.size:
            return None
        runs = equal_steps([int(i) % shape[axis] for i in indices.reshape(-1)])
        if len(runs) > PIECES:
            return None
        parts = [emit(slice_along(op.operand, axis, *run)) for run in runs]
        joined = parts[0] if len(parts) == 1 else emit(nn.ConcatOp(*parts, axis=axis))
        return emit(nn.ReshapeOp(joined, shape=shape_of(op.result)))


def equal_steps(indices: list[int]) -> list[tuple[int, int, int]]:
    """Indices as runs of `start, count, step`; the step is 1 or more."""
    runs: list[tuple[int, int, int]] = []
    for index in indices:
        if runs:
            start, count, step = runs[-1]
            if count == 1 and index > start:
                runs[-1] = (start, 2, index - start)
                continue
            if count > 1 and index == start + count * step:
                runs[-1] = (start, count + 1, step)
                continue
        runs.append((index, 1, 1))
    return runs


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (GatherByConstant(),)
