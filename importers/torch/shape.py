"""Ops of PyTorch that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import shape_of
from ranvier.importers.semantics import normal_axes, normal_axis, normal_slice, whole_slice
from ranvier.importers.torch.call import Call, torch_op

# -- The same elements under another shape ----------------------------------------------------


@torch_op("view", "reshape", "flatten", "ravel", "unflatten", "view_as", "reshape_as")
@torch_op("_unsafe_view", "_reshape_alias", "squeeze", "unsqueeze", "view_copy", "squeeze_copy")
@torch_op("unsqueeze_copy", "atleast_1d", "atleast_2d", "_reshape_copy")
def import_reshape(call: Call) -> SSAValue:
    """To the shape that PyTorch infers; a view as another element type is refused by its type."""
    return call.reshape(call.tensor(), call.result_shape)


# -- Other orders and repetitions -------------------------------------------------------------


@torch_op("permute", "permute_copy")
def import_permute(call: Call) -> SSAValue:
    return call.transpose(call.tensor(), normal_axes(call["dims"], call.rank()))


@torch_op("transpose", "transpose_copy", "swapaxes", "swapdims")
def import_transpose(call: Call) -> SSAValue:
    names = list(call.arguments)
    return exchanged(call, call[names[1]], call[names[2]])


@torch_op("t", "t_copy", "numpy_T", "mT", "adjoint", "mH")
def import_t(call: Call) -> SSAValue:
    if call.op == "numpy_T":
        return call.transpose(call.tensor(), tuple(reversed(range(call.rank()))))
    return exchanged(call, -2, -1) if call.rank() > 1 else call.tensor()


def exchanged(call: Call, first: int, second: int) -> SSAValue:
    if call.rank() == 0:
        return call.tensor()
    order = list(range(call.rank()))
    one, other = normal_axes((first, second), call.rank())
    order[one], order[other] = other, one
    return call.transpose(call.tensor(), order)


@torch_op("movedim", "moveaxis")
def import_movedim(call: Call) -> SSAValue:
    rank = call.rank()
    source, target = (
        normal_axes(axes if isinstance(axes, Sequence) else (axes,), rank)
        for axes in (call["source"], call["destination"])
    )
    rest = iter(axis for axis in range(rank) if axis not in source)
    places = dict(zip(target, source, strict=True))
    order = [places[d] if d in places else next(rest) for d in range(rank)]
    return call.transpose(call.tensor(), order)


@torch_op("expand", "expand_as", "broadcast_to", "expand_copy")
def import_expand(call: Call) -> SSAValue:
    return call.broadcast(call.tensor(), call.result_shape)


@torch_op("repeat", "tile")
def import_repeat(call: Call) -> SSAValue:
    """Each dimension gets a repetition before it: `a -> 1xa -> rxa -> r*a`."""
    repeats = call[list(call.arguments)[1]]
    rank = max(len(repeats), call.rank())
    shape = (1,) * (rank - call.rank()) + call.shape()
    repeats = (1,) * (rank - len(repeats)) + tuple(repeats)
    apart = call.reshape(call.tensor(), [size for extent in shape for size in (1, extent)])
    pairs = zip(repeats, shape, strict=True)
    grid = call.broadcast(apart, [size for pair in pairs for size in pair])
    return call.reshape(grid, call.result_shape)


@torch_op("repeat_interleave")
def import_repeat_interleave(call: Call) -> SSAValue:
    """Each element gets a repetition after it: `a -> ax1 -> axr -> a*r`."""
    repeats = call[list(call.arguments)[1]] if "repeats" in call.arguments else None
    if not isinstance(repeats, int) or "self" not in call.arguments:
        call.refuse("each element is repeated another number of times")
    value, axis = call.tensor(), call.get("dim")
    if axis is None:
        value, axis = call.reshape(value, (prod(call.shape()),)), 0
    shape = shape_of(value)
    end = normal_axis(axis, len(shape)) + 1
    apart = call.reshape(value, (*shape[:end], 1, *shape[end:]))
    spread = call.broadcast(apart, (*shape[:end], repeats, *shape[end:]))
    return call.reshape(spread, call.result_shape)


@torch_op("pixel_shuffle")
def import_pixel_shuffle(call: Call) -> SSAValue:
    *outer, c, h, w = call.shape()
    r, rank = int(call["upscale_factor"]), len(outer)
    apart = call.reshape(call.tensor(), (*outer, c // (r * r), r, r, h, w))
    order = [rank + place for place in (0, 3, 1, 4, 2)]
    return call.reshape(call.transpose(apart, (*range(rank), *order)), call.result_shape)


@torch_op("pixel_unshuffle")
def import_pixel_unshuffle(call: Call) -> SSAValue:
    *outer, c, h, w = call.shape()
    r, rank = int(call["downscale_factor"]), len(outer)
    apart = call.reshape(call.tensor(), (*outer, c, h // r, r, w // r, r))
    order = [rank + place for place in (0, 2, 4, 1, 3)]
    return call.reshape(call.transpose(apart, (*range(rank), *order)), call.result_shape)


@torch_op("channel_shuffle", "native_channel_shuffle")
def import_channel_shuffle(call: Call) -> SSAValue:
    shape, groups = call.shape(), int(call["groups"])
    apart = call.reshape(call.tensor(), (shape[0], groups, shape[1] // groups, *shape[2:]))
    order = (0, 2, 1, *range(3, len(shape) + 1))
    return call.reshape(call.transpose(apart, order), shape)


# -- Parts ------------------------------------------------------------------------------------


def sliced(call: Call, value: SSAValue, axis: int, start: int, end: int, step: int = 1) -> SSAValue:
    shape = shape_of(value)
    geometry = normal_slice(shape, (start,), (end,), (axis,), (step,))
    if geometry == whole_slice(shape):
        return value
    return call.build(
        nn.SliceOp(value, starts=geometry.starts, sizes=geometry.sizes, steps=geometry.steps)
    )


@torch_op("slice", "slice_copy")
def import_slice(call: Call) -> SSAValue:
    size = call.shape()[call["dim"]]
    start, end = call.get("start", 0), call.get("end", size)
    return sliced(call, call.tensor(), call["dim"], start, end, call["step"])


@torch_op("select", "select_copy")
def import_select(call: Call) -> SSAValue:
    axis = normal_axis(call["dim"], call.rank())
    index = int(call["index"]) % max(1, call.shape()[axis])
    return call.reshape(sliced(call, call.tensor(), axis, index, index + 1), call.result_shape)


@torch_op("narrow", "narrow_copy")
def import_narrow(call: Call) -> SSAValue:
    axis = normal_axis(call["dim"], call.rank())
    size = call.shape()[axis]
    start = int(call["start"]) + (size if call["start"] < 0 else 0)
    return sliced(call, call.tensor(), axis, start, start + int(call["length"]))


@torch_op("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk")
@torch_op("unsafe_split_with_sizes", "split_copy", "split_with_sizes_copy")
def import_split(call: Call) -> Sequence[SSAValue]:
    """The sizes are those that PyTorch infers."""
    axis = normal_axis(call["dim"], call.rank())
    sizes = [part.shape[axis] for part in call.result]
    ends = list(accumulate(sizes))
    return [
        sliced(call, call.tensor(), axis, end - size, end)
        for size, end in zip(sizes, ends, strict=True)
    ]


@torch_op("unbind", "unbind_copy")
def import_unbind(call: Call) -> Sequence[SSAValue]:
    axis = normal_axis(call["dim"], call.rank())
    shape = (*call.shape()[:axis], *call.shape()[axis + 1 :])
    return [
        call.reshape(sliced(call, call.tensor(), axis, index, index + 1), shape)
        for index in range(call.shape()[axis])
    ]


@torch_op("flip", "fliplr", "flipud")
def import_flip(call: Call) -> SSAValue:
    stated = {"fliplr": (1,), "flipud": (0,)}
    value = call.tensor()
    for axis in normal_axes(stated.get(call.op) or call["dims"], call.rank()):
        size = call.shape()[axis]
        value = sliced(call, value, axis, size - 1, -size - 1, -1)
    return value


@torch_op("roll")
def import_roll(call: Call) -> SSAValue:
    """The last elements before the others; without axes, of the tensor as one row."""
    value, shifts, axes = call.tensor(), call["shifts"], call.get("dims", ())
    if not axes:
        value, axes = call.reshape(value, (prod(call.shape()),)), (0,)
    for shift, axis in zip(shifts, axes, strict=True):
        axis = normal_axis(axis, len(shape_of(value)))
        size = shape_of(value)[axis]
        cut = size - shift % size if size else 0
        parts = [sliced(call, value, axis, cut, size), sliced(call, value, axis, 0, cut)]
        value = joined(call, parts, axis)
    return call.reshape(value, call.result_shape)


@torch_op("unfold")
def import_unfold(call: Call) -> SSAValue:
    """Windows along an axis, as gathered elements; each window's taps come last."""
    if call.rank() == 0 or "dimension" not in call.arguments:
        call.refuse("a scalar has no windows")
    axis, rank = normal_axis(call["dimension"], call.rank()), call.rank()
    count = call.result_shape[axis]
    places = np.arange(count)[:, None] * call["step"] + np.arange(call["size"])
    taken = call.build(nn.GatherOp(call.tensor(), call.constant(places), axis=axis))
    order = [d for d in range(rank + 1) if d != axis + 1]
    return call.transpose(taken, [*order, axis + 1])


@torch_op("diagonal", "diagonal_copy")
def import_diagonal(call: Call) -> SSAValue:
    """Elements gathered from the tensor as one row."""
    places = np.arange(prod(call.shape()), dtype=np.int64).reshape(call.shape())
    taken = np.diagonal(places, call["offset"], call["dim1"], call["dim2"])
    row = call.reshape(call.tensor(), (places.size,))
    return call.build(nn.GatherOp(row, call.constant(np.ascontiguousarray(taken)), axis=0))


# -- Joining and padding ----------------------------------------------------------------------


def joined(call: Call, parts: Sequence[SSAValue], axis: int) -> SSAValue:
    parts = [part for part in parts if shape_of(part)[axis]] or parts[:1]
    return parts[0] if len(parts) == 1 else call.build(nn.ConcatOp(*parts, axis=axis))


@torch_op("cat", "concat", "concatenate")
def import_cat(call: Call) -> SSAValue:
    """Empty tensors of rank 1 are left out, whatever the rank of the others."""
    rank = len(call.result_shape)
    parts = [call.cast(part) for part in call.tensors("tensors")]
    parts = [part for part in parts if len(shape_of(part)) == rank]
    return joined(call, parts, normal_axis(call["dim"], rank))


@torch_op("stack")
def import_stack(call: Call) -> SSAValue:
    axis, parts = normal_axis(call["dim"], len(call.result_shape)), call.tensors("tensors")
    apart = [
        call.reshape(call.cast(part), (*shape_of(part)[:axis], 1, *shape_of(part)[axis:]))
        for part in parts
    ]
    return joined(call, apart, axis)


MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
PADS = {"reflection": "reflect", "replication": "replicate", "constant": "constant"}


@torch_op("pad", "constant_pad_nd")
@torch_op(*(f"{kind}_pad{rank}d" for kind in ("reflection", "replication") for rank in (1, 2, 3)))
def import_pad(call: Call) -> SSAValue:
    """Pairs of amounts from the last dimension on."""
    pad = call["pad"] if call.has("pad") else call["padding"]
    mode = call["mode"] if call.op == "pad" else PADS[call.op.partition("_")[0]]
    low, high = [0] * call.rank(), [0] * call.rank()
    for index in range(len(pad) // 2):
        low[-1 - index], high[-1 - index] = pad[2 * index], pad[2 * index + 1]
    value = float(call.get("value", 0) or 0)
    left = [s + min(a, 0) + min(b, 0) for s, a, b in zip(call.shape(), low, high, strict=True)]
    if mode != "constant" and min(left, default=1) < 1:
        call.refuse("cropping leaves nothing to repeat")
    return call.build(nn.PadOp(call.tensor(), low=low, high=high, mode=MODES[mode], value=value))


@torch_op("tril", "triu")
def import_tril(call: Call) -> SSAValue:
    upper, diagonal = call.op == "triu", int(call["diagonal"])
    return call.build(nn.TriluOp(call.tensor(), upper=upper, diagonal=diagonal))
