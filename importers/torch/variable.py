"""Tensors that share memory, as values that do not change.

A view knows the tensor that it was taken from, and by which moves. Writing to a tensor makes a new
value of what it was taken from, by the moves backwards; a view that was taken before is taken anew
when it is next read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils import _pytree as pytree
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import Array, ints
from ranvier.dialects.nn.shape import MovementOp
from ranvier.dialects.nn.types import TensorOp, shape_of
from ranvier.importers.errors import ModelImportError

Append: TypeAlias = Callable[[TensorOp], SSAValue]
MakeConstant: TypeAlias = Callable[[Array], SSAValue]

MOVES = nn.ReshapeOp | nn.TransposeOp | nn.SliceOp | nn.BroadcastOp


class SharedMemory(Exception):
    """A tensor is written to through a view that `nn` does not undo."""


class NotFunctional(ModelImportError):
    """Writes to shared memory that have no counterpart without a write."""


@dataclass
class Foreign:
    """A value that the framework must compute; `fake` says of which type, if that is known.

    `value` stands for it in a module of unknown types.
    """

    name: str
    fake: torch.Tensor | None
    value: SSAValue | None = None


class Variable:
    """A tensor of the framework: what it holds now, and whose memory it shares."""

    def __init__(self, value: SSAValue, fake: torch.Tensor, source: Variable | None = None) -> None:
        self.fake = fake
        self.changed = False
        """Whether it was written to, itself or by a view of it."""
        self._value = value
        self._source = source
        self._origin = source._value if source is not None else None
        self._path = () if self._origin is None else moves(self._origin, value)

    def storage(self) -> int:
        """Identifies the memory that the tensor shares with its views."""
        return storage_of(self.fake)

    def read(self, append: Append) -> SSAValue:
        """What the tensor holds. Raises SharedMemory if a write has changed that beyond reach."""
        if self._source is None:
            return self._value
        origin = self._source.read(append)
        if origin is not self._origin:
            self._value = self.along(origin, append)[-1]
            self._origin = origin
        return self._value

    def write(self, value: SSAValue, append: Append, constant: MakeConstant) -> None:
        """Make the tensor, and all that share its memory, hold a value of its own type."""
        if self._source is not None:
            stages = self.along(self._source.read(append), append)
            changed = value
            for op, before in zip(reversed(self._path or ()), stages[-2::-1], strict=True):
                changed = undone(op, before, changed, append, constant)
            self._source.write(changed, append, constant)
            self._origin = self._source.read(append)
        self._value, self.changed = value, True

    def along(self, origin: SSAValue, append: Append) -> list[SSAValue]:
        """The value of the source, and that after each move to this view."""
        if self._path is None:
            raise SharedMemory
        stages = [origin]
        for op in self._path:
            stages.append(append(op.rebuilt(stages[-1])))
        return stages


def fakes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with fake tensors in place of variables."""
    return {
        name: pytree.tree_map(lambda leaf: leaf.fake if isinstance(leaf, Variable) else leaf, value)
        for name, value in given.items()
    }


def storage_of(tensor: torch.Tensor) -> int:
    storage: Any = tensor.untyped_storage()
    return storage._cdata


def moves(origin: SSAValue, value: SSAValue) -> Sequence[MovementOp] | None:
    """The ops that lead from one value to another, or None if others do, too."""
    path: list[MovementOp] = []
    while value is not origin:
        if not isinstance(value.owner, MOVES):
            return None
        path.append(value.owner)
        value = value.owner.operand
    return tuple(reversed(path))


def undone(
    op: MovementOp, before: SSAValue, value: SSAValue, append: Append, constant: MakeConstant
) -> SSAValue:
    """The operand of a move, `before`, changed so that the move gives `value`."""
    match op:
        case nn.ReshapeOp():
            return append(nn.ReshapeOp(value, shape=shape_of(before)))
        case nn.TransposeOp():
            inverse = np.argsort(ints(op.permutation))
            return append(nn.TransposeOp(value, permutation=[int(d) for d in inverse]))
        case nn.SliceOp():
            return overwritten(op, before, value, append, constant)
        case _:
            raise SharedMemory  # several elements of a broadcast are one


def overwritten(
    op: nn.SliceOp, before: SSAValue, value: SSAValue, append: Append, constant: MakeConstant
) -> SSAValue:
    """`before` with `value` in place of a slice, one dimension after another."""
    starts, sizes, steps = ints(op.starts), ints(op.sizes), ints(op.steps)
    shape = shape_of(before)
    # What is overwritten along axis d only, the later ones being whole already.
    slabs = [before]
    for d, (start, size, step) in enumerate(zip(starts, sizes, steps, strict=True)):
        slabs.append(along_axis(slabs[-1], d, start, size, step, append))
    for d in reversed(range(len(shape))):
        if (starts[d], sizes[d], steps[d]) == (0, shape[d], 1):
            continue
        if steps[d] == 1:
            end = starts[d] + sizes[d]
            low = along_axis(slabs[d], d, 0, starts[d], 1, append)
            high = along_axis(slabs[d], d, end, shape[d] - end, 1, append)
            parts = [part for part in (low, value, high) if shape_of(part)[d]]
            value = append(nn.ConcatOp(*parts, axis=d)) if len(parts) > 1 else parts[0]
        elif sizes[d]:
            places, taken = np.zeros(shape[d], np.int64), np.zeros(shape[d], np.bool_)
            written = starts[d] + np.arange(sizes[d]) * steps[d]
            places[written], taken[written] = np.arange(sizes[d]), True
            spread = append(nn.GatherOp(value, constant(places), axis=d))
            column = constant(taken.reshape(-1, *(1,) * (len(shape) - d - 1)))
            value = append(nn.SelectOp(column, spread, slabs[d]))
        else:
            value = slabs[d]
    return value


def along_axis(
    value: SSAValue, axis: int, start: int, size: int, step: int, append: Append
) -> SSAValue:
    shape = shape_of(value)
    if (start, size, step) == (0, shape[axis], 1):
        return value
    return append(
        nn.SliceOp(
            value,
            starts=[start if d == axis and size else 0 for d in range(len(shape))],
            sizes=[size if d == axis else whole for d, whole in enumerate(shape)],
            steps=[step if d == axis else 1 for d in range(len(shape))],
        )
    )
