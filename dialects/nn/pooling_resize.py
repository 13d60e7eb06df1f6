"""Resampling of images: on a regular grid of another size, and at any places."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from xdsl.dialects.builtin import BoolAttr, DenseArrayBase, FloatAttr, StringAttr
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work, ints
from ranvier.dialects.nn.shapes import format_shape
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    element_of,
    is_float,
    shape_of,
    size_of,
    tensor,
)

MODES = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
CUBIC = -0.75


@irdl_op_definition
class ResizeOp(TensorOp):
    """Each dimension resampled to its size in `shape`; the dimensions are independent.

    Element `i` of a dimension of `n` elements, scaled by `s` to `m = n * s`, reads it at `x(i)`:

        half_pixel            (i + 1/2) / s - 1/2
        half_pixel_symmetric  n/2 * (1 - floor(m) / m) + (i + 1/2) / s - 1/2
        pytorch_half_pixel    (i + 1/2) / s - 1/2, or 0 if m = 1
        align_corners         i * (n - 1) / (m - 1)
        asymmetric            i / s
        tf_crop_and_resize    the region `roi` (all starts, then all ends) of the dimension, corners
                              aligned; what is read outside it is `outside`

    `nearest` takes the element that `rounding` of `x` gives; `linear` and `cubic` (Keys, `cubic_a`)
    weigh those around it, wider by `1 / s` under `antialias` if `s < 1`. Elements beyond the edge
    are the edge, or have no weight under `exclude_outside`.
    """

    name = "nn.resize"
    operand = operand_def()
    result = result_def()
    shape = prop_def(DenseArrayBase)
    scales = prop_def(DenseArrayBase)
    mode = prop_def(StringAttr)
    coordinates = prop_def(StringAttr)
    rounding = opt_prop_def(StringAttr)
    cubic_a = opt_prop_def(FloatAttr)
    antialias = opt_prop_def(BoolAttr)
    exclude_outside = opt_prop_def(BoolAttr)
    roi = opt_prop_def(DenseArrayBase)
    outside = opt_prop_def(FloatAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.FOLLOW))

    def infer(self) -> Sequence[Tensor]:
        x, shape, scales = shape_of(self.operand), ints(self.shape), self.get("scales")
        roi = self.get("roi")
        if not len(x) == len(shape) == len(scales) or min((*scales, 1)) <= 0:
            raise VerifyException(
                f"rank {len(x)} takes as many sizes and positive scales, got "
                f"{format_shape(shape)} and {list(scales)}"
            )
        if min((*x, 1)) < 1 or min((*shape, 0)) < 0:
            raise VerifyException(f"{self.operand.type} is not resized to {format_shape(shape)}")
        for value, known in ((self.mode, MODES), (self.coordinates, COORDINATES)):
            if value.data not in known:
                raise VerifyException(f"'{value.data}' is not one of {', '.join(known)}")
        if self.get("rounding", "floor") not in ROUNDINGS:
            raise VerifyException(f"rounding is one of {', '.join(ROUNDINGS)}")
        if self.coordinates.data == "tf_crop_and_resize" and len(roi or ()) != 2 * len(x):
            raise VerifyException(f"tf_crop_and_resize takes a roi of {2 * len(x)} numbers")
        return (tensor(shape, element_of(self.operand)),)

    def places(self, axis: int) -> Array:
        """`x(i)` along an axis."""
        n, whole = shape_of(self.operand)[axis], ints(self.shape)[axis]
        s, i = float(self.get("scales")[axis]), np.arange(whole, dtype=np.float64)
        m = n * s
        match self.coordinates.data:
            case "half_pixel":
                return (i + 0.5) / s - 0.5
            case "half_pixel_symmetric":
                return n / 2 * (1 - whole / m) + (i + 0.5) / s - 0.5
            case "pytorch_half_pixel":
                return (i + 0.5) / s - 0.5 if whole > 1 else 0 * i
            case "align_corners":
                return i * (n - 1) / (m - 1) if whole > 1 else 0 * i
            case "asymmetric":
                return i / s
            case _:
                rank = len(ints(self.shape))
                start, end = self.get("roi")[axis], self.get("roi")[rank + axis]
                span = i * (end - start) / (m - 1) if whole > 1 else 0 * i + (end - start) / 2
                return (start + span) * (n - 1)

    def nearest(self, axis: int) -> Array:
        """Which element each one of the result takes."""
        x = self.places(axis)
        match self.get("rounding", "round_prefer_floor"):
            case "round_prefer_floor":
                x = np.ceil(x - 0.5)
            case "round_prefer_ceil":
                x = np.floor(x + 0.5)
            case "floor":
                x = np.floor(x)
            case _:
                x = np.ceil(x)
        return x.astype(np.int64).clip(0, shape_of(self.operand)[axis] - 1)

    def weights(self, axis: int) -> Array:
        """The resampling of an axis as a matrix of result by operand elements, in f64."""
        n, x = shape_of(self.operand)[axis], self.places(axis)
        kernel, radius = (linear, 1) if self.mode.data == "linear" else (cubic, 2)
        narrow = self.get("antialias", False)
        scale = min(1.0, float(self.get("scales")[axis])) if narrow else 1.0
        reach = int(np.ceil(radius / scale))
        taps = np.floor(x).astype(np.int64)[:, None] + np.arange(1 - reach, 1 + reach)
        weights = kernel((taps - x[:, None]) * scale, float(self.get("cubic_a", CUBIC)))
        if self.get("exclude_outside", False):
            weights = np.where((taps >= 0) & (taps < n), weights, 0)
        weights = weights / weights.sum(1, keepdims=True)
        matrix = np.zeros((len(x), n))
        np.add.at(matrix, (np.arange(len(x))[:, None], taps.clip(0, n - 1)), weights)
        return matrix

    def evaluate(self, *operands: Array) -> Array:
        x = operands[0]
        for axis in range(x.ndim):
            if self.mode.data == "nearest":
                x = np.take(x, self.nearest(axis), axis)
            elif self.result_differs(axis):
                matrix = self.weights(axis).astype(x.dtype if x.dtype.kind == "f" else None)
                x = np.moveaxis(np.tensordot(x, matrix, (axis, 1)), -1, axis)
        if self.coordinates.data == "tf_crop_and_resize":
            x = np.where(self.is_outside(), x.dtype.type(self.get("outside", 0.0)), x)
        return x.astype(operands[0].dtype)

    def result_differs(self, axis: int) -> bool:
        """Whether the axis is resampled at other places than its own elements."""
        own = np.arange(shape_of(self.operand)[axis])
        return not np.array_equal(self.places(axis), own) or self.get("antialias", False)

    def is_outside(self) -> Array:
        """Which elements of the result are read beyond the operand."""
        outside = np.zeros(ints(self.shape), np.bool_)
        for axis, n in enumerate(shape_of(self.operand)):
            x = self.places(axis)
            beyond = (x < 0) | (x > n - 1)
            outside |= beyond.reshape(-1, *(1,) * (outside.ndim - axis - 1))
        return outside

    def work(self) -> Work:
        return Work(elements=2 * size_of(self.result))


def linear(t: Array, _: float) -> Array:
    """The hat function."""
    return np.maximum(1 - np.abs(t), 0)


def cubic(t: Array, a: float) -> Array:
    """The convolution kernel of Keys."""
    t = np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


PADDINGS = ("zeros", "border", "reflection")


@irdl_op_definition
class GridSampleOp(TensorOp):
    """`NxCx…` read at the places of a grid `Nx…xD`, whose last dimension counts backwards (x, y).

    A place is from -1 to 1 along each spatial dimension: between the centres of its first and last
    element if `align_corners`, else between its edges. Beyond them is zero, the border, or the
    reflection at those limits, by `padding`.
    """

    name = "nn.grid_sample"
    operand = operand_def()
    grid = operand_def()
    result = result_def()
    mode = prop_def(StringAttr)
    padding = prop_def(StringAttr)
    align_corners = prop_def(BoolAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def infer(self) -> Sequence[Tensor]:
        x, grid = shape_of(self.operand), shape_of(self.grid)
        if len(x) != len(grid) or x[:1] != grid[:1] or grid[-1:] != (len(x) - 2,):
            raise VerifyException(f"a grid of {self.grid.type} does not fit {self.operand.type}")
        if not is_float(element_of(self.operand)) or not is_float(element_of(self.grid)):
            raise VerifyException(f"floats are sampled, got {self.operand.type}")
        if self.mode.data not in MODES or self.padding.data not in PADDINGS:
            raise VerifyException(
                f"mode is {', '.join(MODES)}, padding {', '.join(PADDINGS)}; got "
                f"{self.mode.data}, {self.padding.data}"
            )
        return (tensor((*x[:2], *grid[1:-1]), element_of(self.operand)),)

    def places(self, grid: Array) -> list[Array]:
        """Coordinates in elements, one array of `Nx…` per spatial dimension."""
        places: list[Array] = []
        for axis, n in enumerate(shape_of(self.operand)[2:]):
            p = grid[..., grid.shape[-1] - 1 - axis].astype(np.float64)
            p = (p + 1) / 2 * (n - 1) if self.get("align_corners") else ((p + 1) * n - 1) / 2
            places.append(self.inside(p, n))
        return places

    def inside(self, p: Array, n: int) -> Array:
        """The place that stands for one beyond the operand."""
        match self.padding.data:
            case "border":
                return p.clip(0, n - 1)
            case "reflection":
                low, high = (0.0, n - 1.0) if self.get("align_corners") else (-0.5, n - 0.5)
                span = max(high - low, 1e-12)
                p = np.abs((p - low) % (2 * span))
                return low + np.where(p > span, 2 * span - p, p)
            case _:
                return p

    def evaluate(self, *operands: Array) -> Array:
        x, places = operands[0], self.places(operands[1])
        if self.mode.data == "nearest":
            return self.read(x, [np.round(p).astype(np.int64) for p in places]).astype(x.dtype)
        kernel, reach = (linear, 1) if self.mode.data == "linear" else (cubic, 2)
        total: Any = 0.0
        for offsets in product(range(1 - reach, 1 + reach), repeat=len(places)):
            taps = [np.floor(p).astype(np.int64) + o for p, o in zip(places, offsets, strict=True)]
            factors = [kernel(t - p, CUBIC) for t, p in zip(taps, places, strict=True)]
            total = total + self.read(x, taps) * np.prod(factors, 0)[:, None]
        return np.asarray(total).astype(x.dtype)

    def read(self, x: Array, taps: Sequence[Array]) -> Array:
        """The elements `NxCx…` at whole places."""
        known = np.ones(taps[0].shape, np.bool_)
        clipped: list[Array] = []
        for tap, n in zip(taps, x.shape[2:], strict=True):
            if self.padding.data == "reflection":
                tap = np.round(self.inside(tap.astype(np.float64), n)).astype(np.int64)
            known &= (tap >= 0) & (tap < n)
            clipped.append(tap.clip(0, n - 1))
        batch = np.arange(x.shape[0]).reshape(-1, *(1,) * (known.ndim - 1))
        values = np.moveaxis(x[(batch, slice(None), *clipped)], -1, 1)
        return values if self.padding.data != "zeros" else values * known[:, None]

    def work(self) -> Work:
        return Work(elements=size_of(self.result) * 4 ** len(shape_of(self.grid)[1:-1]))
