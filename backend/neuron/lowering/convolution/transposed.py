"""Transposed convolution, phase by phase: no zero is multiplied.

The elements `p, p + stride, …` of an axis see the same taps, those that are `p` modulo the stride,
and are a convolution of the operand with them. Each phase is one `Convolution` whose results lie
`stride` apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.backend.neuron.lowering.convolution.geometry import Convolution, Geometry, pair
from ranvier.backend.neuron.lowering.pointwise import evict
from ranvier.backend.neuron.lowering.views import Region, Shape, View, tile_of
from ranvier.dialects import nc, nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.contraction_phases import Phase, phases
from ranvier.dialects.nn.types import TensorOp, shape_of

WIDTH = 4096
"""Positions per partition that are filled at once."""


@dataclass(frozen=True)
class Transposed:
    """A transposed convolution of up to 2 dimensions; 1-D has a height of 1."""

    op: nn.ConvTransposeOp

    @property
    def kernel(self) -> tuple[int, int]:
        return pair(shape_of(self.op.weight)[2:], 1)

    @property
    def strides(self) -> tuple[int, int]:
        return pair(ints(self.op.strides), 1)

    @property
    def filters(self) -> int:
        return shape_of(self.op.weight)[1]

    @property
    def space(self) -> Shape:
        shape = shape_of(self.op.result)
        return (*shape[:2], *pair(shape[2:], 1))

    def phases(self) -> list[tuple[Phase, Phase]]:
        """Every phase of the rows with every one of the columns."""
        op = self.op
        rank = len(shape_of(op.operand)) - 2
        sizes, dilations = pair(shape_of(op.operand)[2:], 1), pair(ints(op.dilations), 1)
        cut = pair(ints(op.padding)[:rank], 0)
        rows, columns = (
            phases(
                sizes[d], self.kernel[d], self.strides[d], dilations[d], cut[d], self.space[2 + d]
            )
            for d in range(2)
        )
        return [(row, column) for row in rows for column in columns]

    def geometry(self, row: Phase, column: Phase) -> Geometry:
        """One phase as a convolution of the cropped operand; it may have no taps."""
        shape, groups = shape_of(self.op.operand), int(self.op.get("groups"))
        found = Geometry(
            n=shape[0],
            groups=groups,
            channels=shape[1] // groups,
            height=pair(shape[2:], 1)[0] + min(0, row.low),
            width=pair(shape[2:], 1)[1] + min(0, column.low),
            filters=self.filters,
            taps=(row.taps, column.taps),
            out=(row.count, column.count),
            strides=(1, 1),
            dilations=(row.dilation, column.dilation),
            low=(max(0, row.low), max(0, column.low)),
            high=(0, 0),
        )
        sizes = (found.height, found.width)
        high = [max(0, found.reach(d, found.out[d]) - found.low[d] - sizes[d]) for d in range(2)]
        return replace(found, high=(high[0], high[1]))

    def cropped(self, image: View, row: Phase, column: Phase) -> View:
        """The image without the rows and columns that no window of the phase reads."""
        starts = (0, 0, max(0, -row.low), max(0, -column.low))
        sizes = [size - start for size, start in zip(image.shape, starts, strict=True)]
        return image.sliced(starts, sizes, (1, 1, 1, 1))

    def spread(self, view: View, row: Phase, column: Phase) -> View:
        """The part of a view over `space` that a phase computes."""
        starts, sizes = (0, 0, row.start, column.start), (row.count, column.count)
        return view.sliced(starts, (*view.shape[:2], *sizes), (1, 1, *self.strides))

    def taps(self, row: Phase, column: Phase) -> Callable[[SSAValue], Sequence[TensorOp]]:
        """`CxO/gxK… -> OxC/gxrxs`, the phase's taps backwards."""
        groups = int(self.op.get("groups"))
        inputs, filters = shape_of(self.op.weight)[:2]

        def prepare(weight: SSAValue) -> list[TensorOp]:
            flat = nn.ReshapeOp(weight, shape=(inputs, filters, *self.kernel))
            number = (row.taps, column.taps)
            part = nn.SliceOp(
                flat.result,
                starts=(0, 0, row.last, column.last),
                sizes=(inputs, filters, *number),
                steps=(1, 1, -row.step, -column.step),
            )
            split = nn.ReshapeOp(part.result, shape=(groups, inputs // groups, filters, *number))
            turned = nn.TransposeOp(split.result, permutation=(0, 2, 1, 3, 4))
            shape = (groups * filters, inputs // groups, *number)
            return [flat, part, split, turned, nn.ReshapeOp(turned.result, shape=shape)]

        return prepare


class Untouched(Convolution):
    """Results that no tap reaches: the bias, or zero."""

    @staticmethod
    def space(g: Geometry) -> Shape:
        return (g.n, g.groups * g.filters, *g.out)

    def lower(self) -> None:
        g, e = self.g, self.e
        rows, columns = g.out
        wide = tile_of(columns, WIDTH)
        tall = tile_of(rows, max(1, WIDTH // wide))
        for n in e.tiles(g.n, 1):
            for channel in e.tiles(g.groups * g.filters, PARTITIONS):
                bias = self.biases(channel.start, channel.size)
                for y in e.tiles(rows, tall):
                    for x in e.tiles(columns, wide):
                        zero = e.sbuf(channel.size, y.size * x.size, f32)
                        e.emit(nc.MemsetOp, fields={"value": 0.0}, dst=zero.ref())
                        starts = (n.start, channel.start, y.start, x.start)
                        region = Region(starts, (1, channel.size, y.size, x.size), 1, (2, 3))
                        evict(e, region, zero, self.chain, element=self.element, bias=bias)
