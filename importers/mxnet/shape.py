"""Movement of elements in MXNet: reshapes, transposes, slices, joins, repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import shape_of
from ranvier.importers.mxnet.node import Node, mx_op
from ranvier.importers.semantics import normal_axes, normal_axis, normal_slice, reshaped

# -- Reshapes ---------------------------------------------------------------------------------


@mx_op("Reshape", "reshape")
def import_reshape(node: Node) -> SSAValue:
    requested = node.ints("shape", ())
    if not requested and node.has("target_shape"):
        return node.reshape(node.operand(0), legacy_target(node))
    shape = node.shape()
    if node.flag("reverse"):
        mirrored = special_shape(shape[::-1], mirrored_codes(requested))[::-1]
        return node.reshape(node.operand(0), mirrored)
    return node.reshape(node.operand(0), special_shape(shape, requested))


def legacy_target(node: Node) -> Shape:
    """`target_shape` of the oldest symbols, where 0 stands for the rest."""
    target = tuple(size or -1 for size in node.ints("target_shape"))
    if node.flag("keep_highest"):
        target = (node.shape()[0], *target[1:])
    return reshaped(node.shape(), target, zero_copies=False)


def mirrored_codes(requested: Sequence[int]) -> list[int]:
    """A request read from the right; the two parts of a split follow its code on either side."""
    codes: list[int] = []
    index = 0
    while index < len(requested):
        if requested[index] == -4:
            first, second = requested[index + 1 : index + 3]
            codes[:0] = [-4, second, first]
            index += 3
        else:
            codes[:0] = [requested[index]]
            index += 1
    return codes


def special_shape(shape: Shape, requested: Sequence[int]) -> Shape:
    """MXNet's codes: 0 copies, -1 infers, -2 copies the rest, -3 joins two, -4 splits one."""
    sizes: list[int] = []
    source, index = 0, 0
    while index < len(requested):
        code = requested[index]
        if code == -2:
            sizes.extend(shape[source:])
            source = len(shape)
        elif code == -3:
            sizes.append(prod(shape[source : source + 2]))
            source += 2
        elif code == -4:
            sizes.extend(split_of(shape[source], requested[index + 1 : index + 3]))
            source, index = source + 1, index + 2
        else:
            sizes.append(shape[source] if code == 0 else code)
            source += 1
        index += 1
    return reshaped(shape, sizes, zero_copies=False)


def split_of(size: int, parts: Sequence[int]) -> list[int]:
    first, second = parts
    if first == -1:
        first = size // second
    return [first, size // first if second == -1 else second]


@mx_op("Flatten", "flatten")
def import_flatten(node: Node) -> SSAValue:
    shape = node.shape()
    return node.reshape(node.operand(0), (shape[0], prod(shape[1:])))


@mx_op("expand_dims")
def import_expand_dims(node: Node) -> SSAValue:
    shape = list(node.shape())
    axis = normal_axis(node.integer("axis"), len(shape) + 1)
    return node.reshape(node.operand(0), (*shape[:axis], 1, *shape[axis:]))


@mx_op("squeeze")
def import_squeeze(node: Node) -> SSAValue:
    shape = node.shape()
    axes = normal_axes(node.ints("axis", ()), len(shape))
    if any(shape[axis] != 1 for axis in axes):
        node.unsupported(f"axes {list(axes)} of {list(shape)} are not all of size 1")
    dropped = axes or [axis for axis, size in enumerate(shape) if size == 1]
    kept = [size for axis, size in enumerate(shape) if axis not in dropped]
    return node.reshape(node.operand(0), kept or (1,))


@mx_op("reshape_like")
def import_reshape_like(node: Node) -> SSAValue:
    shape, like = node.shape(), node.shape(1)
    low, high = node.integer("lhs_begin", 0), node.integer("lhs_end", len(shape))
    start, stop = node.integer("rhs_begin", 0), node.integer("rhs_end", len(like))
    ends = slice(low, high).indices(len(shape)), slice(start, stop).indices(len(like))
    (low, high, _), (start, stop, _) = ends
    return node.reshape(node.operand(0), (*shape[:low], *like[start:stop], *shape[high:]))


# -- Transposes -------------------------------------------------------------------------------


@mx_op("transpose")
def import_transpose(node: Node) -> SSAValue:
    rank = node.rank()
    axes = normal_axes(node.ints("axes", ()), rank) or tuple(reversed(range(rank)))
    return node.transpose(node.operand(0), axes)


@mx_op("SwapAxis", "swapaxes")
def import_swap_axis(node: Node) -> SSAValue:
    order = list(range(node.rank()))
    first, second = (normal_axis(node.integer(name, 0), node.rank()) for name in ("dim1", "dim2"))
    order[first], order[second] = second, first
    return node.transpose(node.operand(0), order)


@mx_op("depth_to_space")
def import_depth_to_space(node: Node) -> SSAValue:
    block, (batch, channels, height, width) = node.integer("block_size"), node.shape()
    depth = channels // block**2
    split = node.reshape(node.operand(0), (batch, block, block, depth, height, width))
    turned = node.transpose(split, (0, 3, 4, 1, 5, 2))
    return node.reshape(turned, (batch, depth, height * block, width * block))


@mx_op("space_to_depth")
def import_space_to_depth(node: Node) -> SSAValue:
    block, (batch, channels, height, width) = node.integer("block_size"), node.shape()
    tall, wide = height // block, width // block
    split = node.reshape(node.operand(0), (batch, channels, tall, block, wide, block))
    turned = node.transpose(split, (0, 3, 5, 1, 2, 4))
    return node.reshape(turned, (batch, channels * block**2, tall, wide))


# -- Slices -----------------------------------------------------------------------------------


def sliced(
    node: Node,
    value: SSAValue,
    axes: Sequence[int],
    begins: Sequence[int | None],
    ends: Sequence[int | None],
    steps: Sequence[int | None] = (),
) -> SSAValue:
    """`begin:end:step` along axes, where None is an open side."""
    shape = shape_of(value)
    every = [step or 1 for step in steps] or [1] * len(axes)
    taken = [
        range(*slice(begin, end, step).indices(shape[axis]))
        for axis, begin, end, step in zip(axes, begins, ends, every, strict=True)
    ]
    # A range that goes down to the front ends before 0, which as a number would be the back.
    stops = [r.stop if r.stop >= 0 else -shape[a] - 1 for a, r in zip(axes, taken, strict=True)]
    geometry = normal_slice(shape, [r.start for r in taken], stops, axes, every)
    return node.build(
        nn.SliceOp(value, starts=geometry.starts, sizes=geometry.sizes, steps=geometry.steps)
    )


@mx_op("slice", "crop")
def import_slice(node: Node) -> SSAValue:
    begins, ends = node.entries("begin") or [], node.entries("end") or []
    steps = node.entries("step") or [None] * len(begins)
    return sliced(node, node.operand(0), range(len(begins)), begins, ends, steps)


@mx_op("slice_axis")
def import_slice_axis(node: Node) -> SSAValue:
    end = node.entries("end") or [None]
    return sliced(node, node.operand(0), [node.axis()], [node.integer("begin")], end)


@mx_op("slice_like")
def import_slice_like(node: Node) -> SSAValue:
    axes = normal_axes(node.ints("axes", ()), node.rank()) or tuple(range(node.rank()))
    ends = [node.shape(1)[axis] for axis in axes]
    return sliced(node, node.operand(0), axes, [0] * len(axes), ends)


@mx_op("reverse", "flip")
def import_reverse(node: Node) -> SSAValue:
    axes = normal_axes(node.ints("axis"), node.rank())
    ends: list[int | None] = [None] * len(axes)
    return sliced(node, node.operand(0), axes, ends, ends, [-1] * len(axes))


@mx_op("SliceChannel", "split")
def import_split(node: Node) -> Sequence[SSAValue]:
    axis, count, shape = node.axis(default=1), node.integer("num_outputs"), node.shape()
    if count < 1 or shape[axis] % count:
        node.unsupported(f"{shape[axis]} elements do not split into {count} equal parts")
    size = shape[axis] // count
    parts = [node.slice(node.operand(0), axis, part * size, size) for part in range(count)]
    if not node.flag("squeeze_axis"):
        return parts
    kept = (*shape[:axis], *shape[axis + 1 :])
    return [node.reshape(part, kept) for part in parts]


@mx_op("_split_v2")
def import_split_v2(node: Node) -> Sequence[SSAValue]:
    """At stated starts, or into equal sections."""
    axis, shape = node.axis(default=1), node.shape()
    starts = list(node.ints("indices", ()))
    if sections := node.integer("sections", 0):
        starts = [part * (shape[axis] // sections) for part in range(sections)]
    bounds = [*starts, shape[axis]]
    parts = [node.slice(node.operand(0), axis, low, high - low) for low, high in pairwise(bounds)]
    if not node.flag("squeeze_axis"):
        return parts
    return [node.reshape(part, (*shape[:axis], *shape[axis + 1 :])) for part in parts]


# -- Joins and repetitions --------------------------------------------------------------------


@mx_op("Concat", "concat", "_rnn_param_concat")
def import_concat(node: Node) -> SSAValue:
    axis = node.axis("dim", default=1 if node.rank() > 1 else 0)
    return node.build(nn.ConcatOp(*node.operands, axis=axis))


@mx_op("stack")
def import_stack(node: Node) -> SSAValue:
    shape = node.shape()
    axis = normal_axis(node.integer("axis", 0), len(shape) + 1)
    rows = [node.reshape(operand, (*shape[:axis], 1, *shape[axis:])) for operand in node.operands]
    return node.build(nn.ConcatOp(*rows, axis=axis))


@mx_op("tile")
def import_tile(node: Node) -> SSAValue:
    shape, reps = node.shape(), node.ints("reps")
    rank = max(len(shape), len(reps))
    sizes = (*(1,) * (rank - len(shape)), *shape)
    counts = (*(1,) * (rank - len(reps)), *reps)
    return repeated(node, node.operand(0), sizes, counts, before=True)


@mx_op("repeat")
def import_repeat(node: Node) -> SSAValue:
    value, shape = node.operand(0), node.shape()
    if not node.has("axis"):
        value, shape = node.reshape(value, (prod(shape),)), (prod(shape),)
    axis = normal_axis(node.integer("axis", 0), len(shape))
    counts = [node.integer("repeats") if d == axis else 1 for d in range(len(shape))]
    return repeated(node, value, shape, counts, before=False)


def repeated(
    node: Node, value: SSAValue, sizes: Sequence[int], counts: Sequence[int], *, before: bool
) -> SSAValue:
    """Each dimension `count` times, as a whole (`before`) or element by element."""
    pairs = [(1, size) if before else (size, 1) for size in sizes]
    wide = [(n, size) if before else (size, n) for size, n in zip(sizes, counts, strict=True)]
    column = node.reshape(value, [size for pair in pairs for size in pair])
    spread = node.broadcast(column, [size for pair in wide for size in pair])
    return node.reshape(spread, [size * n for size, n in zip(sizes, counts, strict=True)])


@mx_op("broadcast_axis", "broadcast_axes")
def import_broadcast_axis(node: Node) -> SSAValue:
    shape = list(node.shape())
    axes = normal_axes(node.ints("axis", ()), len(shape))
    for axis, size in zip(axes, node.ints("size", ()), strict=True):
        shape[axis] = size
    return node.broadcast(node.operand(0), shape)


@mx_op("broadcast_to")
def import_broadcast_to(node: Node) -> SSAValue:
    stated = node.ints("shape")
    sizes = [new or old for new, old in zip(stated, node.shape(), strict=True)]
    return node.broadcast(node.operand(0), sizes)


@mx_op("broadcast_like")
def import_broadcast_like(node: Node) -> SSAValue:
    shape, like = list(node.shape()), node.shape(1)
    if not node.has("lhs_axes"):
        return node.broadcast(node.operand(0), like)
    own = normal_axes(node.ints("lhs_axes"), len(shape))
    others = normal_axes(node.ints("rhs_axes"), len(like))
    for axis, other in zip(own, others, strict=True):
        shape[axis] = like[other]
    return node.broadcast(node.operand(0), shape)


@mx_op("Pad", "pad")
def import_pad(node: Node) -> SSAValue:
    widths, mode = node.ints("pad_width"), node.text("mode")
    if mode not in ("constant", "edge", "reflect"):
        node.unsupported(f"mode is constant, edge or reflect, got {mode}")
    value = node.number("constant_value", 0.0)
    return node.build(
        nn.PadOp(node.operand(0), low=widths[::2], high=widths[1::2], mode=mode, value=value)
    )
