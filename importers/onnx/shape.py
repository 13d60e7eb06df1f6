"""Ops of ONNX that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.shapes import Shape, broadcast_shapes
from ranvier.importers.onnx.node import Node, number_of, onnx_op
from ranvier.importers.semantics import (
    SliceGeometry,
    normal_axes,
    normal_axis,
    normal_slice,
    reshaped,
    split_sizes,
    whole_slice,
)

# -- The same elements under another shape ----------------------------------------------------


def reshape(node: Node, shape: Shape) -> SSAValue:
    return node.build(nn.ReshapeOp(node.operand(0), shape=shape))


@onnx_op("Reshape")
def import_reshape(node: Node) -> SSAValue:
    requested = node.ints_at("shape", 1, 5)
    if requested is None:
        node.fail(Code.NODE_INVALID, "the shape operand is missing")
    copies = not node.attribute("allowzero", 0)
    return reshape(node, reshaped(node.shape(), requested, zero_copies=copies))


@onnx_op("Flatten")
def import_flatten(node: Node) -> SSAValue:
    shape = node.shape()
    # One more axis than dimensions: flattening may leave no columns.
    axis = normal_axis(node.attribute("axis", 1), len(shape) + 1)
    if node.attribute("axis", 1) < 0:
        axis -= 1
    return reshape(node, (prod(shape[:axis]), prod(shape[axis:])))


@onnx_op("Squeeze")
def import_squeeze(node: Node) -> SSAValue:
    shape, axes = node.shape(), node.ints_at("axes", 1, 13)
    if axes is None:
        return reshape(node, tuple(size for size in shape if size != 1))
    dropped = normal_axes(axes, len(shape))
    if any(shape[axis] != 1 for axis in dropped):
        node.fail(Code.NODE_INVALID, f"axes {list(axes)} of {list(shape)} are not all of size 1")
    return reshape(node, tuple(size for axis, size in enumerate(shape) if axis not in dropped))


@onnx_op("Unsqueeze")
def import_unsqueeze(node: Node) -> SSAValue:
    axes, sizes = node.ints_at("axes", 1, 13) or (), iter(node.shape())
    rank = node.rank() + len(axes)
    added = normal_axes(axes, rank)
    if len(set(added)) < len(added):
        node.fail(Code.NODE_INVALID, f"axes {list(axes)} repeat")
    return reshape(node, tuple(1 if axis in added else next(sizes) for axis in range(rank)))


# -- Other orders and repetitions -------------------------------------------------------------


def rearranged(node: Node, apart: Shape, permutation: Shape, together: Shape) -> SSAValue:
    """Reshape to `apart`, permute, reshape to `together`."""
    value = node.build(nn.TransposeOp(reshape(node, apart), permutation=permutation))
    return node.build(nn.ReshapeOp(value, shape=together))


@onnx_op("Transpose")
def import_transpose(node: Node) -> SSAValue:
    backwards = tuple(reversed(range(node.rank())))
    permutation = node.ints("perm") or backwards
    return node.build(nn.TransposeOp(node.operand(0), permutation=permutation))


def image_and_block(node: Node) -> tuple[Shape, int]:
    block, limit = int(node.attribute("blocksize", 0)), max(node.shape(), default=0)
    if node.rank() != 4 or not 1 <= block <= limit:
        node.fail(
            Code.NODE_INVALID,
            f"it takes rank 4 and a block of at least 1, got rank {node.rank()} and {block}",
        )
    return node.shape(), block


@onnx_op("DepthToSpace")
def import_depth_to_space(node: Node) -> SSAValue:
    (n, c, h, w), b = image_and_block(node)
    together = (n, c // (b * b), h * b, w * b)
    if node.attribute("mode", "DCR") == "DCR":
        return rearranged(node, (n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2), together)
    return rearranged(node, (n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3), together)


@onnx_op("SpaceToDepth")
def import_space_to_depth(node: Node) -> SSAValue:
    (n, c, h, w), b = image_and_block(node)
    together = (n, c * b * b, h // b, w // b)
    depth_first = node.attribute("mode", "DCR") == "DCR"
    permutation = (0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4)
    return rearranged(node, (n, c, h // b, b, w // b, b), permutation, together)


@onnx_op("Expand")
def import_expand(node: Node) -> SSAValue:
    shape = broadcast_shapes(node.shape(), node.constant_ints(1) or ())
    return node.build(nn.BroadcastOp(node.operand(0), shape=shape))


@onnx_op("Tile")
def import_tile(node: Node) -> SSAValue:
    """Each dimension gets a repetition before it: `a -> 1xa -> rxa -> r*a`."""
    shape, repeats = node.shape(), node.constant_ints(1) or ()
    if len(repeats) != len(shape) or not all(0 <= repeat < 1 << 31 for repeat in repeats):
        node.fail(
            Code.NODE_INVALID,
            f"rank {len(shape)} takes as many repeats from 0 to 2**31, got {list(repeats)}",
        )
    apart = tuple(size for extent in shape for size in (1, extent))
    grid = tuple(s for pair in zip(repeats, shape, strict=True) for s in pair)
    together = tuple(r * size for r, size in zip(repeats, shape, strict=True))
    value = node.build(nn.BroadcastOp(reshape(node, apart), shape=grid))
    return node.build(nn.ReshapeOp(value, shape=together))


# -- Parts ------------------------------------------------------------------------------------


def sliced(node: Node, geometry: SliceGeometry) -> SSAValue:
    return node.build(
        nn.SliceOp(
            node.operand(0), starts=geometry.starts, sizes=geometry.sizes, steps=geometry.steps
        )
    )


@onnx_op("Slice")
def import_slice_1(node: Node) -> SSAValue:
    starts, ends = node.ints("starts") or (), node.ints("ends") or ()
    axes = node.ints("axes") or range(len(starts))
    return sliced(node, normal_slice(node.shape(), starts, ends, axes, (1,) * len(starts)))


@onnx_op("Slice", since=10)  # bounds became operands, and steps were added
def import_slice(node: Node) -> SSAValue:
    starts, ends = node.constant_ints(1) or (), node.constant_ints(2) or ()
    axes = node.constant_ints(3) or range(len(starts))
    steps = node.constant_ints(4) or (1,) * len(starts)
    return sliced(node, normal_slice(node.shape(), starts, ends, axes, steps))


@onnx_op("Split")
def import_split(node: Node) -> Sequence[SSAValue]:
    shape = node.shape()
    axis = normal_axis(node.attribute("axis", 0), len(shape))
    parts = node.attribute("num_outputs", len(node.outputs))
    sizes = node.ints_at("split", 1, 13) or split_sizes(shape[axis], parts)
    if sum(sizes) != shape[axis] or min(sizes) < 0 or len(sizes) != len(node.outputs):
        node.fail(
            Code.NODE_INVALID,
            f"{len(node.outputs)} parts of sizes {list(sizes)} do not split {shape[axis]} elements",
        )
    starts = accumulate(sizes, initial=0)
    return [part(node, axis, start, size) for start, size in zip(starts, sizes, strict=False)]


def part(node: Node, axis: int, start: int, size: int) -> SSAValue:
    whole = whole_slice(node.shape())
    starts = tuple(start if d == axis and size else 0 for d in range(len(whole.sizes)))
    sizes = tuple(size if d == axis else extent for d, extent in enumerate(whole.sizes))
    return sliced(node, SliceGeometry(starts, sizes, whole.steps))


@onnx_op("Concat")
def import_concat(node: Node) -> SSAValue:
    axis = normal_axis(node.attribute("axis", 1), node.rank())
    return node.build(nn.ConcatOp(*node.operands(), axis=axis))


@onnx_op("Pad")
def import_pad_2(node: Node) -> SSAValue:
    value = float(node.attribute("value", 0.0))
    return padded(node, node.operand(0), node.ints("pads") or (), value)


@onnx_op("Pad", since=11)  # pads and value became operands; from 18 on there are axes
def import_pad(node: Node) -> SSAValue:
    value, pads = node.optional(2), node.constant_ints(1) or ()
    if value is None:
        return padded(node, node.operand(0), pads, 0.0)
    if (fill := node.builder.constant_of(value)) is not None:
        return padded(node, node.operand(0), pads, float(number_of(fill)))
    # The fill value is an input: it is selected where no element of the operand stands.
    yes = node.build(nn.BroadcastOp(node.build_constant(np.array(True)), shape=node.shape()))
    own = padded(node, node.operand(0), pads, 0.0)
    scalar = node.build(nn.ReshapeOp(value, shape=()))
    return node.build(nn.SelectOp(padded(node, yes, pads, 0.0), own, scalar))


def padded(node: Node, operand: SSAValue, pads: Sequence[int], value: float) -> SSAValue:
    rank = node.rank()
    chosen = node.constant_ints(3) if node.optional(3) is not None else None
    axes = range(rank) if chosen is None else normal_axes(chosen, rank)
    low, high = [0] * rank, [0] * rank
    if len(pads) != 2 * len(axes):
        node.fail(Code.NODE_INVALID, f"{len(axes)} axes take twice as many pads, got {list(pads)}")
    for axis, before, after in zip(axes, pads, pads[len(axes) :], strict=False):
        low[axis], high[axis] = before, after
    mode: str = node.attribute("mode", "constant")
    return node.build(nn.PadOp(operand, low=low, high=high, mode=mode, value=value))


@onnx_op("Trilu")
def import_trilu(node: Node) -> SSAValue:
    upper, diagonal = bool(node.attribute("upper", 1)), node.scalar(1) or 0
    return node.build(nn.TriluOp(node.operand(0), upper=upper, diagonal=int(diagonal)))
