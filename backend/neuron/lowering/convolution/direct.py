"""Channels on the partitions, a matmul for each tap on a shifted view of the padded image."""

from __future__ import annotations

from math import prod

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.backend.neuron.lowering.convolution.geometry import Convolution
from ranvier.backend.neuron.lowering.emitter import ZERO, OnChip, Ref, Tile, first_at, merged
from ranvier.backend.neuron.lowering.pointwise import Chain, chain_from, evict
from ranvier.backend.neuron.lowering.views import Region, View, tile_of
from ranvier.dialects import nc, nn
from ranvier.dialects.nc.pe import MAX_MOVING
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.types import TensorOp, element_of


class Direct(Convolution):
    """Channels on the partitions, a matmul for each tap."""

    def lower(self) -> None:
        g, e = self.g, self.e
        self.blocks = -(-g.channels // PARTITIONS)
        images, rows, columns = self._strip()
        one_strip = (rows, columns) == g.out
        image = self.x if one_strip else self.pad()
        self.margins = (g.low, g.high) if one_strip else ((0, 0), (0, 0))
        self.cut = tile_of(g.filters, self.context.machine.pe_columns)
        self.weights = self.context.derived_weight(
            self.op.weight, "direct" if g.groups == 1 else f"direct.g{g.groups}", self._arrange
        )
        space = (g.n, g.groups * g.filters, *g.out)
        chain = chain_from(self.op.result, self.context, lambda view: view.reshaped(space))
        for n in e.tiles(g.n, images):
            for group in e.tiles(g.groups, 1):
                for row in e.tiles(g.out[0], rows):
                    for column in e.tiles(g.out[1], columns):
                        strip = self._load(image, n, group, row, column)
                        self._multiply(strip, chain, (n, group, row, column))

    def _strip(self) -> tuple[int, int, int]:
        """Images, output rows and output columns that are on chip at once."""
        g = self.g
        budget = self.context.machine.sbuf_bytes * 3 // 8 // (self.itemsize * self.blocks)
        tall, wide = g.reach(0, g.out[0]), g.reach(1, g.out[1])
        if tall * wide <= budget:
            images = min(g.n, MAX_MOVING // prod(g.out)) if 2 * prod(g.out) <= MAX_MOVING else 1
            while images > 1 and images * tall * wide > budget:
                images -= 1
            return max(1, images), *g.out
        rows, columns = g.out
        while rows > 1 and g.reach(0, rows) * wide > budget:
            rows = -(-rows // 2)
        while columns > 1 and g.reach(0, rows) * g.reach(1, columns) > budget:
            columns = -(-columns // 2)
        return 1, rows, columns

    def _arrange(self, weight: SSAValue) -> list[TensorOp]:
        """`[groups*filters, channels, r, s] -> [groups, tiles, channels, r*s, filters]`"""
        g = self.g
        cut = self.cut if g.filters % self.cut == 0 else g.filters
        shape = (g.groups, g.filters // cut, cut, g.channels, prod(g.taps))
        full = nn.ReshapeOp(weight, shape=shape)
        return [full, nn.TransposeOp(full.result, permutation=(0, 1, 3, 4, 2))]

    def _load(self, image: View, n: Tile, group: Tile, row: Tile, column: Tile) -> OnChip:
        """The input rows and columns that some output positions read, padded on chip."""
        g, e = self.g, self.e
        low, high = self.margins
        tall, wide = g.reach(0, row.size), g.reach(1, column.size)
        width = self.blocks * n.size * tall * wide
        tile = e.sbuf(min(g.channels, PARTITIONS), width, image.element)
        # Rows past the last window are not read; what is left of the image goes inside the margins.
        height = min(tall - low[0], image.shape[2])
        length = min(wide - low[1], image.shape[3])
        if any(low + high):
            e.emit(nc.MemsetOp, fields={"value": 0.0}, dst=tile.ref())
        if min(height, length) <= 0:  # every window lies in the margin
            return tile
        ns, cs, hs, ws = image.strides
        for k in e.tiles(g.channels, PARTITIONS):
            at = (
                n.start,
                group.start * g.channels + k.start,
                row.start * g.strides[0],
                column.start * g.strides[1],
            )
            inside = k.start.scaled(n.size * tall * wide, PARTITIONS) + (low[0] * wide + low[1])
            onto = merged([(tall * wide, n.size), (wide, height), (1, length)])
            dims = merged([(cs, k.size), (ns, n.size), (hs, height), (ws, length)])
            e.emit(
                nc.DmaOp,
                dst=tile.rows(0, k.size, inside, onto),
                src=Ref(image.buffer, image.at(at, []).start, dims),
            )
        return tile

    def _load_weights(self, group: Tile, filters: Tile) -> OnChip:
        g, e = self.g, self.e
        taps = prod(g.taps)
        tile = e.sbuf(min(g.channels, PARTITIONS), self.blocks * taps * filters.size, self.element)
        tiled = self.weights.shape[1] > 1
        for k in e.tiles(g.channels, PARTITIONS):
            cut = filters.start.scaled(1, self.cut) if tiled else ZERO
            first = ZERO if tiled else filters.start
            e.emit(
                nc.DmaOp,
                dst=tile.rows(
                    0,
                    k.size,
                    k.start.scaled(taps * filters.size, PARTITIONS),
                    ((1, taps * filters.size),),
                ),
                src=self.weights.at(
                    (group.start, cut, k.start, ZERO, first),
                    [(2, k.size), (3, taps), (4, filters.size)],
                ),
            )
        return tile

    def _multiply(self, strip: OnChip, chain: Chain, at: tuple[Tile, Tile, Tile, Tile]) -> None:
        g, e = self.g, self.e
        n, group, row, column = at
        for filters in e.tiles(g.filters, self.cut):
            stationary = self._load_weights(group, filters)
            channel = group.start * g.filters + filters.start
            bias = self.bias(channel, filters.size)
            wide = tile_of(column.size, MAX_MOVING)
            tall = tile_of(row.size, max(1, MAX_MOVING // (wide * n.size)))
            for y in e.tiles(row.size, tall):
                for x in e.tiles(column.size, wide):
                    psum = e.psum(filters.size, n.size * y.size * x.size, f32)
                    self._sum(psum, stationary, strip, at, (filters, y, x))
                    region = Region(
                        (n.start, channel, row.start + y.start, column.start + x.start),
                        (n.size, filters.size, y.size, x.size),
                        1,
                        (0, 2, 3),
                    )
                    evict(e, region, psum, chain, element=element_of(self.op.result), bias=bias)

    def _sum(
        self,
        psum: OnChip,
        stationary: OnChip,
        strip: OnChip,
        at: tuple[Tile, Tile, Tile, Tile],
        tile: tuple[Tile, Tile, Tile],
    ) -> None:
        """One PSUM group: every channel block and every tap."""
        g, e = self.g, self.e
        n, _, row, column = at
        filters, y, x = tile
        tall, wide = g.reach(0, row.size), g.reach(1, column.size)
        taps = prod(g.taps)
        dims = merged(
            [(tall * wide, n.size), (g.strides[0] * wide, y.size), (g.strides[1], x.size)]
        )
        for k in e.tiles(g.channels, PARTITIONS):
            for r in e.tiles(g.taps[0], 1):
                for s in e.tiles(g.taps[1], 1):
                    weight = (
                        k.start.scaled(taps * filters.size, PARTITIONS)
                        + r.start * (g.taps[1] * filters.size)
                        + s.start * filters.size
                    )
                    pixel = (
                        k.start.scaled(n.size * tall * wide, PARTITIONS)
                        + (y.start * g.strides[0] + r.start * g.dilations[0]) * wide
                        + x.start * g.strides[1]
                        + s.start * g.dilations[1]
                    )
                    e.emit(
                        nc.MatmulOp,
                        fields={"first_at": first_at(k, r, s)},
                        dst=psum.ref(),
                        stationary=stationary.rows(0, k.size, weight, ((1, filters.size),)),
                        moving=strip.rows(0, k.size, pixel, dims),
                    )
