"""Ops that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from xdsl.dialects.builtin import BoolAttr, DenseArrayBase, FloatAttr, IntegerAttr, StringAttr
from xdsl.ir import Operation, SSAValue
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import (
    Array,
    HasPrecision,
    KeepsFinite,
    Permutable,
    Precision,
    Work,
    ints,
)
from ranvier.dialects.nn.shapes import broadcast_shapes, check_axes, format_shape
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    element_of,
    shape_of,
    size_of,
    tensor,
    type_of,
)


class MovementOp(TensorOp):
    """Every element of the result is an element of the operand, or a fill value."""

    operand = operand_def()
    result = result_def()

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

    def work(self) -> Work:
        return Work()


def picked(values: DenseArrayBase[Any], permutation: Sequence[int]) -> tuple[int, ...]:
    """One number per dimension, in another order of dimensions."""
    numbers = ints(values)
    return tuple(numbers[d] for d in permutation)


@irdl_op_definition
class ReshapeOp(MovementOp):
    """The same elements in row-major order under another shape."""

    name = "nn.reshape"
    shape = prop_def(DenseArrayBase)

    def infer(self) -> Sequence[Tensor]:
        shape = ints(self.shape)
        if prod(shape) != size_of(self.operand) or any(size < 0 for size in shape):
            raise VerifyException(
                f"{format_shape(shape_of(self.operand))} does not reshape to {format_shape(shape)}"
            )
        return (tensor(shape, element_of(self.operand)),)

    def evaluate(self, *operands: Array) -> Array:
        return operands[0].reshape(ints(self.shape))


@irdl_op_definition
class TransposeOp(MovementOp):
    """Dimension `d` of the result is dimension `permutation[d]` of the operand."""

    name = "nn.transpose"
    permutation = prop_def(DenseArrayBase)

    def infer(self) -> Sequence[Tensor]:
        shape, permutation = shape_of(self.operand), ints(self.permutation)
        if sorted(permutation) != list(range(len(shape))):
            raise VerifyException(
                f"{list(permutation)} is no permutation of {len(shape)} dimensions"
            )
        return (tensor(tuple(shape[d] for d in permutation), element_of(self.operand)),)

    def evaluate(self, *operands: Array) -> Array:
        return operands[0].transpose(ints(self.permutation))


@irdl_op_definition
class BroadcastOp(MovementOp, Permutable):
    """Repeat dimensions of size 1, and new leading ones, up to `shape`."""

    name = "nn.broadcast"
    shape = prop_def(DenseArrayBase)

    def infer(self) -> Sequence[Tensor]:
        shape = ints(self.shape)
        if broadcast_shapes(shape_of(self.operand), shape) != shape:
            raise VerifyException(
                f"{self.operand.type} does not broadcast to {format_shape(shape)}"
            )
        return (tensor(shape, element_of(self.operand)),)

    def permuted(self, permutation: Sequence[int], *operands: SSAValue) -> Operation:
        return BroadcastOp(*operands, shape=picked(self.shape, permutation))

    def evaluate(self, *operands: Array) -> Array:
        return np.broadcast_to(operands[0], ints(self.shape))


@irdl_op_definition
class SliceOp(MovementOp, Permutable):
    """`sizes[d]` elements per dimension from `starts[d]` on, `steps[d]` (of either sign) apart."""

    name = "nn.slice"
    starts = prop_def(DenseArrayBase)
    sizes = prop_def(DenseArrayBase)
    steps = prop_def(DenseArrayBase)

    def infer(self) -> Sequence[Tensor]:
        shape, sizes = shape_of(self.operand), ints(self.sizes)
        starts, steps = ints(self.starts), ints(self.steps)
        if not len(shape) == len(starts) == len(sizes) == len(steps):
            raise VerifyException(
                f"rank {len(shape)} needs as many starts, sizes and steps, got {len(starts)}, "
                f"{len(sizes)}, {len(steps)}"
            )
        for extent, start, size, step in zip(shape, starts, sizes, steps, strict=True):
            last = start + (size - 1) * step
            if size < 0 or (size and not (0 <= start < extent and 0 <= last < extent)):
                raise VerifyException(
                    f"{size} elements from {start} by {step} leave a dimension of {extent}"
                )
        return (tensor(sizes, element_of(self.operand)),)

    def permuted(self, permutation: Sequence[int], *operands: SSAValue) -> Operation:
        cuts = (self.starts, self.sizes, self.steps)
        starts, sizes, steps = (picked(cut, permutation) for cut in cuts)
        return SliceOp(*operands, starts=starts, sizes=sizes, steps=steps)

    def evaluate(self, *operands: Array) -> Array:
        indices: list[Any] = [
            np.arange(size) * step + start
            for start, size, step in zip(
                ints(self.starts), ints(self.sizes), ints(self.steps), strict=True
            )
        ]
        return operands[0][np.ix_(*indices)] if indices else operands[0]


@irdl_op_definition
class ConcatOp(TensorOp, Permutable):
    """Operands joined along `axis`."""

    name = "nn.concat"
    parts = var_operand_def()
    result = result_def()
    axis = prop_def(IntegerAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW), KeepsFinite())

    def infer(self) -> Sequence[Tensor]:
        if not self.operands:
            raise VerifyException("concat takes at least one operand")
        axis: int = self.get("axis")
        shapes = [shape_of(part) for part in self.operands]
        check_axes((axis,), len(shapes[0]))
        rests = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
        ranks = {len(shape) for shape in shapes}
        elements = {element_of(part) for part in self.operands}
        if len(ranks) > 1 or len(rests) > 1 or len(elements) > 1:
            given = ", ".join(str(part.type) for part in self.operands)
            raise VerifyException(f"operands differ off axis {axis}: {given}")
        joined = sum(shape[axis] for shape in shapes)
        shape = (*shapes[0][:axis], joined, *shapes[0][axis + 1 :])
        return (tensor(shape, element_of(self.operands[0])),)

    def permuted(self, permutation: Sequence[int], *operands: SSAValue) -> Operation:
        return ConcatOp(*operands, axis=list(permutation).index(self.get("axis")))

    def evaluate(self, *operands: Array) -> Array:
        return np.concatenate(operands, int(self.get("axis")))

    def work(self) -> Work:
        return Work()


PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@irdl_op_definition
class PadOp(MovementOp, Permutable):
    """`low[d]` elements before and `high[d]` after each dimension; negative amounts crop, first.

    `mode` says what they hold: `value`, or the operand reflected, its edge, or wrapped around.
    """

    name = "nn.pad"
    low = prop_def(DenseArrayBase)
    high = prop_def(DenseArrayBase)
    mode = prop_def(StringAttr)
    value = prop_def(FloatAttr)

    def infer(self) -> Sequence[Tensor]:
        shape, low, high = shape_of(self.operand), ints(self.low), ints(self.high)
        mode = self.mode.data
        if not len(shape) == len(low) == len(high) or mode not in PAD_MODES:
            raise VerifyException(
                f"pad of rank {len(shape)} takes as many lows and highs and a mode of "
                f"{', '.join(PAD_MODES)}, got {len(low)}, {len(high)}, {mode}"
            )
        for size, amounts in zip(shape, zip(low, high, strict=True), strict=True):
            kept = size + sum(min(0, amount) for amount in amounts)
            limit = {"reflect": kept - 1, "wrap": kept}.get(mode)
            if limit is not None and max(*amounts, 0) > max(limit, 0):
                raise VerifyException(f"{mode} reaches {max(amounts)} beyond a dimension of {kept}")
        padded = tuple(s + lo + hi for s, lo, hi in zip(shape, low, high, strict=True))
        if min(padded, default=0) < 0:
            raise VerifyException(f"cropping {format_shape(shape)} gives {format_shape(padded)}")
        return (tensor(padded, element_of(self.operand)),)

    def permuted(self, permutation: Sequence[int], *operands: SSAValue) -> Operation:
        low, high = (picked(margin, permutation) for margin in (self.low, self.high))
        return PadOp(*operands, low=low, high=high, mode=self.mode, value=self.value)

    def evaluate(self, *operands: Array) -> Array:
        low, high = ints(self.low), ints(self.high)
        kept = tuple(
            slice(max(0, -lo), size - max(0, -hi))
            for size, lo, hi in zip(operands[0].shape, low, high, strict=True)
        )
        margins = [(max(0, lo), max(0, hi)) for lo, hi in zip(low, high, strict=True)]
        x = operands[0][kept]
        if self.mode.data == "constant":
            return np.pad(x, margins, constant_values=x.dtype.type(self.get("value")))
        mode: Any = self.mode.data
        return np.pad(x, margins, mode=mode)


@irdl_op_definition
class TriluOp(MovementOp):
    """A triangle of each matrix of the last two dimensions, and zeros.

    The upper one keeps `column - row >= diagonal`, the lower one `column - row <= diagonal`.
    """

    name = "nn.trilu"
    upper = prop_def(BoolAttr)
    diagonal = prop_def(IntegerAttr)

    def infer(self) -> Sequence[Tensor]:
        if len(shape_of(self.operand)) < 2:
            raise VerifyException(f"trilu takes matrices, got {self.operand.type}")
        return (type_of(self.operand),)

    def evaluate(self, *operands: Array) -> Array:
        part = np.triu if self.get("upper") else np.tril
        return part(operands[0], int(self.get("diagonal")))
