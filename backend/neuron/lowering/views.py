"""Tensors in device memory as strided views, and the tiles that are cut from them.

Every tensor of a segment has a home in DRAM. Reshape, transpose, slice and broadcast only change
how a home is seen: the DMA that loads a tile follows the strides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from xdsl.ir import Attribute, SSAValue

from ranvier.backend.neuron.lowering.emitter import ZERO, Affine, Emitter, OnChip, Ref, merged
from ranvier.dialects import nc
from ranvier.dialects.nc.access import DRAM_DIMS, FREE_DIMS
from ranvier.dialects.nc.types import PARTITIONS, buffer_type_of

if TYPE_CHECKING:
    from ranvier.backend.neuron.lowering.context import Context

Shape = tuple[int, ...]


def row_major(shape: Sequence[int]) -> Shape:
    """Strides of a contiguous tensor, in elements."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


@dataclass(frozen=True)
class View:
    """A tensor in DRAM: element `i` is at `offset + sum(i[d] * strides[d])` of the buffer."""

    buffer: SSAValue
    shape: Shape
    strides: Shape
    offset: int = 0

    @staticmethod
    def whole(buffer: SSAValue, shape: Sequence[int]) -> View:
        """A buffer that holds exactly one row-major tensor."""
        return View(buffer, tuple(shape), row_major(shape))

    @staticmethod
    def ordered(buffer: SSAValue, shape: Sequence[int], order: Sequence[int] | None) -> View:
        """A buffer that holds one tensor, its dimensions from the outermost on in `order`."""
        order = range(len(shape)) if order is None else order
        stored = View.whole(buffer, [shape[d] for d in order])
        return stored.transposed([[*order].index(d) for d in range(len(shape))])

    @property
    def order(self) -> tuple[int, ...]:
        """The dimensions from the outermost on in device memory."""
        return tuple(sorted(range(len(self.shape)), key=lambda d: -abs(self.strides[d])))

    @property
    def repeats(self) -> bool:
        """Whether some elements stand for several."""
        return any(n > 1 and not stride for n, stride in zip(self.shape, self.strides, strict=True))

    @property
    def element(self) -> Attribute:
        return buffer_type_of(self.buffer).element

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether the elements are the whole buffer, in order."""
        strides = row_major(self.shape)
        pairs = zip(self.shape, self.strides, strides, strict=True)
        in_order = all(size == 1 or mine == wanted for size, mine, wanted in pairs)
        return in_order and self.offset == 0 and self.size == buffer_type_of(self.buffer).length

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """The same elements under another shape, or None where strides cannot say it."""
        strides = _reshaped_strides(self.shape, self.strides, tuple(shape))
        return None if strides is None else replace(self, shape=tuple(shape), strides=strides)

    def transposed(self, permutation: Sequence[int]) -> View:
        shape = tuple(self.shape[d] for d in permutation)
        return replace(self, shape=shape, strides=tuple(self.strides[d] for d in permutation))

    def sliced(self, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> View:
        offset = self.offset + sum(s * t for s, t in zip(starts, self.strides, strict=True))
        strides = tuple(step * stride for step, stride in zip(steps, self.strides, strict=True))
        return View(self.buffer, tuple(sizes), strides, offset)

    def broadcast(self, shape: Sequence[int]) -> View:
        """Stretched to `shape` by strides of 0."""
        missing = len(shape) - len(self.shape)
        pairs = zip(self.shape, self.strides, shape[missing:], strict=True)
        strides = tuple(0 if own == 1 != wanted else stride for own, stride, wanted in pairs)
        return replace(self, shape=tuple(shape), strides=(0,) * missing + strides)

    def at(self, starts: Sequence[Affine], dims: Sequence[tuple[int, int]]) -> Ref:
        """`dims` are (dimension, count) from the outermost on; the others hold one element."""
        start = Affine(self.offset)
        for position, stride in zip(starts, self.strides, strict=True):
            start = start + position * stride
        return Ref(self.buffer, start, merged([(self.strides[d], n) for d, n in dims]))


def _reshaped_strides(old: Shape, strides: Shape, new: Shape) -> Shape | None:
    """Strides of `new` over the elements of `old`, by matching runs of equal size."""
    if prod(new) == 0:
        return row_major(new)
    pairs = [(size, stride) for size, stride in zip(old, strides, strict=True) if size != 1]
    result: list[int] = []
    pending = list(reversed(pairs))
    run, step = 1, 1
    for size in reversed(new):
        if size == 1:
            result.append(0)
            continue
        while run % size:  # join the next old dimension, which must continue this one
            if not pending or (run > 1 and pending[0][1] != step * run):
                return None
            joined, stride = pending.pop(0)
            step = stride if run == 1 else step
            run *= joined
        result.append(step)
        run //= size
        step *= size
    return tuple(reversed(result))


def merge_jointly(shape: Shape, views: Sequence[Shape]) -> tuple[Shape, list[Shape]]:
    """Join neighbouring dimensions wherever every view's strides allow; drop those of size 1."""
    sizes: list[int] = []
    strides: list[list[int]] = [[] for _ in views]
    for d, size in enumerate(shape):
        if size == 1:
            continue
        joins = bool(sizes) and all(
            own[-1] == view[d] * size for own, view in zip(strides, views, strict=True)
        )
        if joins:
            sizes[-1] *= size
        else:
            sizes.append(size)
        for own, view in zip(strides, views, strict=True):
            if joins:
                own[-1] = view[d]
            else:
                own.append(view[d])
    return tuple(sizes), [tuple(own) for own in strides]


@dataclass(frozen=True)
class Region:
    """A tile of an iteration space: `partition` is the dimension on the partitions (None: one
    partition), `free` the dimensions inside a partition from the outermost on."""

    starts: tuple[Affine, ...]
    sizes: Shape
    partition: int | None
    free: tuple[int, ...]

    @property
    def partitions(self) -> int:
        return 1 if self.partition is None else self.sizes[self.partition]

    @property
    def width(self) -> int:
        """Elements per partition."""
        return prod(self.sizes[d] for d in self.free)

    def of(self, view: View) -> Ref:
        """The tile's elements in a view of the space's shape, in the order they have on chip."""
        dims = [(d, self.sizes[d]) for d in self.free]
        if self.partition is not None:
            dims.insert(0, (self.partition, self.partitions))
        return view.at(self.starts, dims)


def load(e: Emitter, region: Region, view: View, element: Attribute | None = None) -> OnChip:
    """Bring a tile of a view into SBUF, cast to `element` on the way where it is given."""
    tile = e.sbuf(region.partitions, region.width, element or view.element)
    e.emit(nc.DmaOp, dst=tile.ref(), src=region.of(view))
    return tile


def store(e: Emitter, region: Region, view: View, tile: OnChip) -> None:
    """Write a tile to its place in a view."""
    e.emit(nc.DmaOp, dst=region.of(view), src=tile.ref())


def regions(
    e: Emitter,
    shape: Shape,
    partition: int | None,
    free: Sequence[int],
    max_width: int,
) -> Iterator[Region]:
    """Cut a space into tiles: `free` dimensions inside a partition up to `max_width` elements.

    Dimensions that are neither are looped over one by one, outermost first.
    """
    sizes = [1] * len(shape)
    if partition is not None:
        sizes[partition] = min(PARTITIONS, shape[partition])
    width = 1
    for d in reversed(free):
        sizes[d] = max(1, min(shape[d], max_width // width))
        width *= sizes[d]
    wide = [d for d in free if sizes[d] > 1]
    for d in wide[: max(0, len(wide) - FREE_DIMS)]:
        sizes[d] = 1
    starts: list[Affine] = [ZERO] * len(shape)
    actual = list(sizes)

    def cut(d: int) -> Iterator[Region]:
        if d == len(shape):
            yield Region(tuple(starts), tuple(actual), partition, tuple(free))
            return
        for tile in e.tiles(shape[d], sizes[d]):
            starts[d], actual[d] = tile.start, tile.size
            yield from cut(d + 1)

    yield from cut(0)


def pointwise_space(shape: Shape, views: Sequence[Shape]) -> tuple[Shape, list[Shape], int]:
    """Merge a space and choose its partition dimension; a flat space is folded into rows.

    Returns the shape, the strides of each view in it, and the partition dimension.
    """
    sizes, strides = merge_jointly(shape, views)
    if not sizes:
        return (1,), [(0,) for _ in views], 0
    if len(sizes) == 1 and sizes[0] > 1:
        rows = rows_of(sizes[0])
        width = sizes[0] // rows
        return (rows, width), [(own[0] * width, own[0]) for own in strides], 0
    outer = range(len(sizes) - 1)
    partition = max(outer, key=lambda d: (min(sizes[d], PARTITIONS), d), default=0)
    if (rows := rows_of(sizes[-1])) > 2 * sizes[partition]:
        # Few rows: fold the innermost dimension as well, so that more partitions work.
        width = sizes[-1] // rows
        folded = [(*own[:-1], own[-1] * width, own[-1]) for own in strides]
        return (*sizes[:-1], rows, width), folded, len(sizes) - 1
    return sizes, strides, partition


def rows_of(size: int) -> int:
    """The largest divisor of `size` that fits the partitions."""
    return max(rows for rows in range(1, PARTITIONS + 1) if size % rows == 0)


def copy_view(e: Emitter, dst: View, src: View) -> None:
    """Move every element of `src` to its place in `dst`, inside DRAM."""
    if src.size == 0:
        return
    sizes, (into, out) = merge_jointly(src.shape, (dst.strides, src.strides))
    dst_view = View(dst.buffer, sizes, into, dst.offset)
    src_view = View(src.buffer, sizes, out, src.offset)
    outer = max(0, len(sizes) - DRAM_DIMS)

    def cut(d: int, starts: tuple[Affine, ...]) -> None:
        if d < outer:
            for tile in e.tiles(sizes[d], 1):
                cut(d + 1, (*starts, tile.start))
            return
        inner = [(axis, sizes[axis]) for axis in range(outer, len(sizes))]
        at = (*starts, *(ZERO for _ in inner))
        e.emit(nc.DmaOp, dst=dst_view.at(at, inner), src=src_view.at(at, inner))

    cut(0, ())


def padded_copy(
    context: Context, view: View, low: Sequence[int], high: Sequence[int], fill: float
) -> View:
    """A copy of a view in DRAM with a margin of `fill` around it."""
    shape = tuple(s + lo + hi for s, lo, hi in zip(view.shape, low, high, strict=True))
    buffer = context.e.dram(prod(shape), view.element)
    whole = View.whole(buffer, shape)
    write_padded(context, whole, view, low, high, fill)
    return whole


def write_padded(
    context: Context,
    whole: View,
    view: View,
    low: Sequence[int],
    high: Sequence[int],
    fill: float,
) -> None:
    """Fill `whole` and write `view` inside its margins; negative margins crop the view."""
    if any(amount > 0 for amount in (*low, *high)):
        _fill(context, whole, fill)
    ones = (1,) * len(view.shape)
    cropped = [s + min(0, lo) + min(0, hi) for s, lo, hi in zip(view.shape, low, high, strict=True)]
    if min(cropped, default=1) <= 0:
        return
    inner = whole.sliced([max(0, lo) for lo in low], cropped, ones)
    copy_view(context.e, inner, view.sliced([max(0, -lo) for lo in low], cropped, ones))


FILL_WIDTH = 2048
"""Elements per partition of a tile that fills a tensor."""


def _fill(context: Context, whole: View, fill: float) -> None:
    """One number in every element: a tile of it is stored as often as it takes."""
    e = context.e
    exact = float(np.float32(fill)) == fill  # what memset, which computes in f32, can say
    if not (exact and whole.contiguous):
        copy_view(e, whole, context.splat(fill, whole.element).broadcast(whole.shape))
        return
    width = min(FILL_WIDTH, -(-whole.size // PARTITIONS))
    rows, rest = divmod(whole.size, width)
    tile = e.sbuf(min(PARTITIONS, max(rows, 1)), width, whole.element)
    e.emit(nc.MemsetOp, fields={"value": fill}, dst=tile.ref())
    for row in e.tiles(rows, PARTITIONS):
        place = Ref(whole.buffer, row.start * width, merged([(width, row.size), (1, width)]))
        e.emit(nc.DmaOp, dst=place, src=tile.rows(0, row.size))
    if rest:
        place = Ref(whole.buffer, Affine(rows * width), ((1, rest),))
        e.emit(nc.DmaOp, dst=place, src=tile.rows(0, 1, 0, ((1, rest),)))


def tile_of(size: int, limit: int) -> int:
    """The largest even cut of `size` into tiles of at most `limit`: remainders are costly."""
    pieces = -(-size // limit)
    return -(-size // pieces)
