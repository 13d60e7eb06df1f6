"""The sizes of a convolution, and what its forms share."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import Affine, Emitter, Ref
from ranvier.backend.neuron.lowering.views import View, padded_copy
from ranvier.dialects import nc, nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.types import element_dtype
from ranvier.dialects.nn.types import shape_of

PACKED_CHANNELS = 64
"""Below so many channels taps share the partitions with them,"""
PACKED_ROWS = 1024
"""while channels times taps stay within eight blocks of the array."""
PACKED_WIDTH = 24 << 10
"""Elements per partition of the unfolded image that are on chip at once."""


@dataclass(frozen=True)
class Geometry:
    """A 2-D convolution: sizes of one group, in elements. 1-D has a height of 1."""

    n: int
    groups: int
    channels: int
    height: int
    width: int
    filters: int
    taps: tuple[int, int]
    out: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    low: tuple[int, int]
    high: tuple[int, int]

    @property
    def contracted(self) -> int:
        return self.channels * prod(self.taps)

    @property
    def padded(self) -> bool:
        return any(self.low + self.high)

    @property
    def depthwise(self) -> bool:
        """Whether every channel is a group of its own."""
        return self.channels == 1 and self.groups > 1

    @property
    def packs(self) -> bool:
        """Whether taps go onto the partitions too."""
        few = self.channels < PACKED_CHANNELS and self.contracted <= PACKED_ROWS
        return self.groups == 1 and prod(self.taps) > 1 and few

    def reach(self, axis: int, positions: int) -> int:
        """Input elements along an axis that so many output positions read."""
        extent = (self.taps[axis] - 1) * self.dilations[axis] + 1
        return (positions - 1) * self.strides[axis] + extent


def geometry_of(op: nn.ConvOp) -> Geometry:
    """The op's sizes; it is of rank 3 or 4."""
    x, w, out = shape_of(op.operand), shape_of(op.weight), shape_of(op.result)
    flat = len(x) == 3

    def pair(values: tuple[int, ...], fill: int) -> tuple[int, int]:
        return (fill, values[0]) if flat else (values[0], values[1])

    padding, rank = ints(op.padding), len(x) - 2
    groups: int = op.get("groups")
    height, width = pair(x[2:], 1)
    return Geometry(
        n=x[0],
        groups=groups,
        channels=w[1],
        height=height,
        width=width,
        filters=w[0] // groups,
        taps=pair(w[2:], 1),
        out=pair(out[2:], 1),
        strides=pair(ints(op.strides), 1),
        dilations=pair(ints(op.dilations), 1),
        low=pair(padding[:rank], 0),
        high=pair(padding[rank:], 0),
    )


class Convolution:
    """What both forms share: the op, its geometry, its bias."""

    def __init__(self, op: nn.ConvOp, context: Context, g: Geometry, x: View) -> None:
        self.op, self.context, self.g, self.x = op, context, g, x
        self.e: Emitter = context.e
        self.element = x.element
        self.itemsize = element_dtype(x.element).itemsize

    def pad(self) -> View:
        """The image with its padding, as a copy in DRAM where there is any."""
        if not self.g.padded and self.x.strides[-1] == 1:
            return self.x
        low, high = (0, 0, *self.g.low), (0, 0, *self.g.high)
        return padded_copy(self.context, self.x, low, high, 0.0)

    def bias(self, start: Affine, size: int) -> Ref | None:
        """One bias for each output channel of a tile, on its partition."""
        if self.op.bias is None:
            return None
        view = self.context.view(self.op.bias)
        tile = self.e.sbuf(size, 1, view.element)
        self.e.emit(nc.DmaOp, dst=tile.ref(), src=view.at((start,), [(0, size)]))
        return tile.ref()
