"""Shape arithmetic that families share. All functions raise VerifyException with the values."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.utils.exceptions import VerifyException

Shape = tuple[int, ...]


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The NumPy broadcast of shapes: aligned at the last dimension, 1 stretches."""
    rank = max(len(shape) for shape in shapes)
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result: list[int] = []
    for sizes in zip(*aligned, strict=True):
        distinct = set(sizes) - {1}
        if len(distinct) > 1:
            raise VerifyException(
                f"shapes do not broadcast: {', '.join(map(format_shape, shapes))}"
            )
        result.append(distinct.pop() if distinct else 1)
    return tuple(result)


def format_shape(shape: Sequence[int]) -> str:
    """`1x3x224x224`, or `scalar`."""
    return "x".join(map(str, shape)) or "scalar"


def check_axes(axes: Sequence[int], rank: int) -> None:
    """Axes are distinct and in `0 <= axis < rank`; importers make negative ones positive."""
    if len(set(axes)) != len(axes) or any(not 0 <= axis < rank for axis in axes):
        raise VerifyException(f"axes {list(axes)} are not distinct axes of rank {rank}")


def reduced_shape(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """The shape after reducing `axes`: 1 where kept, absent where not."""
    check_axes(axes, len(shape))
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def window_positions(
    size: int, kernel: int, stride: int, low: int, high: int, dilation: int
) -> int:
    """How many windows of `kernel` taps fit along a dimension padded by `low` and `high`."""
    if stride < 1 or dilation < 1 or kernel < 1:
        raise VerifyException(
            f"kernel, stride and dilation are at least 1, got {kernel}, {stride}, {dilation}"
        )
    extent = (kernel - 1) * dilation + 1
    positions = (size + low + high - extent) // stride + 1
    if positions < 1:
        raise VerifyException(
            f"a window of {extent} does not fit into {size} padded by {low} and {high}"
        )
    return positions


def windowed_shape(
    spatial: Shape,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    dilations: Sequence[int],
) -> Shape:
    """Spatial shape after sliding a window; `padding` holds all lows, then all highs."""
    rank = len(spatial)
    if not (len(kernel) == len(strides) == len(dilations) == rank and len(padding) == 2 * rank):
        raise VerifyException(
            f"{rank} spatial dimensions take {rank} of kernel, strides, dilations and {2 * rank} "
            f"paddings, got {len(kernel)}, {len(strides)}, {len(dilations)}, {len(padding)}"
        )
    return tuple(
        window_positions(
            spatial[d], kernel[d], strides[d], padding[d], padding[rank + d], dilations[d]
        )
        for d in range(rank)
    )
