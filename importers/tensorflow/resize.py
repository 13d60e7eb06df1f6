"""Resampling of images `NxHxWxC`."""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import Array
from ranvier.importers.tensorflow.elementwise import cast, number
from ranvier.importers.tensorflow.layout import Layout
from ranvier.importers.tensorflow.node import Node, NotInNn, tf_op

CUBIC_A = -0.5
"""Of half-pixel centres; the older form has a table of another kernel."""


def coordinates(node: Node) -> str:
    """Where an element of the result reads."""
    if node.attribute("align_corners", False):
        return "align_corners"
    return "half_pixel" if node.attribute("half_pixel_centers", False) else "asymmetric"


@tf_op("ResizeBilinear")
def import_resize_bilinear(node: Node) -> SSAValue:
    return resized(node, cast(node, node.operand(0), f32), "linear", "floor")


@tf_op("ResizeNearestNeighbor")
def import_resize_nearest(node: Node) -> SSAValue:
    rounding = "floor" if coordinates(node) == "asymmetric" else "round_prefer_ceil"
    return resized(node, node.operand(0), "nearest", rounding)


@tf_op("ResizeBicubic")
def import_resize_bicubic(node: Node) -> SSAValue:
    if coordinates(node) != "half_pixel":
        raise NotInNn
    return resized(node, cast(node, node.operand(0), f32), "cubic", "floor")


@tf_op("CropAndResize")
def import_crop_and_resize(node: Node) -> SSAValue:
    """Boxes of images, resampled. They are constants: 16-bit places would be pixels off.

    A box is `y1 x1 y2 x2` in fractions from the centre of the first pixel to that of the last.
    """
    if node.attribute("method", "bilinear") != "bilinear" or min(node.shape()[1:]) < 1:
        raise NotInNn
    _, high, wide, _ = node.shape()
    boxes, (rows, columns) = node.constant(1).astype(np.float32), node.constant_ints(3)
    y = places(boxes[:, 0], boxes[:, 2], rows, high)
    x = places(boxes[:, 1], boxes[:, 3], columns, wide)
    inside = ((0 <= y) & (y <= high - 1))[:, :, None] & ((0 <= x) & (x <= wide - 1))[:, None, :]
    pair = np.broadcast_arrays(x[:, None, :] / max(1, wide - 1), y[:, :, None] / max(1, high - 1))
    grid = node.build_constant((2 * np.stack(pair, -1) - 1).astype(np.float32))
    images = node.build(nn.GatherOp(cast(node, node.operand(0), f32), node.operand(2), axis=0))
    layout = Layout(4, last=True)
    sampled = nn.GridSampleOp(
        layout.to_nn(node, images), grid, mode="linear", padding="border", align_corners=True
    )
    rest = number(node, float(node.attribute("extrapolation_value", 0.0)), images)
    mask = node.build_constant(inside[..., None])
    return node.build(nn.SelectOp(mask, layout.from_nn(node, node.build(sampled)), rest))


def places(first: Array, last: Array, count: int, size: int) -> Array:
    """Where the elements of crops lie in a dimension, in pixels."""
    if count == 1:
        return (0.5 * (first + last) * (size - 1))[:, None]
    step = (last - first) * (size - 1) / (count - 1)
    return (first * (size - 1))[:, None] + np.arange(count, dtype=np.float32) * step[:, None]


def resized(node: Node, value: SSAValue, mode: str, rounding: str) -> SSAValue:
    batch, high, wide, channels = node.shape()
    sizes = node.constant_ints(1)
    if len(sizes) != 2 or min(sizes) < 1 or min(high, wide) < 1:
        node.fail(Code.NODE_INVALID, f"{list(node.shape())} is not resized to {list(sizes)}")
    op = nn.ResizeOp(
        value,
        shape=(batch, *sizes, channels),
        scales=[1.0, sizes[0] / high, sizes[1] / wide, 1.0],
        mode=mode,
        coordinates=coordinates(node),
        rounding=rounding,
        cubic_a=CUBIC_A,
        exclude_outside=mode == "cubic",
    )
    return node.build(op)
