"""Pools of PyTorch over windows."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp, shape_of
from ranvier.importers.semantics import Window, ceil_padding
from ranvier.importers.torch.call import Call, torch_op
from ranvier.importers.torch.contraction import spread

RANKS = {f"{digit}d": digit for digit in (1, 2, 3)}


def spatial_rank(call: Call) -> int:
    """The digit of the op's name."""
    return next(rank for text, rank in RANKS.items() if text in call.op)


def images(call: Call) -> SSAValue:
    """The operand with a batch, which it may lack."""
    shape = call.shape()
    return call.reshape(call.tensor(), (1,) * (spatial_rank(call) + 2 - len(shape)) + shape)


def window_of(call: Call, value: SSAValue) -> Window:
    rank = spatial_rank(call)
    kernel = spread(call["kernel_size"], rank)
    strides = spread(call.get("stride") or kernel, rank)
    return Window(shape_of(value)[2:], kernel, strides, spread(call.get("dilation", 1), rank))


def pool(
    call: Call,
    op: type[TensorOp],
    value: SSAValue,
    window: Window,
    padding: Shape,
    **settings: bool,
) -> SSAValue:
    built = op(
        value,
        kernel=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        padding=padding,
        result_types=None,
        **settings,
    )
    return call.reshape(call.build(built), call.result_shape)


def is_one(call: Call) -> bool:
    return not isinstance(call.result, Sequence)


@torch_op("max_pool1d", "max_pool2d", "max_pool3d")
@torch_op("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices")
def import_max_pool(call: Call) -> list[SSAValue | None]:
    value = images(call)
    window = window_of(call, value)
    padding = spread(call["padding"], len(window.size)) * 2
    padding = ceil_padding(window, padding) if call["ceil_mode"] else padding
    result = pool(call, nn.MaxPoolOp, value, window, padding)
    return [result] if is_one(call) else [result, None]


@torch_op("avg_pool1d", "avg_pool2d", "avg_pool3d")
def import_avg_pool(call: Call) -> SSAValue:
    if call.has("divisor_override"):
        call.refuse(f"the divisor is {call['divisor_override']}")
    value, rank = images(call), spatial_rank(call)
    window = window_of(call, value)
    declared = spread(call["padding"], rank) * 2
    padding = ceil_padding(window, declared) if call["ceil_mode"] else declared
    counts = bool(call["count_include_pad"])
    if counts and padding != declared:
        # Declared padding counts, what ceil_mode adds does not: only the former becomes elements.
        low, high = (0, 0, *declared[:rank]), (0, 0, *declared[rank:])
        value = call.build(nn.PadOp(value, low=low, high=high, mode="constant", value=0.0))
        extra = (now - old for now, old in zip(padding[rank:], declared[rank:], strict=True))
        padding, counts = (*(0,) * rank, *extra), False
    return pool(call, nn.AvgPoolOp, value, window, padding, count_padding=counts)


@torch_op("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
@torch_op("_adaptive_avg_pool2d", "_adaptive_avg_pool3d")
def import_adaptive_avg_pool(call: Call) -> SSAValue:
    """A mean of all elements, or a pool where the windows are equal."""
    rank = spatial_rank(call)
    if set(call.result_shape[-rank:]) == {1}:
        axes = tuple(range(call.rank() - rank, call.rank()))
        return call.build(nn.ReduceMeanOp(call.tensor(), axes=axes, keepdims=True))
    value = images(call)
    window = equal_windows(call, value)
    return pool(call, nn.AvgPoolOp, value, window, (0,) * (2 * rank), count_padding=True)


@torch_op("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def import_adaptive_max_pool(call: Call) -> list[SSAValue | None]:
    value, rank = images(call), spatial_rank(call)
    window = equal_windows(call, value)
    return [pool(call, nn.MaxPoolOp, value, window, (0,) * (2 * rank)), None]


def equal_windows(call: Call, value: SSAValue) -> Window:
    """Windows of one size, side by side. Raises NotInNn where the sizes differ."""
    size, count = shape_of(value)[2:], call.type().get_shape()[-spatial_rank(call) :]
    if any(not n or s % n for s, n in zip(size, count, strict=True)):
        call.refuse(f"windows of {list(size)} for {list(count)} results differ in size")
    kernel = tuple(s // n for s, n in zip(size, count, strict=True))
    return Window(size, kernel, kernel, (1,) * len(size))
