"""Channels on the partitions, a matmul for each tap on a shifted view of the padded image.

Where channels leave partitions free, copies of the image lie below each other, each shifted by one
tap, and one matmul sums as many taps: two for 64 channels, so that a 3x3 kernel takes 6 issues
instead of 9. Five would need the pairs (0, 2) and (1, 2) as well, hence two more copies of the
image: more time on DMA than the tensor engine saves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.convolution.geometry import Convolution, Geometry
from ranvier.backend.neuron.lowering.emitter import (
    ZERO,
    Affine,
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


def copies_of(g: Geometry) -> tuple[int, int]:
    """Rows and columns of taps that one matmul sums. Whole kernel rows come before a second one."""
    room = max(1, PARTITIONS // g.channels)
    columns = tile_of(g.taps[1], min(room, g.taps[1]))
    rows = room // columns if columns == g.taps[1] else 1
    return tile_of(g.taps[0], min(rows, g.taps[0])), columns


def turns_of(g: Geometry) -> tuple[int, int]:
    """Matmuls along each axis of the kernel."""
    rows, columns = copies_of(g)
    return -(-g.taps[0] // rows), -(-g.taps[1] // columns)


@dataclass(frozen=True)
class Panel:
    """Weights of a filter tile on chip: element `block`, `turn`, `filter` of a row."""

    tile: OnChip
    block: int
    """Elements from one channel block to the next."""
    turn: int
    first: Affine = ZERO

    def ref(self, rows: int, at: Affine, filters: int) -> Ref:
        """The weights of some rows of the array from an element on."""
        return self.tile.rows(0, rows, self.first + at, ((1, filters),))


class Direct(Convolution):
    """Channels on the partitions, a matmul for each tap or for some taps together."""

    @staticmethod
    def space(g: Geometry) -> Shape:
        return (g.n, g.groups * g.filters, *g.out)

    @staticmethod
    def weight_budget(machine: Machine, itemsize: int) -> int:
        """Elements per partition of the weights that are on chip at once."""
        return machine.sbuf_bytes // 4 // itemsize

    def lower(self) -> None:
        g, e = self.g, self.e
        self.copies, self.turns = copies_of(g), turns_of(g)
        self.rows = prod(self.copies) * g.channels
        self.blocks = -(-self.rows // PARTITIONS)
        images, rows, columns = self._strip()
        one_strip = (rows, columns) == g.out
        image = self.x if one_strip else self.pad()
        self.low = g.low if one_strip else (0, 0)
        self.margin = one_strip and g.padded
        budget = self.weight_budget(self.context.machine, self.itemsize)
        most = min(self.context.machine.pe_columns, budget // prod(self.turns))
        self.cut = tile_of(g.filters, most)
        self.resident = self.blocks * prod(self.turns) * self.cut <= budget
        grouped = "direct" if g.groups == 1 else f"direct.g{g.groups}"
        self.weights = self.kernel.arranged(self.context, grouped, self._arrange)
        whole = self.blocks * prod(self.turns) * g.filters <= budget and g.groups == 1
        self.panel = self._load_all_weights() if whole else None
        for n in e.tiles(g.n, images):
            for group in e.tiles(g.groups, 1):
                for row in e.tiles(g.out[0], rows):
                    for column in e.tiles(g.out[1], columns):
                        strip = self._load(image, n, group, row, column)
                        self._multiply(strip, (n, group, row, column))

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
        """`[groups*filters, channels, r, s] -> [groups, tiles, rows, turns, filters]`

        Row `(i, j, channel)` of turn `(a, b)` is tap `(a*copies[0] + i, b*copies[1] + j)`, zero
        beyond the kernel.
        """
        g, (tall, wide), (down, across) = self.g, self.copies, self.turns
        cut = self.cut if g.filters % self.cut == 0 else g.filters
        ops: list[TensorOp] = []
        missing = (down * tall - g.taps[0], across * wide - g.taps[1])
        if any(missing):
            margins: dict[str, Any] = {"low": (0, 0, 0, 0), "high": (0, 0, *missing)}
            ops.append(nn.PadOp(weight, mode="constant", value=0.0, **margins))
            weight = ops[-1].results[0]
        shape = (g.groups, g.filters // cut, cut, g.channels, down, tall, across, wide)
        ops.append(nn.ReshapeOp(weight, shape=shape))
        order = (0, 1, 5, 7, 3, 4, 6, 2)
        ops.append(nn.TransposeOp(ops[-1].results[0], permutation=order))
        flat = (g.groups, g.filters // cut, self.rows, down * across, cut)
        return [*ops, nn.ReshapeOp(ops[-1].results[0], shape=flat)]

    def _load(self, image: View, n: Tile, group: Tile, row: Tile, column: Tile) -> OnChip:
        """The input rows and columns that some output positions read, padded on chip."""
        g, e = self.g, self.e
        tall, wide = g.reach(0, row.size), g.reach(1, column.size)
        width = self.blocks * n.size * tall * wide
        tile = e.sbuf(min(self.rows, PARTITIONS), width, image.element)
        if self.margin:
            e.emit(nc.MemsetOp, fields={"value": 0.0}, dst=tile.ref())
        for i in range(self.copies[0]):
            for j in range(self.copies[1]):
                first = (i * self.copies[1] + j) * g.channels
                shift = (i * g.dilations[0], j * g.dilations[1])
                self._load_copy(tile, first, shift, image, (n, group, row, column))
        return tile

    def _load_copy(
        self,
        tile: OnChip,
        partition: int,
        shift: tuple[int, int],
        image: View,
        at: tuple[Tile, Tile, Tile, Tile],
    ) -> None:
        """The image from `shift` on, as far as the taps of this copy read it."""
        g, e = self.g, self.e
        n, group, row, column = at
        tall, wide = g.reach(0, row.size), g.reach(1, column.size)
        skipped = [max(0, s - low) for s, low in zip(shift, self.low, strict=True)]
        inside = [max(0, low - s) for s, low in zip(shift, self.low, strict=True)]
        # Rows past the last window are not read; what is left of the image goes inside the margins.
        height = min(tall - shift[0] - inside[0], image.shape[2] - skipped[0])
        length = min(wide - shift[1] - inside[1], image.shape[3] - skipped[1])
        if min(height, length) <= 0:  # every window lies in the margin
            return
        ns, cs, hs, ws = image.strides
        for k in e.tiles(g.channels, PARTITIONS):
            start = (
                n.start,
                group.start * g.channels + k.start,
                row.start * g.strides[0] + skipped[0],
                column.start * g.strides[1] + skipped[1],
            )
            target = k.start.scaled(n.size * tall * wide, PARTITIONS)
            onto = merged([(tall * wide, n.size), (wide, height), (1, length)])
            dims = merged([(cs, k.size), (ns, n.size), (hs, height), (ws, length)])
            e.emit(
                nc.DmaOp,
                dst=tile.rows(partition, k.size, target + (inside[0] * wide + inside[1]), onto),
                src=Ref(image.buffer, image.at(start, []).start, dims),
            )

    def _load_all_weights(self) -> Panel:
        """All weights at once: the next layer's arrive while this one computes."""
        e, (_, tiles, rows, turns, filters) = self.e, self.weights.shape
        size = turns * filters
        tile = e.sbuf(min(rows, PARTITIONS), tiles * self.blocks * size, self.weights.element)
        for k in e.tiles(rows, PARTITIONS):
            e.emit(
                nc.DmaOp,
                dst=tile.rows(
                    *(0, k.size, k.start.scaled(size, PARTITIONS)),
                    merged([(self.blocks * size, tiles), (1, size)]),
                ),
                src=self.weights.at(
                    (ZERO, ZERO, k.start, ZERO, ZERO),
                    [(2, k.size), (1, tiles), (3, turns), (4, filters)],
                ),
            )
        return Panel(tile, size, filters)

    def _part(self, panel: Panel, filters: Tile) -> Panel:
        """The weights of some filters, of all."""
        tiled = self.weights.shape[1] > 1
        first = (
            filters.start.scaled(self.blocks * panel.block, self.cut) if tiled else filters.start
        )
        return replace(panel, first=first)

    def _load_weights(self, group: Tile, filters: Tile, rows: Tile) -> Panel:
        """The weights of some rows, a multiple of the partitions or less."""
        e, turns = self.e, prod(self.turns)
        blocks = -(-rows.size // PARTITIONS)
        tile = e.sbuf(
            min(rows.size, PARTITIONS), blocks * turns * filters.size, self.weights.element
        )
        tiled = self.weights.shape[1] > 1
        cut = filters.start.scaled(1, self.cut) if tiled else ZERO
        first = ZERO if tiled else filters.start
        for k in e.tiles(rows.size, PARTITIONS):
            width = turns * filters.size
            e.emit(
                nc.DmaOp,
                dst=tile.rows(0, k.size, k.start.scaled(width, PARTITIONS), ((1, width),)),
                src=self.weights.at(
                    (group.start, cut, rows.start + k.start, ZERO, first),
                    [(2, k.size), (3, turns), (4, filters.size)],
                ),
            )
        return Panel(tile, turns * filters.size, filters.size)

    def _multiply(self, strip: OnChip, at: tuple[Tile, Tile, Tile, Tile]) -> None:
        g, e = self.g, self.e
        n, group, row, column = at
        for filters in e.tiles(g.filters, self.cut):
            whole = Tile(ZERO, self.rows)
            if self.panel is not None:
                stationary = self._part(self.panel, filters)
            else:
                stationary = self._load_weights(group, filters, whole) if self.resident else None
            channel = group.start * g.filters + filters.start
            bias = self.biases(channel, filters.size)
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
                    evict(e, region, psum, self.chain, element=self.element, bias=bias)

    def _sum(
        self,
        psum: OnChip,
        resident: Panel | None,
        strip: OnChip,
        at: tuple[Tile, Tile, Tile, Tile],
        tile: tuple[Tile, Tile, Tile],
    ) -> None:
        """One PSUM group: every channel block and every tap."""
        g, e = self.g, self.e
        n, group, row, column = at
        filters, y, x = tile
        tall, wide = g.reach(0, row.size), g.reach(1, column.size)
        dims = merged(
            [(tall * wide, n.size), (g.strides[0] * wide, y.size), (g.strides[1], x.size)]
        )
        for k in e.tiles(self.rows, PARTITIONS):
            panel = resident or self._load_weights(group, filters, k)
            block = k.start.scaled(panel.block, PARTITIONS) if resident else ZERO
            for r in e.tiles(g.taps[0], self.copies[0]):
                for s in e.tiles(g.taps[1], self.copies[1]):
                    taps = (r.size - 1) * self.copies[1] + s.size
                    rows = taps * g.channels if prod(self.copies) > 1 else k.size
                    weight = r.start.scaled(self.turns[1], self.copies[0])
                    weight = (weight + s.start.scaled(1, self.copies[1])) * panel.turn
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
                        stationary=panel.ref(rows, weight + block, filters.size),
                        moving=strip.rows(0, rows, pixel, dims),
                    )
