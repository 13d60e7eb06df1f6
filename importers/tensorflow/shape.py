"""Ops of TensorFlow that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import shape_of
from ranvier.importers.semantics import (
    SliceGeometry,
    normal_axes,
    normal_axis,
    normal_slice,
    reshaped,
    whole_slice,
)
from ranvier.importers.tensorflow.node import Node, NotInNn, tf_op

# -- The same elements under another shape ----------------------------------------------------


def reshape(node: Node, value: SSAValue, shape: Sequence[int]) -> SSAValue:
    return node.build(nn.ReshapeOp(value, shape=shape))


def transpose(node: Node, value: SSAValue, permutation: Sequence[int]) -> SSAValue:
    return node.build(nn.TransposeOp(value, permutation=permutation))


@tf_op("Reshape")
def import_reshape(node: Node) -> SSAValue:
    shape = reshaped(node.shape(), node.constant_ints(1), zero_copies=False)
    return reshape(node, node.operand(0), shape)


@tf_op("Squeeze")
def import_squeeze(node: Node) -> SSAValue:
    shape, axes = node.shape(), node.ints("squeeze_dims")
    dropped = normal_axes(axes, len(shape)) if axes else range(len(shape))
    if axes and any(shape[axis] != 1 for axis in dropped):
        node.fail(Code.NODE_INVALID, f"axes {list(axes)} of {list(shape)} are not all of size 1")
    kept = [size for axis, size in enumerate(shape) if size != 1 or axis not in dropped]
    return reshape(node, node.operand(0), kept)


@tf_op("ExpandDims")
def import_expand_dims(node: Node) -> SSAValue:
    axis, shape = normal_axis(int(node.scalar(1)), node.rank() + 1), node.shape()
    return reshape(node, node.operand(0), (*shape[:axis], 1, *shape[axis:]))


@tf_op("Transpose")
def import_transpose(node: Node) -> SSAValue:
    return transpose(node, node.operand(0), normal_axes(node.constant_ints(1), node.rank()))


@tf_op("SpaceToDepth", "DepthToSpace")
def import_space_to_depth(node: Node) -> SSAValue:
    """Blocks of pixels are the outer part of the channels."""
    if (layout := node.attribute("data_format", "NHWC")) != "NHWC":
        node.fail(Code.MODEL_UNSUPPORTED, f"its layout is {layout}; NHWC is read")
    (n, h, w, c), b = node.shape(), int(node.attribute("block_size", 0))
    if b < 1 or (h % b or w % b if node.op_type == "SpaceToDepth" else c % (b * b)):
        node.fail(Code.NODE_INVALID, f"blocks of {b} do not divide {list(node.shape())}")
    if node.op_type == "SpaceToDepth":
        apart, together = (n, h // b, b, w // b, b, c), (n, h // b, w // b, b * b * c)
        order = (0, 1, 3, 2, 4, 5)
    else:
        apart, together = (n, h, w, b, b, c // (b * b)), (n, h * b, w * b, c // (b * b))
        order = (0, 1, 3, 2, 4, 5)
    return rearranged(node, node.operand(0), apart, order, together)


def rearranged(
    node: Node, value: SSAValue, apart: Shape, permutation: Sequence[int], together: Shape
) -> SSAValue:
    """Reshape to `apart`, permute, reshape to `together`."""
    moved = transpose(node, reshape(node, value, apart), permutation)
    return reshape(node, moved, together)


@tf_op("SpaceToBatchND")
def import_space_to_batch(node: Node) -> SSAValue:
    """Each block of the padded image becomes that many images."""
    blocks, pads = node.constant_ints(1), np.reshape(node.constant(2), (-1, 2))
    rank, count = node.rank(), len(blocks)
    low, high = np.zeros((2, rank), np.int64)
    low[1 : 1 + count], high[1 : 1 + count] = pads[:, 0], pads[:, 1]
    value = padded(node, node.operand(0), low.tolist(), high.tolist(), 0.0)
    batch, *sizes = shape_of(value)
    split = [part for size, b in zip(sizes, blocks, strict=False) for part in (size // b, b)]
    inner = [2 * d + 2 for d in range(count)]
    outer = [2 * d + 1 for d in range(count)]
    rest = sizes[count:]
    order = (*inner, 0, *outer, *range(1 + 2 * count, 1 + 2 * count + len(rest)))
    image = [size // b for size, b in zip(sizes, blocks, strict=False)]
    together = (batch * prod(blocks), *image, *rest)
    return rearranged(node, value, (batch, *split, *rest), order, together)


@tf_op("BatchToSpaceND")
def import_batch_to_space(node: Node) -> SSAValue:
    """As many images as a block has elements become one, whose edges are cropped."""
    blocks, crops = node.constant_ints(1), np.reshape(node.constant(2), (-1, 2))
    (batch, *sizes), count = node.shape(), len(blocks)
    own, rest = batch // prod(blocks), sizes[count:]
    order = [count]
    for d in range(count):
        order += [count + 1 + d, d]
    order += range(1 + 2 * count, 1 + 2 * count + len(rest))
    image = [size * b for size, b in zip(sizes, blocks, strict=False)]
    apart = (*blocks, own, *sizes)
    value = rearranged(node, node.operand(0), apart, order, (own, *image, *rest))
    ends = [size - int(c[1]) for size, c in zip(image, crops, strict=True)]
    starts, axes = crops[:, 0].tolist(), range(1, 1 + count)
    geometry = normal_slice(shape_of(value), starts, ends, axes, (1,) * count)
    return sliced(node, value, geometry)


@tf_op("BroadcastTo")
def import_broadcast_to(node: Node) -> SSAValue:
    return node.build(nn.BroadcastOp(node.operand(0), shape=node.constant_ints(1)))


@tf_op("Tile")
def import_tile(node: Node) -> SSAValue:
    """Each dimension gets a repetition before it: `a -> 1xa -> rxa -> r*a`."""
    shape, repeats = node.shape(), node.constant_ints(1)
    if len(repeats) != len(shape) or not all(0 <= repeat < 1 << 31 for repeat in repeats):
        node.fail(
            Code.NODE_INVALID,
            f"rank {len(shape)} takes as many repeats from 0 to 2**31, got {list(repeats)}",
        )
    apart = [size for extent in shape for size in (1, extent)]
    grid = [size for pair in zip(repeats, shape, strict=True) for size in pair]
    value = node.build(nn.BroadcastOp(reshape(node, node.operand(0), apart), shape=grid))
    return reshape(node, value, [r * size for r, size in zip(repeats, shape, strict=True)])


# -- Parts ------------------------------------------------------------------------------------


def sliced(node: Node, value: SSAValue, geometry: SliceGeometry) -> SSAValue:
    return node.build(
        nn.SliceOp(value, starts=geometry.starts, sizes=geometry.sizes, steps=geometry.steps)
    )


def part(node: Node, value: SSAValue, axis: int, start: int, size: int) -> SSAValue:
    """`size` elements along an axis."""
    whole = whole_slice(shape_of(value))
    starts = tuple(start if d == axis and size else 0 for d in range(len(whole.sizes)))
    sizes = tuple(size if d == axis else extent for d, extent in enumerate(whole.sizes))
    return sliced(node, value, SliceGeometry(starts, sizes, whole.steps))


def row_of(node: Node, value: SSAValue, axis: int, index: int) -> SSAValue:
    """One element along an axis, which goes."""
    shape = shape_of(value)
    one = part(node, value, axis, index, 1)
    return reshape(node, one, (*shape[:axis], *shape[axis + 1 :]))


@tf_op("Slice")
def import_slice(node: Node) -> SSAValue:
    shape, starts, sizes = node.shape(), node.constant_ints(1), node.constant_ints(2)
    taken = tuple(
        extent - start if size == -1 else size
        for extent, start, size in zip(shape, starts, sizes, strict=True)
    )
    firsts = tuple(start if size else 0 for start, size in zip(starts, taken, strict=True))
    return sliced(node, node.operand(0), SliceGeometry(firsts, taken, (1,) * len(shape)))


@tf_op("StridedSlice")
def import_strided_slice(node: Node) -> SSAValue:
    geometry, shape = strided_slice(node)
    return reshape(node, sliced(node, node.operand(0), geometry), shape)


def strided_slice(node: Node) -> tuple[SliceGeometry, list[int]]:
    """The slice, and its shape with axes that an index drops and that `newaxis` adds."""
    begin, end, strides = (node.constant_ints(position) for position in (1, 2, 3))
    masks = {
        name: int(node.attribute(f"{name}_mask", 0))
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    entries = range(len(begin))
    added = [i for i in entries if masks["new_axis"] >> i & 1]
    spread = next((i for i in entries if masks["ellipsis"] >> i & 1), None)
    plain = len([i for i in entries if i not in added and i != spread])
    bounds: list[slice] = []
    shape: list[int | None] = []
    """The dimension of the operand that each of the result is; None for a new one."""
    for i in entries:
        if i == spread:
            skipped = range(len(bounds), len(bounds) + node.rank() - plain)
            shape += skipped
            bounds += [slice(None)] * len(skipped)
        elif i in added:
            shape.append(None)
        else:
            bounds.append(bound(node, masks, i, len(bounds), (begin[i], end[i], strides[i])))
            shape += [] if masks["shrink_axis"] >> i & 1 else [len(bounds) - 1]
    shape += range(len(bounds), node.rank())
    bounds += [slice(None)] * (node.rank() - len(bounds))
    ranges = [range(*b.indices(size)) for b, size in zip(bounds, node.shape(), strict=True)]
    geometry = SliceGeometry(
        tuple(r.start if len(r) else 0 for r in ranges),
        tuple(len(r) for r in ranges),
        tuple(r.step for r in ranges),
    )
    return geometry, [1 if d is None else geometry.sizes[d] for d in shape]


def bound(
    node: Node, masks: dict[str, int], entry: int, axis: int, given: tuple[int, int, int]
) -> slice:
    """One entry of a slice; an index is a slice of one element."""
    first, last, step = given
    if axis >= node.rank() or step == 0:
        node.fail(Code.NODE_INVALID, f"entry {entry} does not slice rank {node.rank()} by {step}")
    if masks["shrink_axis"] >> entry & 1:
        size = node.shape()[axis]
        index = first + size if first < 0 else first
        if not 0 <= index < size:
            node.fail(Code.NODE_INVALID, f"index {first} is outside a dimension of {size}")
        return slice(index, index + 1, 1)
    return slice(
        None if masks["begin"] >> entry & 1 else first,
        None if masks["end"] >> entry & 1 else last,
        step,
    )


@tf_op("ConcatV2")
def import_concat(node: Node) -> SSAValue:
    return joined(node, node.operands()[:-1], int(node.scalar(len(node.inputs) - 1)))


@tf_op("Concat")
def import_concat_1(node: Node) -> SSAValue:
    return joined(node, node.operands()[1:], int(node.scalar(0)))


def joined(node: Node, parts: Sequence[SSAValue], axis: int) -> SSAValue:
    return node.build(nn.ConcatOp(*parts, axis=normal_axis(axis, len(shape_of(parts[0])))))


@tf_op("Pack")
def import_pack(node: Node) -> SSAValue:
    return stacked(node, node.operands(), int(node.attribute("axis", 0)))


def stacked(node: Node, parts: Sequence[SSAValue], axis: int) -> SSAValue:
    """Joined along a new axis."""
    shape = shape_of(parts[0])
    axis = normal_axis(axis, len(shape) + 1)
    rows = [reshape(node, part, (*shape[:axis], 1, *shape[axis:])) for part in parts]
    return node.build(nn.ConcatOp(*rows, axis=axis))


@tf_op("Unpack")
def import_unpack(node: Node) -> Sequence[SSAValue]:
    axis = normal_axis(int(node.attribute("axis", 0)), node.rank())
    return [row_of(node, node.operand(0), axis, index) for index in range(node.shape()[axis])]


@tf_op("Split")
def import_split(node: Node) -> Sequence[SSAValue]:
    """Operands are the axis and the tensor."""
    axis, count = normal_axis(int(node.scalar(0)), len(node.shape(1))), node.attribute("num_split")
    size = node.shape(1)[axis]
    if not count or size % count:
        node.fail(Code.NODE_INVALID, f"{size} elements do not split into {count} equal parts")
    return parts_of(node, node.operand(1), axis, [size // count] * count)


@tf_op("SplitV")
def import_split_v(node: Node) -> Sequence[SSAValue]:
    axis, sizes = normal_axis(int(node.scalar(2)), node.rank()), list(node.constant_ints(1))
    if -1 in sizes:
        sizes[sizes.index(-1)] = node.shape()[axis] - sum(sizes) - 1
    if sum(sizes) != node.shape()[axis] or min(sizes, default=0) < 0:
        node.fail(Code.NODE_INVALID, f"sizes {sizes} do not split {node.shape()[axis]} elements")
    return parts_of(node, node.operand(0), axis, sizes)


def parts_of(node: Node, value: SSAValue, axis: int, sizes: Sequence[int]) -> Sequence[SSAValue]:
    starts = accumulate(sizes, initial=0)
    return [
        part(node, value, axis, start, size) for start, size in zip(starts, sizes, strict=False)
    ]


@tf_op("Pad", "PadV2")
def import_pad(node: Node) -> SSAValue:
    low, high = margins(node)
    value = float(node.scalar(2)) if len(node.inputs) > 2 else 0.0
    return padded(node, node.operand(0), low, high, value)


@tf_op("MirrorPad")
def import_mirror_pad(node: Node) -> SSAValue:
    """SYMMETRIC repeats the edge, REFLECT does not."""
    if node.attribute("mode") != "REFLECT":
        raise NotInNn
    low, high = margins(node)
    return padded(node, node.operand(0), low, high, 0.0, mode="reflect")


def margins(node: Node) -> tuple[list[int], list[int]]:
    amounts = node.constant(1)
    if amounts.shape != (node.rank(), 2) or amounts.min(initial=0) < 0:
        node.fail(Code.NODE_INVALID, f"paddings of {list(amounts.shape)} for rank {node.rank()}")
    return amounts[:, 0].tolist(), amounts[:, 1].tolist()


def padded(
    node: Node,
    value: SSAValue,
    low: Sequence[int],
    high: Sequence[int],
    fill: float,
    mode: str = "constant",
) -> SSAValue:
    return node.build(nn.PadOp(value, low=low, high=high, mode=mode, value=fill))


@tf_op("ReverseV2")
def import_reverse(node: Node) -> SSAValue:
    return reversed_along(node, node.operand(0), normal_axes(node.constant_ints(1), node.rank()))


def reversed_along(node: Node, value: SSAValue, axes: Sequence[int]) -> SSAValue:
    shape = shape_of(value)
    steps = tuple(-1 if axis in axes else 1 for axis in range(len(shape)))
    starts = tuple(s - 1 if step < 0 and s else 0 for s, step in zip(shape, steps, strict=True))
    return sliced(node, value, SliceGeometry(starts, shape, steps))


@tf_op("Roll")
def import_roll(node: Node) -> SSAValue:
    value = node.operand(0)
    for shift, axis in zip(node.constant_ints(1), node.constant_ints(2), strict=True):
        axis = normal_axis(axis, node.rank())
        size = node.shape()[axis]
        if size and (shift := shift % size):
            tail = part(node, value, axis, size - shift, shift)
            value = joined(node, [tail, part(node, value, axis, 0, size - shift)], axis)
    return value


@tf_op("MatrixBandPart")
def import_matrix_band_part(node: Node) -> SSAValue:
    """Negative numbers keep all diagonals of their side."""
    lower, upper, value = int(node.scalar(1)), int(node.scalar(2)), node.operand(0)
    if lower >= 0:
        value = node.build(nn.TriluOp(value, upper=True, diagonal=-lower))
    return value if upper < 0 else node.build(nn.TriluOp(value, upper=False, diagonal=upper))
