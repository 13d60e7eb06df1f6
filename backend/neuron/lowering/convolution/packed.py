"""Taps and channels together on the partitions: the array is full although channels are few."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.backend.neuron.lowering.convolution.geometry import (
    PACKED_WIDTH,
    Convolution,
    Geometry,
)
from ranvier.backend.neuron.lowering.emitter import (
    ZERO,
    Affine,
    Dims,
    OnChip,
    Ref,
    Tile,
    first_at,
    merged,
)
from ranvier.backend.neuron.lowering.pointwise import evict
from ranvier.backend.neuron.lowering.views import Region, Shape, View, tile_of
from ranvier.dialects import nc, nn
from ranvier.dialects.nc.pe import MAX_MOVING
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.types import TensorOp


class Packed(Convolution):
    """Taps and channels together on the partitions."""

    @staticmethod
    def space(g: Geometry) -> Shape:
        return (g.n, g.filters, prod(g.out))

    def lower(self) -> None:
        g, e = self.g, self.e
        image = self.pad()
        weights = self.kernel.arranged(self.context, "packed", self._pack)
        blocks = -(-g.contracted // PARTITIONS)
        room, step = PACKED_WIDTH // blocks, g.strides[1]
        # Pixels between those of a stride come along: rows are moved whole, not by the element.
        wide = min(g.out[1], room if step == 1 else min(MAX_MOVING, room // step))
        rows = max(1, room // (wide * step)) if wide == g.out[1] else 1
        stationary = self._load_weights(weights, blocks)
        for n in e.tiles(g.n, 1):
            for row in e.tiles(g.out[0], tile_of(g.out[0], rows)):
                for column in e.tiles(g.out[1], tile_of(g.out[1], wide)):
                    unfolded = self._unfold(image, n, row, column, blocks)
                    self._multiply(stationary, unfolded, n, row, column)

    def _line(self, column: Tile) -> int:
        """Pixels that some columns of the result span."""
        return (column.size - 1) * self.g.strides[1] + 1

    def _pack(self, weight: SSAValue) -> list[TensorOp]:
        """`[filters, channels, r, s] -> [(r, channels, s), filters]`"""
        g = self.g
        turned = nn.TransposeOp(weight, permutation=(2, 1, 3, 0))
        return [turned, nn.ReshapeOp(turned.result, shape=(g.contracted, g.filters))]

    def _load_weights(self, weights: View, blocks: int) -> OnChip:
        g, e = self.g, self.e
        tile = e.sbuf(min(g.contracted, PARTITIONS), blocks * g.filters, weights.element)
        for k in e.tiles(g.contracted, PARTITIONS):
            e.emit(
                nc.DmaOp,
                dst=tile.rows(0, k.size, k.start.scaled(g.filters, PARTITIONS), ((1, g.filters),)),
                src=weights.at((k.start, ZERO), [(0, k.size), (1, g.filters)]),
            )
        return tile

    def _unfold(self, image: View, n: Tile, row: Tile, column: Tile, blocks: int) -> OnChip:
        """Bring every tap of some output positions on chip, one DMA for each run of rows."""
        g, e = self.g, self.e
        pixels = row.size * self._line(column)
        tile = e.sbuf(min(g.contracted, PARTITIONS), blocks * pixels, image.element)
        _, cs, hs, ws = image.strides
        for run in _runs(g):
            at = (
                n.start,
                Affine(run.channel),
                row.start * g.strides[0] + run.r * g.dilations[0],
                column.start * g.strides[1] + run.s * g.dilations[1],
            )
            dims = merged(
                [
                    (cs, run.channels),
                    (ws * g.dilations[1], run.width),
                    (hs * g.strides[0], row.size),
                    (ws, self._line(column)),
                ]
            )
            block, partition = divmod(run.first, PARTITIONS)
            e.emit(
                nc.DmaOp,
                dst=tile.rows(partition, run.channels * run.width, block * pixels, ((1, pixels),)),
                src=Ref(image.buffer, image.at(at, []).start, dims),
            )
        return tile

    def _multiply(
        self, stationary: OnChip, moving: OnChip, n: Tile, row: Tile, column: Tile
    ) -> None:
        g, e = self.g, self.e
        start = row.start * g.out[1] + column.start
        pixels = row.size * self._line(column)
        for filters in e.tiles(g.filters, tile_of(g.filters, self.context.machine.pe_columns)):
            bias = self.biases(filters.start, filters.size)
            for part in self._parts(row, column):
                psum = e.psum(filters.size, part.positions, f32)
                for k in e.tiles(g.contracted, PARTITIONS):
                    at = k.start.scaled(g.filters, PARTITIONS) + filters.start
                    pixel = k.start.scaled(pixels, PARTITIONS) + part.pixel
                    e.emit(
                        nc.MatmulOp,
                        fields={"first_at": first_at(k)},
                        dst=psum.ref(),
                        stationary=stationary.rows(0, k.size, at, ((1, filters.size),)),
                        moving=moving.rows(0, k.size, pixel, part.dims),
                    )
                region = Region(
                    (n.start, filters.start, start + part.start),
                    (1, filters.size, part.positions),
                    1,
                    (2,),
                )
                evict(e, region, psum, self.chain, element=self.element, bias=bias)

    def _parts(self, row: Tile, column: Tile) -> Iterator[Part]:
        """Cut positions anywhere where they are contiguous, else between rows."""
        step, line = self.g.strides[1], self._line(column)
        if step == 1:
            positions = row.size * column.size
            for part in self.e.tiles(positions, tile_of(positions, MAX_MOVING)):
                yield Part(part.start, part.size, part.start, ((1, part.size),))
            return
        for y in self.e.tiles(row.size, tile_of(row.size, max(1, MAX_MOVING // column.size))):
            dims = merged([(line, y.size), (step, column.size)])
            yield Part(y.start * column.size, y.size * column.size, y.start * line, dims)


@dataclass(frozen=True)
class Part:
    """Output positions of one PSUM group, and the pixels on chip that belong to them."""

    start: Affine
    positions: int
    pixel: Affine
    dims: Dims


@dataclass(frozen=True)
class Run:
    """Rows `first, …` of the contracted dimension: `channels` x `width` taps of kernel row `r`."""

    first: int
    r: int
    channel: int
    channels: int
    s: int
    width: int


def _runs(g: Geometry) -> Iterator[Run]:
    """Cut the rows `(r, channel, s)` at block borders and kernel rows into rectangles."""
    wide = g.taps[1]
    row = 0
    while row < g.contracted:
        r, rest = divmod(row, g.channels * wide)
        channel, s = divmod(rest, wide)
        room = min(PARTITIONS - row % PARTITIONS, g.channels * wide - rest)
        if s or room < wide:
            width = min(wide - s, room)
            yield Run(row, r, channel, 1, s, width)
            row += width
        else:
            yield Run(row, r, channel, room // wide, 0, wide)
            row += room // wide * wide
