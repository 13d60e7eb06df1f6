"""Resampling of ONNX: Resize, Upsample and GridSample."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.importers.onnx.node import Node, NotInNn, onnx_op
from ranvier.importers.semantics import normal_axes


@onnx_op("Upsample")
def import_upsample_7(node: Node) -> SSAValue:
    return upsampled(node, node.attribute("scales", ()))


@onnx_op("Upsample", since=9)  # scales became an operand
def import_upsample(node: Node) -> SSAValue:
    return upsampled(node, floats(node, 1) or ())


@onnx_op("Resize", since=10)
def import_resize_10(node: Node) -> SSAValue:
    return upsampled(node, floats(node, 1) or ())


def upsampled(node: Node, scales: Sequence[float]) -> SSAValue:
    """Before opset 11 places are `i / scale`, and nearest is the one below."""
    return node.build(
        nn.ResizeOp(
            node.operand(0),
            shape=[floor(n * scale) for n, scale in zip(node.shape(), scales, strict=True)],
            scales=[float(scale) for scale in scales],
            mode=str(node.attribute("mode", "nearest")),
            coordinates="asymmetric",
            rounding="floor",
        )
    )


@onnx_op("Resize", since=11)
def import_resize(node: Node) -> SSAValue:
    axes = normal_axes(node.ints("axes") or range(node.rank()), node.rank())
    shape, scales = sizes_and_scales(node, axes)
    coordinates: str = node.attribute("coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_half_pixel_for_nn":
        raise NotInNn
    return node.build(
        nn.ResizeOp(
            node.operand(0),
            shape=shape,
            scales=scales,
            mode=str(node.attribute("mode", "nearest")),
            coordinates=coordinates,
            rounding=str(node.attribute("nearest_mode", "round_prefer_floor")),
            cubic_a=float(node.attribute("cubic_coeff_a", -0.75)),
            antialias=bool(node.attribute("antialias", 0)),
            exclude_outside=bool(node.attribute("exclude_outside", 0)),
            roi=region(node, axes) if coordinates == "tf_crop_and_resize" else None,
            outside=float(node.attribute("extrapolation_value", 0.0)),
        )
    )


def sizes_and_scales(node: Node, axes: Sequence[int]) -> tuple[list[int], list[float]]:
    """What is stated of the two, and what follows of the other, for every dimension."""
    shape, scales = list(node.shape()), [1.0] * node.rank()
    stated, sizes = floats(node, 2), node.constant_ints(3)
    if stated:
        for axis, scale in zip(axes, stated, strict=True):
            scales[axis], shape[axis] = scale, floor(shape[axis] * scale)
        return shape, scales
    if not sizes or len(sizes) != len(axes):
        node.fail(Code.NODE_INVALID, f"neither scales nor sizes for {len(axes)} axes are given")
    ratios = [size / shape[axis] for axis, size in zip(axes, sizes, strict=True)]
    policy: str = node.attribute("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        sizes = [floor(shape[axis] * ratio + 0.5) for axis in axes]
        ratios = [ratio] * len(axes)
    for axis, size, ratio in zip(axes, sizes, ratios, strict=True):
        scales[axis], shape[axis] = ratio, size
    return shape, scales


def region(node: Node, axes: Sequence[int]) -> list[float]:
    """The region of interest of every dimension: all starts, then all ends."""
    stated = floats(node, 1) or ()
    if len(stated) != 2 * len(axes):
        node.fail(Code.NODE_INVALID, f"a roi of {2 * len(axes)} numbers is needed, got {stated}")
    starts, ends = [0.0] * node.rank(), [1.0] * node.rank()
    for axis, start, end in zip(axes, stated, stated[len(axes) :], strict=False):
        starts[axis], ends[axis] = start, end
    return starts + ends


def floats(node: Node, position: int) -> tuple[float, ...] | None:
    array = node.constant(position)
    return None if array is None else tuple(np.asarray(array, np.float64).reshape(-1).tolist())


@onnx_op("GridSample")
def import_grid_sample(node: Node) -> SSAValue:
    mode: str = node.attribute("mode", "linear")
    padding: str = node.attribute("padding_mode", "zeros")
    return node.build(
        nn.GridSampleOp(
            node.operand(0),
            node.operand(1),
            mode=mode.removeprefix("bi"),
            padding=padding,
            align_corners=bool(node.attribute("align_corners", 0)),
        )
    )
