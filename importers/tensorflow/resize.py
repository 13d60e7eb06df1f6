"""Resampling of images `NxHxWxC`."""

from __future__ import annotations

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.importers.tensorflow.elementwise import cast
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
