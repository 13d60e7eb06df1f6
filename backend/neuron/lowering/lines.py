"""Lines of tensors along one axis: on each partition some lines, beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from xdsl.ir import Attribute

from ranvier.backend.neuron.lowering.emitter import Affine, Emitter, OnChip, Ref
from ranvier.backend.neuron.lowering.views import (
    Region,
    Shape,
    View,
    merge_jointly,
    regions,
    rows_of,
)
from ranvier.dialects.nc.types import PARTITIONS

FEW = 32
"""Partitions of a divisor of the lines that are worth more than all partitions but for a rest."""


@dataclass(frozen=True)
class Lines:
    """Lines of several views, which agree in the number of lines but not in their length."""

    kept: Shape
    """The dimensions beside the axis, merged."""
    partition: int
    beside: int | None
    """The kept dimension inside a partition."""
    views: tuple[View, ...]
    """Over `kept`, and the axis last."""

    def blocks(self, e: Emitter, limit: int) -> Iterator[Region]:
        """Tiles of lines, at most `limit` on each partition."""
        free = () if self.beside is None else (self.beside,)
        yield from regions(e, self.kept, self.partition, free, limit)

    @staticmethod
    def part(block: Region, start: Affine, count: int) -> Region:
        """So many elements of each line of a block, in the space of the views."""
        free = (*block.free, len(block.sizes))
        return Region((*block.starts, start), (*block.sizes, count), block.partition, free)


def lines_along(axis: int, *views: View) -> Lines:
    """The lines of views of equal shape but for the axis."""
    moved = [view.transposed([*others(view, axis), axis]) for view in views]
    kept, strides = merge_jointly(moved[0].shape[:-1], [view.strides[:-1] for view in moved])
    if not kept:
        kept, strides = (1,), [(0,) for _ in moved]
    if len(kept) == 1 and (rows := rows_of(kept[0])) >= FEW:
        width = kept[0] // rows
        kept, strides = (rows, width), [(own * width, own) for (own,) in strides]
    partition = max(range(len(kept)), key=lambda d: (min(kept[d], PARTITIONS), -d))
    beside = max(
        (d for d in range(len(kept)) if d != partition), key=lambda d: kept[d], default=None
    )
    seen = [
        replace(view, shape=(*kept, view.shape[-1]), strides=(*own, view.strides[-1]))
        for view, own in zip(moved, strides, strict=True)
    ]
    return Lines(kept, partition, beside, tuple(seen))


def others(view: View, axis: int) -> list[int]:
    return [d for d in range(len(view.shape)) if d != axis]


@dataclass(frozen=True)
class Block:
    """A buffer on chip for a tile of lines, `width` elements for each."""

    tile: OnChip
    lines: int
    width: int

    @staticmethod
    def of(e: Emitter, region: Region, width: int, element: Attribute) -> Block:
        """A new buffer for the lines of a region of `Lines.blocks`."""
        tile = e.sbuf(region.partitions, region.width * width, element)
        return Block(tile, region.width, width)

    def columns(self, start: Affine | int, count: int) -> Ref:
        """So many elements of each line."""
        return self.tile.ref(start, ((self.width, self.lines), (1, count)))

    def column(self, start: Affine | int) -> Ref:
        """One element of each line."""
        return self.tile.ref(start, ((self.width, self.lines),))

    def spread(self, start: Affine | int, count: int) -> Ref:
        """One element of each line, repeated."""
        return self.tile.ref(start, ((self.width, self.lines), (0, count)))
