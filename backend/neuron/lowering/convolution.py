"""Convolution as an implicit matrix product: the array sums over channels and taps.

Direct: channels on the partitions, one matmul for each tap on a shifted view of the padded image,
so nothing is copied. Packed: where channels are few, DMA spreads taps over the partitions as well,
row `(r, c, s)` of the contracted dimension, and each matmul uses the whole array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import (
    ZERO,
    Affine,
    Emitter,
    OnChip,
    Ref,
    Tile,
    first_at,
    merged,
)
from ranvier.backend.neuron.lowering.pointwise import Chain, chain_from, evict
from ranvier.backend.neuron.lowering.registry import is_constant
from ranvier.backend.neuron.lowering.views import Region, View, padded_copy, tile_of
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Code, CodedError, Reason
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.pe import MAX_MOVING
from ranvier.dialects.nc.types import PARTITIONS, element_dtype
from ranvier.dialects.nn.types import TensorOp, element_of, shape_of

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


def why_not_conv(op: nn.ConvOp, machine: Machine) -> Reason | None:
    """What a convolution asks that neither form does."""
    if len(shape_of(op.operand)) == 5:
        return Reason(Code.OP_RANK, "1 or 2 spatial dimensions lower, got 3")
    if not is_constant(op.weight):
        return Reason(Code.OP_OPERAND, "the weight must be a constant of the model")
    if min(ints(op.padding)) < 0:
        return Reason(Code.OP_ATTRIBUTE, f"padding is not negative, got {ints(op.padding)}")
    g = geometry_of(op)
    if not g.packs:
        blocks = -(-g.channels // PARTITIONS)
        itemsize = element_dtype(element_of(op.weight)).itemsize
        row = blocks * g.reach(0, 1) * g.reach(1, 1) * itemsize
        weights = blocks * prod(g.taps) * min(g.filters, PARTITIONS) * itemsize
        if row + weights > machine.sbuf_bytes // 2:
            return Reason(
                Code.OP_SIZE,
                f"weights of {weights} and a window of {row} bytes per partition exceed half of "
                f"the {machine.sbuf_bytes} of SBUF",
            )
    return None


def check_product_type(op: nn.ConvOp | nn.MatmulOp, machine: Machine) -> None:
    """Refuse an f32 product that `cast-bf16` left where the array multiplies none."""
    if element_of(op.operands[0]) == f32 and machine.pe_f32_passes is None:
        raise CodedError(
            Code.OP_ELEMENT_TYPE,
            f"{op.name} multiplies f32, which {machine.name} cannot: run cast-bf16 before",
        )


def lower_conv(op: nn.ConvOp, context: Context) -> None:
    """Emit a convolution and the elementwise ops that follow it."""
    check_product_type(op, context.machine)
    g = geometry_of(op)
    x = context.view(op.operand).reshaped((g.n, g.groups * g.channels, g.height, g.width))
    assert x is not None, "a dimension of 1 fits any strides"
    lowering = Packed if g.packs else Direct
    lowering(op, context, g, x).lower()


class _Convolution:
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

    def bias(self, start: Affine, size: int) -> OnChip | None:
        """One bias for each output channel of a tile, on its partition."""
        if self.op.bias is None:
            return None
        view = self.context.view(self.op.bias)
        tile = self.e.sbuf(size, 1, view.element)
        self.e.emit(nc.DmaOp, dst=tile.ref(), src=view.at((start,), [(0, size)]))
        return tile


class Packed(_Convolution):
    """Taps and channels together on the partitions."""

    def lower(self) -> None:
        g, e = self.g, self.e
        image = self.pad()
        weights = self.context.derived_weight(self.op.weight, "packed", self._pack)
        space = (g.n, g.filters, prod(g.out))
        chain = chain_from(self.op.result, self.context, lambda view: view.reshaped(space))
        blocks = -(-g.contracted // PARTITIONS)
        wide = min(g.out[1], PACKED_WIDTH // blocks)
        rows = max(1, PACKED_WIDTH // (blocks * wide)) if wide == g.out[1] else 1
        stationary = self._load_weights(weights, blocks)
        for n in e.tiles(g.n, 1):
            for row in e.tiles(g.out[0], tile_of(g.out[0], rows)):
                for column in e.tiles(g.out[1], tile_of(g.out[1], wide)):
                    unfolded = self._unfold(image, n, row, column, blocks)
                    start = row.start * g.out[1] + column.start
                    positions = row.size * column.size
                    self._multiply(stationary, unfolded, chain, n, start, positions)

    def _pack(self, weight: SSAValue) -> list[TensorOp]:
        """`[filters, channels, r, s] -> [(r, channels, s), filters]`"""
        g = self.g
        full = nn.ReshapeOp(weight, shape=(g.filters, g.channels, *g.taps))
        turned = nn.TransposeOp(full.result, permutation=(2, 1, 3, 0))
        return [full, turned, nn.ReshapeOp(turned.result, shape=(g.contracted, g.filters))]

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
        positions = row.size * column.size
        tile = e.sbuf(min(g.contracted, PARTITIONS), blocks * positions, image.element)
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
                    (ws * g.strides[1], column.size),
                ]
            )
            block, partition = divmod(run.first, PARTITIONS)
            e.emit(
                nc.DmaOp,
                dst=tile.rows(
                    partition, run.channels * run.width, block * positions, ((1, positions),)
                ),
                src=Ref(image.buffer, image.at(at, []).start, dims),
            )
        return tile

    def _multiply(
        self,
        stationary: OnChip,
        moving: OnChip,
        chain: Chain,
        n: Tile,
        start: Affine,
        positions: int,
    ) -> None:
        g, e = self.g, self.e
        for filters in e.tiles(g.filters, tile_of(g.filters, self.context.machine.pe_columns)):
            bias = self.bias(filters.start, filters.size)
            for part in e.tiles(positions, tile_of(positions, MAX_MOVING)):
                psum = e.psum(filters.size, part.size, f32)
                for k in e.tiles(g.contracted, PARTITIONS):
                    at = k.start.scaled(g.filters, PARTITIONS) + filters.start
                    column = k.start.scaled(positions, PARTITIONS) + part.start
                    e.emit(
                        nc.MatmulOp,
                        fields={"first_at": first_at(k)},
                        dst=psum.ref(),
                        stationary=stationary.rows(0, k.size, at, ((1, filters.size),)),
                        moving=moving.rows(0, k.size, column, ((1, part.size),)),
                    )
                region = Region(
                    (n.start, filters.start, start + part.start),
                    (1, filters.size, part.size),
                    1,
                    (2,),
                )
                evict(e, region, psum, chain, element=element_of(self.op.result), bias=bias)


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


class Direct(_Convolution):
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
