"""Every channel is a group: the vector engine sums its taps, the tensor engine would idle.

For each tap `acc = image * weight[tap] + acc`, with the weight of its channel on each partition.
"""

from __future__ import annotations

from math import prod

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.backend.neuron.lowering.convolution.geometry import Convolution, Geometry
from ranvier.backend.neuron.lowering.emitter import ZERO, Affine, OnChip, Tile, merged
from ranvier.backend.neuron.lowering.pointwise import evict
from ranvier.backend.neuron.lowering.views import Region, Shape, View, tile_of
from ranvier.dialects import nc, nn
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.types import TensorOp

STRIP = 16 << 10
"""Elements per partition of the padded image that are on chip at once."""
WIDTH = 2048
"""Output positions of one instruction."""


class Depthwise(Convolution):
    """`filters` output channels for each input channel."""

    @staticmethod
    def space(g: Geometry) -> Shape:
        return (g.n, g.groups, g.filters, *g.out)

    def lower(self) -> None:
        g, e = self.g, self.e
        rows, columns = g.out
        while rows > 1 and g.reach(0, rows) * g.reach(1, columns) > STRIP:
            rows = -(-rows // 2)
        while columns > 1 and g.reach(0, rows) * g.reach(1, columns) > STRIP:
            columns = -(-columns // 2)
        image = self.pad()
        weights = self.kernel.arranged(self.context, "depthwise", self._arrange)
        for channel in e.tiles(g.groups, tile_of(g.groups, PARTITIONS)):
            taps = e.sbuf(channel.size, g.filters * prod(g.taps), weights.element)
            e.emit(
                nc.DmaOp,
                dst=taps.ref(),
                src=weights.at((channel.start, ZERO), [(0, channel.size), (1, taps.width)]),
            )
            bias = self._channel_bias(channel)
            for n in e.tiles(g.n, 1):
                for row in e.tiles(g.out[0], rows):
                    for column in e.tiles(g.out[1], columns):
                        strip = self._load(image, n, channel, row, column)
                        at = (n, channel, row, column)
                        self._sum(strip, taps, bias, at)

    def _arrange(self, weight: SSAValue) -> list[TensorOp]:
        """`[groups*filters, 1, r, s] -> [groups, filters*r*s]`"""
        g = self.g
        return [nn.ReshapeOp(weight, shape=(g.groups, g.filters * prod(g.taps)))]

    def _channel_bias(self, channel: Tile) -> OnChip | None:
        """The biases of every filter of some channels, side by side."""
        if self.bias is None:
            return None
        view = self.bias.reshaped((self.g.groups, self.g.filters))
        assert view is not None, "one dimension splits under any stride"
        tile = self.e.sbuf(channel.size, self.g.filters, view.element)
        source = view.at((channel.start, ZERO), [(0, channel.size), (1, self.g.filters)])
        self.e.emit(nc.DmaOp, dst=tile.ref(), src=source)
        return tile

    def _load(self, image: View, n: Tile, channel: Tile, row: Tile, column: Tile) -> OnChip:
        g, e = self.g, self.e
        tall, wide = g.reach(0, row.size), g.reach(1, column.size)
        tile = e.sbuf(channel.size, tall * wide, image.element)
        at = (
            n.start,
            channel.start,
            row.start * g.strides[0],
            column.start * g.strides[1],
        )
        e.emit(
            nc.DmaOp,
            dst=tile.ref(),
            src=image.at(at, [(1, channel.size), (2, tall), (3, wide)]),
        )
        return tile

    def _sum(
        self,
        strip: OnChip,
        taps: OnChip,
        bias: OnChip | None,
        at: tuple[Tile, Tile, Tile, Tile],
    ) -> None:
        g, e = self.g, self.e
        n, channel, row, column = at
        wide = g.reach(1, column.size)
        for f in range(g.filters):
            for y in e.tiles(row.size, tile_of(row.size, max(1, WIDTH // column.size))):
                width = y.size * column.size
                total = e.sbuf(channel.size, width, f32)
                e.emit(nc.MemsetOp, fields={"value": 0.0}, dst=total.ref())
                dims = merged([(g.strides[0] * wide, y.size), (g.strides[1], column.size)])
                for r in e.tiles(g.taps[0], 1):
                    for s in e.tiles(g.taps[1], 1):
                        pixel = (y.start * g.strides[0] + r.start * g.dilations[0]) * wide
                        pixel = pixel + s.start * g.dilations[1]
                        tap = r.start * g.taps[1] + s.start + f * prod(g.taps)
                        e.emit(
                            nc.ScalarTensorTensorOp,
                            fields={"op0": "mult", "op1": "add"},
                            dst=total.ref(),
                            src=strip.ref(pixel, dims),
                            other=total.ref(),
                            operand0=taps.ref(tap, ((1, 1),)),
                        )
                starts = (n.start, channel.start, Affine(f), row.start + y.start, column.start)
                sizes = (1, channel.size, 1, y.size, column.size)
                column_bias = None if bias is None else bias.ref(f, ((1, 1),))
                region = Region(starts, sizes, 1, (3, 4))
                evict(e, region, total, self.chain, element=self.element, bias=column_bias)
