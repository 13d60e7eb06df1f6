"""Framework conventions in the terms of `nn`: axes, padding, slices, shapes, element types.

Every function is pure and independent of the framework; what it cannot make sense of raises
VerifyException with the values, and the importer adds the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from xdsl.ir import Attribute
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape, format_shape
from ranvier.dialects.nn.types import NoSuchTensor, element_type_of, known_element_types

# Sizes of windows stay below this, so that sums and products of them fit into i64.
_LARGEST = (1 << 31) - 1


class AutoPad(Enum):
    """How a framework derives the padding of a window from its stride."""

    VALID = "VALID"
    SAME_UPPER = "SAME_UPPER"
    SAME_LOWER = "SAME_LOWER"


def element_type(dtype: np.dtype[Any]) -> Attribute:
    """The element type of a NumPy type. Raises NoSuchTensor if `nn` has none."""
    if (element := element_type_of(dtype)) is None:
        raise NoSuchTensor(f"element type {dtype} is not supported; one of {known_element_types()}")
    return element


def normal_axis(axis: int, rank: int) -> int:
    """An axis counted from the front: `-1` of rank 4 is 3."""
    if not -rank <= axis < rank:
        raise VerifyException(f"axis {axis} is not an axis of rank {rank}")
    return axis % rank


def normal_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    return tuple(normal_axis(axis, rank) for axis in axes)


# -- Windows ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """Geometry of a convolution or a pool; one entry per spatial dimension."""

    size: Shape
    kernel: Shape
    strides: Shape
    dilations: Shape

    def __post_init__(self) -> None:
        lengths = {len(self.kernel), len(self.strides), len(self.dilations)}
        if lengths != {len(self.size)}:
            raise VerifyException(
                f"{len(self.size)} spatial dimensions take as many kernel sizes, strides and "
                f"dilations, got {len(self.kernel)}, {len(self.strides)}, {len(self.dilations)}"
            )
        if min((1, *self.kernel, *self.strides, *self.dilations)) < 1:
            raise VerifyException(
                f"kernel, strides and dilations are at least 1, got {list(self.kernel)}, "
                f"{list(self.strides)}, {list(self.dilations)}"
            )
        if max((1, *self.kernel, *self.strides, *self.dilations)) > _LARGEST:
            raise VerifyException(
                f"kernel, strides and dilations are at most {_LARGEST}, got {list(self.kernel)}, "
                f"{list(self.strides)}, {list(self.dilations)}"
            )

    def extents(self) -> Shape:
        """How far a window reaches per dimension."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def automatic_padding(window: Window, auto_pad: AutoPad) -> Shape:
    """All lows, then all highs. SAME makes `ceil(size / stride)` windows; the odd element goes
    after (UPPER) or before (LOWER)."""
    if auto_pad is AutoPad.VALID:
        return (0,) * (2 * len(window.size))
    totals = [
        max(0, (-(-size // stride) - 1) * stride + extent - size)
        for size, stride, extent in zip(window.size, window.strides, window.extents(), strict=True)
    ]
    smaller = tuple(total // 2 for total in totals)
    larger = tuple(total - total // 2 for total in totals)
    return smaller + larger if auto_pad is AutoPad.SAME_UPPER else larger + smaller


def ceil_padding(window: Window, padding: Shape) -> Shape:
    """Padding under which flooring gives as many windows as `ceil_mode` does under `padding`.

    `ceil_mode` rounds the number of windows up and drops a last one that would start beyond the
    operand and its low padding.
    """
    rank = len(window.size)
    highs: list[int] = []
    for d, extent in enumerate(window.extents()):
        low, high, stride = padding[d], padding[rank + d], window.strides[d]
        total = window.size[d] + low + high
        count = -(-(total - extent) // stride) + 1
        if (count - 1) * stride >= window.size[d] + low:
            count -= 1
        needed = (count - 1) * stride + extent
        highs.append(high + max(needed, min(total, needed + stride - 1)) - total)
    return (*padding[:rank], *highs)


# -- Shapes -----------------------------------------------------------------------------------


def reshaped(shape: Shape, requested: Sequence[int], *, zero_copies: bool) -> Shape:
    """The shape that a request with `-1` (the rest) and `0` (as before, if so) stands for."""
    sizes = [int(size) for size in requested]
    if zero_copies:
        if any(size == 0 and d >= len(shape) for d, size in enumerate(sizes)):
            raise VerifyException(
                f"a 0 in {list(requested)} copies a dimension that {format_shape(shape)} lacks"
            )
        sizes = [shape[d] if size == 0 else size for d, size in enumerate(sizes)]
    known = prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or min(sizes, default=0) < -1:
        raise VerifyException(f"{list(requested)} has more than one unknown size")
    if -1 in sizes:
        if known == 0 or prod(shape) % known:
            raise VerifyException(f"{format_shape(shape)} does not reshape to {list(requested)}")
        sizes[sizes.index(-1)] = prod(shape) // known
    return tuple(sizes)


def split_sizes(size: int, parts: int) -> list[int]:
    """`parts` equal chunks, the last one smaller where `size` does not divide."""
    if parts < 1:
        raise VerifyException(f"a split has at least one part, got {parts}")
    chunk = -(-size // parts)
    return [max(0, min(chunk, size - index * chunk)) for index in range(parts)]


@dataclass(frozen=True)
class SliceGeometry:
    """The arguments of `nn.slice`."""

    starts: Shape
    sizes: Shape
    steps: Shape


def whole_slice(shape: Shape) -> SliceGeometry:
    return SliceGeometry((0,) * len(shape), shape, (1,) * len(shape))


def normal_slice(
    shape: Shape,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int],
    steps: Sequence[int],
) -> SliceGeometry:
    """Python's clamping of `start:end:step`, negative counts and out-of-range ends included."""
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise VerifyException(
            f"as many starts, ends, axes and steps are needed, got {len(starts)}, {len(ends)}, "
            f"{len(axes)}, {len(steps)}"
        )
    geometry = [(0, size, 1) for size in shape]
    for start, end, axis, step in zip(
        starts, ends, normal_axes(axes, len(shape)), steps, strict=True
    ):
        if step == 0:
            raise VerifyException(f"the step along axis {axis} is 0")
        taken = range(*slice(int(start), int(end), int(step)).indices(shape[axis]))
        geometry[axis] = (taken.start if len(taken) else 0, len(taken), int(step))
    return SliceGeometry(
        tuple(g[0] for g in geometry), tuple(g[1] for g in geometry), tuple(g[2] for g in geometry)
    )


# -- Indices ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Constant indices that are evenly spaced: a slice, rearranged and repeated.

    `start`, `count` and `step` of the slice, which reshapes to `sizes`; dimension `d` of the
    indices is dimension `order[d]` of that, or repeats one element where `order[d]` is None.
    """

    start: int
    count: int
    step: int
    sizes: Shape
    order: tuple[int | None, ...]


def evenly_spaced(indices: Array) -> Run | None:
    """How indices, none negative, are one slice; None if they are not."""
    if not indices.size:
        return None
    start = int(indices.reshape(-1)[0])
    strides = [int(step_along(indices, d)) for d in range(indices.ndim)]
    grid = sum(
        np.arange(size).reshape(-1, *(1,) * (indices.ndim - d - 1)) * strides[d]
        for d, size in enumerate(indices.shape)
    )
    moving = sorted((d for d in range(indices.ndim) if strides[d]), key=lambda d: -strides[d])
    nested = all(
        strides[outer] == strides[inner] * indices.shape[inner] for outer, inner in pairwise(moving)
    )
    if not nested or min(strides, default=0) < 0 or not np.array_equal(indices, start + grid):
        return None
    order = tuple(moving.index(d) if d in moving else None for d in range(indices.ndim))
    sizes = tuple(indices.shape[d] for d in moving)
    return Run(start, prod(sizes), strides[moving[-1]] if moving else 1, sizes, order)


def step_along(indices: Array, axis: int) -> int:
    """The difference of the first two indices along an axis; 0 if there is one only."""
    if indices.shape[axis] < 2:
        return 0
    first, second = np.take(indices, (0, 1), axis).swapaxes(0, axis).reshape(2, -1)[:, 0]
    return second - first
