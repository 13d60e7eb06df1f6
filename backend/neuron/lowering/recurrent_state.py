"""How hidden units lie on the partitions, and the weights that multiply them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.emitter import ZERO, Affine, Emitter, OnChip, merged
from ranvier.backend.neuron.lowering.views import View, tile_of
from ranvier.dialects import nc
from ranvier.dialects.nc.types import PARTITIONS, element_dtype

RESERVED_BYTES = 64 << 10
"""Of each partition, for gates and states. Weights that leave less are loaded step by step."""


@dataclass(frozen=True)
class Piece:
    """Chunks of hidden units with equally many of them."""

    first: int
    count: int
    rows: int


@dataclass(frozen=True)
class Hidden:
    """Hidden units in chunks of `rows`, one for each partition; the last chunk may be smaller.

    Where it is, the engines compute on its unused partitions too, and nothing reads the results.
    """

    size: int

    @property
    def chunks(self) -> int:
        return -(-self.size // PARTITIONS)

    @property
    def rows(self) -> int:
        return tile_of(self.size, PARTITIONS)

    @property
    def pieces(self) -> list[Piece]:
        full, rest = divmod(self.size, self.rows)
        return [Piece(0, full, self.rows), *([Piece(full, 1, rest)] if rest else [])]

    def split(self, view: View, piece: Piece) -> View:
        """A view whose last dimension is hidden units, with chunks and rows instead."""
        *outer, stride = view.strides
        return View(
            view.buffer,
            (*view.shape[:-1], piece.count, piece.rows),
            (*outer, stride * self.rows, stride),
            view.offset + piece.first * self.rows * stride,
        )

    def move(
        self,
        e: Emitter,
        tile: OnChip,
        view: View,
        starts: Sequence[Affine] = (),
        lead: Sequence[tuple[int, int]] = (),
        inner: Sequence[tuple[int, int]] = (),
        *,
        store: bool = False,
    ) -> None:
        """Load a tile of `lead x chunks x inner` dimensions of a view, or store it there."""
        width, leads = prod(n for _, n in inner), prod(n for _, n in lead)
        for piece in self.pieces:
            split = self.split(view, piece)
            rank = len(view.shape)
            order = [(rank, piece.rows), *lead, (rank - 1, piece.count), *inner]
            dram = split.at((*(starts or (ZERO,) * (rank - 1)), ZERO, ZERO), order)
            on_chip = merged([(self.chunks * width, leads), (1, piece.count * width)])
            chip = tile.rows(0, piece.rows, piece.first * width, on_chip)
            e.emit(nc.DmaOp, dst=dram if store else chip, src=chip if store else dram)


class Weights:
    """`r` transposed, `hidden x gates`: on chip for the whole loop where it fits."""

    def __init__(self, e: Emitter, view: View, hidden: Hidden, machine: Machine) -> None:
        self.e, self.view, self.hidden = e, view, hidden
        self.columns = view.shape[1]
        width = hidden.chunks * self.columns
        nbytes = width * element_dtype(view.element).itemsize
        self.tile: OnChip | None = None
        if nbytes + RESERVED_BYTES <= machine.sbuf_bytes:
            self.tile = e.sbuf(hidden.rows, width, view.element)
            self._load(self.tile, ZERO, self.columns)

    def _load(self, tile: OnChip, start: Affine, columns: int) -> None:
        by_unit = self.view.transposed((1, 0))
        self.hidden.move(self.e, tile, by_unit, (start,), inner=((0, columns),))

    def of(self, start: Affine, columns: int) -> tuple[OnChip, Affine, int]:
        """A tile that holds some columns for all units, where they start, and its columns."""
        if self.tile is not None:
            return self.tile, start, self.columns
        tile = self.e.sbuf(self.hidden.rows, self.hidden.chunks * columns, self.view.element)
        self._load(tile, start, columns)
        return tile, ZERO, columns
