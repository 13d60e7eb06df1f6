"""The sizes of a convolution, and what its forms share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod

from xdsl.ir import Attribute, SSAValue

from ranvier.backend.neuron.lowering.context import Context, WeightBuilder
from ranvier.backend.neuron.lowering.emitter import Affine, Emitter, Ref
from ranvier.backend.neuron.lowering.pointwise import Chain
from ranvier.backend.neuron.lowering.registry import lowerings
from ranvier.backend.neuron.lowering.views import Shape, View, padded_copy
from ranvier.dialects import nc, nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.types import element_dtype
from ranvier.dialects.nn.types import TensorOp, shape_of

PACKED_CHANNELS = 32
"""Below so many channels every tap has partitions of its own,"""
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


def pair(values: tuple[int, ...], fill: int) -> tuple[int, int]:
    """Rows and columns; one dimension has a height of `fill`."""
    return (fill, values[0]) if len(values) == 1 else (values[0], values[1])


def geometry_of(op: nn.ConvOp) -> Geometry:
    """The op's sizes; it is of rank 3 or 4."""
    x, w, out = shape_of(op.operand), shape_of(op.weight), shape_of(op.result)
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


@dataclass(frozen=True)
class Kernel:
    """The weights `[groups*filters, channels, r, s]`: what `prepare` makes of an operand."""

    value: SSAValue
    name: str
    """Tells forms of one weight apart."""
    prepare: WeightBuilder

    def arranged(self, context: Context, suffix: str, build: WeightBuilder) -> View:
        """A contiguous tensor that `build` makes of the weights.

        Where they are constants it is computed when the file is written, else on the machine.
        """
        if isinstance(self.value.owner, nn.LoadWeightOp | nn.ConstantOp):
            return context.derived_weight(
                self.value, self.name + suffix, lambda w: self._ops(w, build)
            )
        ops = self._ops(self.value, build)
        for op in ops:
            lowerings()[type(op)].lower(op, context)
        view = context.view(ops[-1].results[0])
        for op in ops:  # the weights must not count them as readers
            op.drop_all_references()
        return view if view.contiguous else context.copied(view)

    def _ops(self, weight: SSAValue, build: WeightBuilder) -> list[TensorOp]:
        prepared = list(self.prepare(weight))
        return [*prepared, *build(prepared[-1].results[0])]


@dataclass
class Convolution(ABC):
    """What all forms share: the geometry, the image `[n, groups*channels, height, width]`, the
    weights, the bias, and the chain that takes the results."""

    context: Context
    g: Geometry
    x: View
    kernel: Kernel
    bias: View | None
    element: Attribute
    """Of the result."""
    chain: Chain
    """Over `space(g)`."""

    @property
    def e(self) -> Emitter:
        return self.context.e

    @property
    def itemsize(self) -> int:
        return element_dtype(self.x.element).itemsize

    @staticmethod
    @abstractmethod
    def space(g: Geometry) -> Shape:
        """The shape over which this form computes its results."""

    @abstractmethod
    def lower(self) -> None:
        """Emit the convolution and its chain."""

    def pad(self) -> View:
        """The image with its padding, as a copy in DRAM where there is any."""
        if not self.g.padded and self.x.strides[-1] == 1:
            return self.x
        low, high = (0, 0, *self.g.low), (0, 0, *self.g.high)
        return padded_copy(self.context, self.x, low, high, 0.0)

    def biases(self, start: Affine, size: int) -> Ref | None:
        """One bias for each output channel of a tile, on its partition."""
        if self.bias is None:
            return None
        tile = self.e.sbuf(size, 1, self.bias.element)
        self.e.emit(nc.DmaOp, dst=tile.ref(), src=self.bias.at((start,), [(0, size)]))
        return tile.ref()
