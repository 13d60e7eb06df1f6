"""Colours of images: RGB and HSV along the last dimension, and what is adjusted in them."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp
from ranvier.importers.tensorflow.elementwise import cast, number
from ranvier.importers.tensorflow.node import Node, tf_op
from ranvier.importers.tensorflow.shape import joined, part

Colour = tuple[SSAValue, SSAValue, SSAValue]


@tf_op("RGBToHSV")
def import_rgb_to_hsv(node: Node) -> SSAValue:
    return joined(node, hsv_of(node, channels(node)), -1)


@tf_op("HSVToRGB")
def import_hsv_to_rgb(node: Node) -> SSAValue:
    return joined(node, rgb_of(node, channels(node)), -1)


@tf_op("AdjustSaturation")
def import_adjust_saturation(node: Node) -> SSAValue:
    """A factor of the saturation, which stays between 0 and 1."""
    hue, saturation, value = hsv_of(node, channels(node))
    scaled = node.build(nn.MulOp(saturation, cast(node, node.operand(1), node.element())))
    return joined(node, rgb_of(node, (hue, unit(node, scaled), value)), -1)


@tf_op("AdjustContrastv2")
def import_adjust_contrast(node: Node) -> SSAValue:
    """`(x - mean) * factor + mean`, the mean of each channel of each image."""
    x = cast(node, node.operand(0), f32)
    axes = (node.rank() - 3, node.rank() - 2)
    mean = node.build(nn.ReduceMeanOp(x, axes=axes, keepdims=True))
    scaled = node.build(nn.MulOp(node.build(nn.SubOp(x, mean)), node.operand(1)))
    return cast(node, node.build(nn.AddOp(scaled, mean)), node.element())


def channels(node: Node) -> Colour:
    if node.rank() < 1 or node.shape()[-1] != 3:
        raise VerifyException(f"colours have 3 channels last, got {list(node.shape())}")
    x, axis = node.operand(0), node.rank() - 1
    return (
        part(node, x, axis, 0, 1),
        part(node, x, axis, 1, 1),
        part(node, x, axis, 2, 1),
    )


def hsv_of(node: Node, rgb: Sequence[SSAValue]) -> Colour:
    """The hue counts from red at 0 over green at 1/3 and blue at 2/3; grey has hue 0."""
    red, green, blue = rgb
    zero, one = number(node, 0, red), number(node, 1, red)

    def run(op: type[TensorOp], *operands: SSAValue) -> SSAValue:
        return node.build(op(*operands))

    value = run(nn.MaxOp, run(nn.MaxOp, red, green), blue)
    spread = run(nn.SubOp, value, run(nn.MinOp, run(nn.MinOp, red, green), blue))
    is_lit, is_coloured = run(nn.GreaterOp, value, zero), run(nn.GreaterOp, spread, zero)
    saturation = run(nn.DivOp, spread, run(nn.SelectOp, is_lit, value, one))
    saturation = run(nn.SelectOp, is_lit, saturation, zero)
    divisor = run(nn.MulOp, run(nn.SelectOp, is_coloured, spread, one), number(node, 6, red))

    def hue(start: float, above: SSAValue, below: SSAValue) -> SSAValue:
        part_of = run(nn.DivOp, run(nn.SubOp, above, below), divisor)
        return run(nn.AddOp, part_of, number(node, start, red))

    other = run(
        nn.SelectOp, run(nn.EqualOp, green, value), hue(1 / 3, blue, red), hue(2 / 3, red, green)
    )
    found = run(nn.SelectOp, run(nn.EqualOp, red, value), hue(0, green, blue), other)
    found = run(nn.SelectOp, is_coloured, found, zero)
    wrapped = run(nn.SelectOp, run(nn.LessOp, found, zero), run(nn.AddOp, found, one), found)
    return wrapped, saturation, value


def rgb_of(node: Node, hsv: Sequence[SSAValue]) -> Colour:
    """Each channel is full within a sixth of its hue, and falls to 0 over the next sixth."""
    hue, saturation, value = hsv
    turns = node.build(nn.MulOp(hue, number(node, 6, hue)))
    paleness = node.build(nn.SubOp(number(node, 1, hue), saturation))

    def channel(centre: float, sign: int) -> SSAValue:
        offset = node.build(nn.AbsOp(node.build(nn.SubOp(turns, number(node, centre, hue)))))
        bound = number(node, 1 if sign > 0 else 2, hue)
        pair = (offset, bound) if sign > 0 else (bound, offset)
        share = node.build(nn.MulOp(saturation, unit(node, node.build(nn.SubOp(*pair)))))
        return node.build(nn.MulOp(node.build(nn.AddOp(paleness, share)), value))

    return channel(3, 1), channel(2, -1), channel(4, -1)


def unit(node: Node, value: SSAValue) -> SSAValue:
    return node.build(nn.ClampOp(value, low=0.0, high=1.0))
