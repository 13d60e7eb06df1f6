"""Matrix products on the tensor engine: sums in a PSUM bank over tiles of the contracted dimension.

Tile shapes and the order of summation are functions of the op and the machine alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from xdsl.dialects.builtin import f32
from xdsl.ir import Attribute

from ranvier.backend.neuron.cost import BURST_BYTES
from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.convolution import (
    check_product_type,
    lower_conv,
    lower_conv_transpose,
    why_not_conv,
    why_not_transposed,
)
from ranvier.backend.neuron.lowering.emitter import (
    ZERO,
    Affine,
    Emitter,
    OnChip,
    Ref,
    Tile,
    first_at,
)
from ranvier.backend.neuron.lowering.pointwise import Chain, chain_from, evict
from ranvier.backend.neuron.lowering.registry import Lowering, register
from ranvier.backend.neuron.lowering.relayout import (
    Matrix,
    Relayout,
    array_transposes,
    load_transposed,
)
from ranvier.backend.neuron.lowering.views import Region, View, merge_jointly, tile_of
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Reason
from ranvier.dialects.nc.pe import MAX_MOVING
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.shapes import broadcast_shapes
from ranvier.dialects.nn.types import element_of

RESIDENT_WIDTH = 16 << 10
"""Elements per partition of an operand panel that stays in SBUF: 32 KiB in bf16."""


@register
class LowerConv(Lowering[nn.ConvOp]):
    """Implicit GEMM: see `convolution`."""

    ops = (nn.ConvOp,)

    def why_unsupported(self, op: nn.ConvOp, machine: Machine) -> Reason | None:
        return why_not_conv(op, machine)

    def lower(self, op: nn.ConvOp, context: Context) -> None:
        lower_conv(op, context)


@register
class LowerConvTranspose(Lowering[nn.ConvTransposeOp]):
    """A convolution for each phase of the strides: see `convolution`."""

    ops = (nn.ConvTransposeOp,)

    def why_unsupported(self, op: nn.ConvTransposeOp, machine: Machine) -> Reason | None:
        return why_not_transposed(op, machine)

    def lower(self, op: nn.ConvTransposeOp, context: Context) -> None:
        lower_conv_transpose(op, context)


@register
class LowerMatmul(Lowering[nn.MatmulOp]):
    """Batched matrix product. The operand that costs fewer cycles is stationary in the array."""

    ops = (nn.MatmulOp,)

    def lower(self, op: nn.MatmulOp, context: Context) -> None:
        check_product_type(op, context.machine)
        lhs, rhs = (context.view(operand) for operand in op.operands)
        lhs = lhs if len(lhs.shape) > 1 else _reshaped(lhs, (1, *lhs.shape))
        rhs = rhs if len(rhs.shape) > 1 else _reshaped(rhs, (*rhs.shape, 1))
        batch = broadcast_shapes(lhs.shape[:-2], rhs.shape[:-2])
        canonical = (*batch, lhs.shape[-2], rhs.shape[-1])
        lhs = lhs.broadcast((*batch, *lhs.shape[-2:]))
        rhs = rhs.broadcast((*batch, *rhs.shape[-2:]))
        chain = chain_from(op.result, context, lambda view: view.reshaped(canonical))
        product = Product(
            *_merge_batch(lhs, rhs, chain), element_of(op.result), context.machine, context.relayout
        )
        for starts in _indices(context.e, product.lhs.shape[:-2]):
            product.emit(context.e, starts)


def _reshaped(view: View, shape: tuple[int, ...]) -> View:
    reshaped = view.reshaped(shape)
    assert reshaped is not None, "a dimension of 1 fits any strides"
    return reshaped


def _merge_batch(lhs: View, rhs: View, chain: Chain) -> tuple[View, View, Chain]:
    """Join batch dimensions; where the right side has no batch they become rows of the left."""
    rank = len(lhs.shape) - 2
    shared = all(stride == 0 for stride in rhs.strides[:rank])
    outer = rank + 1 if shared else rank
    views = [lhs, *chain.views, *([] if shared else [rhs])]
    sizes, strides = merge_jointly(lhs.shape[:outer], [view.strides[:outer] for view in views])
    if shared and not sizes:
        sizes, strides = (1,), [(0,) for _ in views]
    merged = {
        id(view): View(
            view.buffer, (*sizes, *view.shape[outer:]), (*own, *view.strides[outer:]), view.offset
        )
        for view, own in zip(views, strides, strict=True)
    }
    if shared:
        batch = len(sizes) - 1
        flat = View(
            rhs.buffer,
            sizes[:batch] + rhs.shape[rank:],
            (0,) * batch + rhs.strides[rank:],
            rhs.offset,
        )
        merged[id(rhs)] = flat
    return merged[id(lhs)], merged[id(rhs)], chain.with_views(merged)


def _indices(e: Emitter, shape: tuple[int, ...]) -> Iterator[tuple[Affine, ...]]:
    """Every index of the batch dimensions, as loops."""
    if not shape:
        yield ()
        return
    for tile in e.tiles(shape[0], 1):
        for rest in _indices(e, shape[1:]):
            yield (tile.start, *rest)


@dataclass(frozen=True)
class Panel:
    """One operand with the contracted dimension on the partitions, in blocks of 128.

    `tile` holds the columns from `start` on; without it each block is loaded where it is used.
    """

    view: View
    starts: tuple[Affine, ...]
    contracted: int
    free: int
    machine: Machine
    relayout: Relayout
    tile: OnChip | None = None
    start: Affine = ZERO
    width: int = 0

    def loaded(self, e: Emitter, columns: Tile) -> Panel:
        """Bring some columns of all blocks into SBUF, if they fit."""
        depth = self.view.shape[self.contracted]
        blocks = -(-depth // PARTITIONS)
        if blocks * columns.size > RESIDENT_WIDTH:
            return self
        tile = e.sbuf(min(depth, PARTITIONS), blocks * columns.size, self.view.element)
        self._fill(e, tile, Tile(ZERO, depth), columns)
        return replace(self, tile=tile, start=columns.start, width=columns.size)

    def _fill(self, e: Emitter, tile: OnChip, k: Tile, columns: Tile) -> None:
        """Load the range `k` of some columns, block by block."""
        sizes = columns.size, k.size
        if self.relayout is Relayout.FAST and array_transposes(
            self.view, self.free, self.contracted, sizes, self.machine
        ):
            starts = list(self.starts)
            starts[self.contracted], starts[self.free] = k.start, columns.start
            matrix = Matrix(self.view, tuple(starts), self.free, self.contracted)
            load_transposed(e, tile, matrix, *sizes)
            return
        full, rest = divmod(k.size, PARTITIONS)
        if full:
            self._load(e, tile, columns, k.start, PARTITIONS, full, 0)
        if rest:
            at = k.start + full * PARTITIONS
            self._load(e, tile, columns, at, rest, 1, full * columns.size)

    def _load(
        self, e: Emitter, tile: OnChip, columns: Tile, k: Affine, rows: int, blocks: int, at: int
    ) -> None:
        starts = list(self.starts)
        starts[self.contracted], starts[self.free] = k, columns.start
        source = self.view.at(starts, [])
        step, stride = self.view.strides[self.contracted], self.view.strides[self.free]
        dims = ((step, rows), (step * PARTITIONS, blocks), (stride, columns.size))
        width = blocks * columns.size
        e.emit(
            nc.DmaOp,
            dst=tile.rows(0, rows, at, ((1, width),)),
            src=Ref(source.buffer, source.start, tuple(d for d in dims if d[1] > 1) or ((1, 1),)),
        )

    def ref(self, e: Emitter, k: Tile, columns: Tile) -> Ref:
        """The block `k` of some columns, as an operand of the array."""
        if self.tile is None:
            tile = e.sbuf(k.size, columns.size, self.view.element)
            self._fill(e, tile, k, columns)
            return tile.ref()
        at = k.start.scaled(self.width, PARTITIONS) + columns.start + self.start * -1
        return self.tile.rows(0, k.size, at, ((1, columns.size),))


@dataclass(frozen=True)
class Product:
    """`lhs . rhs` of views whose batch dimensions agree, and what follows it."""

    lhs: View
    rhs: View
    chain: Chain
    element: Attribute
    machine: Machine
    relayout: Relayout

    @property
    def swapped(self) -> bool:
        """Whether the right side is stationary, so that its columns come out on the partitions.

        The result lies row by row in device memory: columns on the partitions are stored, and read
        by what follows, element by element.
        """
        m, n = self.lhs.shape[-2], self.rhs.shape[-1]
        blocks = -(-self.lhs.shape[-1] // PARTITIONS)
        saved = blocks * (self._cycles(m, n) - self._cycles(n, m)) / self.machine.pe_clock
        if m == 1:
            return saved > 0
        bandwidth = self.machine.dma_engines * self.machine.dma_bytes_per_second
        return saved > m * n * BURST_BYTES / bandwidth

    def _cycles(self, rows: int, columns: int) -> int:
        """PE cycles for each block of the contracted dimension. Source: isa, matmul cost."""
        height = tile_of(rows, self.machine.pe_columns)
        width = tile_of(columns, MAX_MOVING)
        issues = -(-rows // height) * -(-columns // width)
        return issues * max(min(64, height), width)

    def emit(self, e: Emitter, batch: tuple[Affine, ...]) -> None:
        """The product of one batch index."""
        rank = len(batch)
        at = (*batch, ZERO, ZERO)
        how = self.machine, self.relayout
        stationary = Panel(self.lhs, at, rank + 1, rank, *how)
        moving = Panel(self.rhs, at, rank, rank + 1, *how)
        if self.swapped:
            stationary, moving = moving, stationary
        rows, columns = stationary.view.shape[stationary.free], moving.view.shape[moving.free]
        height, width = tile_of(rows, self.machine.pe_columns), tile_of(columns, MAX_MOVING)
        whole = stationary.loaded(e, Tile(ZERO, rows))
        if whole.tile is not None:
            for column in e.tiles(columns, width):
                panel = moving.loaded(e, column)
                for row in e.tiles(rows, height):
                    self._sum(e, whole, panel, row, column, batch)
            return
        moving = moving.loaded(e, Tile(ZERO, columns))
        for row in e.tiles(rows, height):
            panel = stationary.loaded(e, row)
            for column in e.tiles(columns, width):
                loaded = moving if moving.tile is not None else moving.loaded(e, column)
                self._sum(e, panel, loaded, row, column, batch)

    def _sum(
        self,
        e: Emitter,
        stationary: Panel,
        moving: Panel,
        row: Tile,
        column: Tile,
        batch: tuple[Affine, ...],
    ) -> None:
        """One PSUM group, and its way out."""
        psum = e.psum(row.size, column.size, f32)
        for k in e.tiles(self.lhs.shape[-1], PARTITIONS):
            e.emit(
                nc.MatmulOp,
                fields={"first_at": first_at(k)},
                dst=psum.ref(),
                stationary=stationary.ref(e, k, row),
                moving=moving.ref(e, k, column),
            )
        rank = len(batch)
        m, n = (column, row) if self.swapped else (row, column)
        region = Region(
            (*batch, m.start, n.start),
            (1,) * rank + (m.size, n.size),
            rank + 1 if self.swapped else rank,
            (rank,) if self.swapped else (rank + 1,),
        )
        evict(e, region, psum, self.chain, element=self.element)
