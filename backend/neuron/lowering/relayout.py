"""Transposes on the way: by the array where that is faster than a DMA of single elements.

The array multiplies by an identity matrix, which is exact for finite values; an infinity or a NaN
spreads over its block. `Relayout.EXACT` moves bytes instead, whatever it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from xdsl.dialects.builtin import bf16, f16, f32

from ranvier.backend.neuron.cost import ACCESS_CYCLES, BURST_BYTES, MIN_II
from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.emitter import (
    ZERO,
    Affine,
    Emitter,
    OnChip,
    Ref,
    Tile,
    merged,
)
from ranvier.backend.neuron.lowering.views import View, merge_jointly
from ranvier.dialects import nc
from ranvier.dialects.nc.types import PARTITIONS, PSUM_BANK_BYTES, element_dtype


class Relayout(Enum):
    """How transposes are done."""

    FAST = "fast"
    EXACT = "exact"


BLOCKS = 4
"""Square blocks of f32 that a bank of PSUM holds."""
MAX_ROW = 4096
"""Contiguous elements that are loaded at once."""


@dataclass(frozen=True)
class Matrix:
    """Part of a view: `rows x columns`, of which the columns are contiguous in device memory."""

    view: View
    starts: tuple[Affine, ...]
    row: int
    column: int

    def block(self, rows: Tile, start: Affine, columns: int) -> Ref:
        starts = list(self.starts)
        starts[self.row] = starts[self.row] + rows.start
        starts[self.column] = starts[self.column] + start
        return self.view.at(starts, [(self.row, rows.size), (self.column, columns)])


def array_transposes(
    view: View, row: int, column: int, sizes: tuple[int, int], machine: Machine
) -> bool:
    """Whether the array transposes `rows x columns` faster than DMA gathers single elements."""
    if view.strides[column] != 1 or view.strides[row] == 1 or 1 in sizes:
        return False
    if view.element not in (f32, bf16, f16):
        return False
    passes = machine.pe_f32_passes if view.element == f32 else 1
    if passes is None:
        return False
    rows, columns = sizes
    bandwidth = machine.dma_engines * machine.dma_bytes_per_second
    itemsize = element_dtype(view.element).itemsize
    gathered = rows * columns * max(itemsize, BURST_BYTES) / bandwidth
    blocks = -(-rows // PARTITIONS) * -(-columns // PARTITIONS)
    height, width = min(rows, PARTITIONS), min(columns, PARTITIONS)
    array = passes * max(height, min(MIN_II, width)) / machine.pe_clock
    eviction = max(MIN_II, height) / machine.act_clock
    latency = ACCESS_CYCLES * (1 / machine.pe_clock + 1 / machine.act_clock)
    return rows * columns * itemsize / bandwidth + blocks * (array + eviction) + latency < gathered


def load_transposed(e: Emitter, into: OnChip, matrix: Matrix, rows: int, columns: int) -> None:
    """Fill a tile: column `c` of the matrix on partition `c % 128`, blocks after each other."""
    for part in e.tiles(rows, PARTITIONS):
        for chunk in e.tiles(columns, MAX_ROW):
            tile = e.sbuf(part.size, chunk.size, into.element)
            e.emit(nc.DmaOp, dst=tile.ref(), src=matrix.block(part, chunk.start, chunk.size))
            full, rest = divmod(chunk.size, PARTITIONS)
            first = chunk.start.scaled(rows, PARTITIONS) + part.start
            if full:
                _transpose(e, into, tile, first, rows, full, PARTITIONS)
            if rest:
                _transpose(
                    e,
                    into.columns(full * rows, rows),
                    tile.columns(full * PARTITIONS, rest),
                    first,
                    rows,
                    1,
                    rest,
                )


def _transpose(
    e: Emitter, into: OnChip, tile: OnChip, first: Affine, rows: int, blocks: int, height: int
) -> None:
    """Transpose some blocks of `height` columns; as many at once as a bank holds."""
    width = tile.partitions
    held = (n for n in range(BLOCKS, 0, -1) if n * width * 4 <= PSUM_BANK_BYTES)
    at_once = next(n for n in held if blocks % n == 0)
    for group in e.tiles(blocks, at_once):
        psum = e.psum(height, group.size * width, f32)
        for block in e.tiles(group.size, 1):
            column = (group.start + block.start) * height
            e.emit(
                nc.TransposeOp,
                dst=psum.ref(block.start * width, ((1, width),)),
                src=tile.ref(column, ((1, height),)),
            )
        target = into.rows(0, height, group.start * rows + first, ((rows, group.size), (1, width)))
        fields: dict[str, object] = {"func": "copy", "scale": 1.0}
        e.emit(nc.ActivationOp, fields=fields, dst=target, src=psum.ref())


OUTER = 2
"""Loops around those over the tiles of a plane: deeper ones would be written out."""
TURNED = 512
"""Contiguous elements of the source that are turned at once: the blocks of one bank."""


def copy_relaid(e: Emitter, dst: View, src: View, machine: Machine) -> bool:
    """Copy inside DRAM through the array, if that is a transpose which it does faster.

    Returns whether it did; otherwise nothing was emitted.
    """
    sizes, (into, out) = merge_jointly(src.shape, (dst.strides, src.strides))
    target, source = (
        View(view.buffer, sizes, strides, view.offset)
        for view, strides in ((dst, into), (src, out))
    )
    if 1 not in into or 1 not in out or into.index(1) == out.index(1):
        return False
    row, column = into.index(1), out.index(1)
    plane = sizes[row], sizes[column]
    others = [d for d in range(len(sizes)) if d not in (row, column)]
    fits = target.element == source.element and 0 not in (*into, *out) and len(others) <= OUTER
    if not fits or not array_transposes(source, row, column, plane, machine):
        return False
    for starts in _turns(e, sizes, others, [ZERO] * len(sizes)):
        for rows in e.tiles(sizes[row], PARTITIONS):
            for columns in e.tiles(sizes[column], TURNED):
                at = list(starts)
                at[row], at[column] = rows.start, columns.start
                _turn_tile(e, target, source, at, (row, rows.size), (column, columns.size))
    return True


def _turns(
    e: Emitter, sizes: Sequence[int], dims: Sequence[int], starts: list[Affine]
) -> Iterator[list[Affine]]:
    """Every index of some dimensions, as loops."""
    if not dims:
        yield starts
        return
    for tile in e.tiles(sizes[dims[0]], 1):
        starts[dims[0]] = tile.start
        yield from _turns(e, sizes, dims[1:], starts)


def _turn_tile(
    e: Emitter,
    target: View,
    source: View,
    at: Sequence[Affine],
    row: tuple[int, int],
    column: tuple[int, int],
) -> None:
    """One tile in, its transpose out."""
    (row_dim, rows), (column_dim, columns) = row, column
    full, rest = divmod(columns, PARTITIONS)
    turned = e.sbuf(min(columns, PARTITIONS), (full + bool(rest)) * rows, source.element)
    matrix = Matrix(source, tuple(at), row_dim, column_dim)
    load_transposed(e, turned, matrix, rows, columns)
    step = target.strides[column_dim]
    pieces = [(0, full, PARTITIONS)] if full else []
    pieces += [(full, 1, rest)] if rest else []
    for first, blocks, height in pieces:
        start = target.at(at, []).start + first * PARTITIONS * step
        dims = ((step, height), (step * PARTITIONS, blocks), (target.strides[row_dim], rows))
        out = Ref(target.buffer, start, merged(dims))
        chip = turned.rows(0, height, first * rows, ((1, blocks * rows),))
        e.emit(nc.DmaOp, dst=out, src=chip)
