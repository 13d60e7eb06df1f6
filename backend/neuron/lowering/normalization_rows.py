"""Rows with statistics: kept dimensions on the partitions, a row inside each, all of it in f32.

A row that is too long for the chip is read again for each statistic, piece by piece. Few long rows
are cut across the partitions, and what the parts found meets in device memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, prod

from xdsl.dialects.builtin import f32
from xdsl.ir import Attribute, SSAValue

from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import ZERO, Emitter, OnChip, Ref, merged
from ranvier.backend.neuron.lowering.pointwise import Chain, chain_from, rounded_chain, run_chain
from ranvier.backend.neuron.lowering.reduction import RowSpace, row_space
from ranvier.backend.neuron.lowering.views import Region, View, load, regions, row_major, rows_of
from ranvier.dialects import nc
from ranvier.dialects.nc.access import FREE_DIMS
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.types import element_of

TILES = 11
"""Tiles of one row, each of f32, that are on chip together at most."""
FEW_ROWS = 32
LONG_ROW = 2048
"""Fewer rows than these, longer than this, are cut across the partitions."""
NEUTRAL = {"add": 0.0, "max": -inf}


@dataclass(frozen=True)
class Factor:
    """An operand that repeats over rows or inside them, such as a scale: loaded once if it can."""

    view: View
    whole: OnChip | None = None

    def hoisted(self, e: Emitter, region: Region) -> Factor:
        """With its elements on chip, where they are the same for all rows."""
        kept = [d for d in range(len(self.view.shape)) if d not in region.free]
        if any(self.view.strides[d] for d in kept):
            return self
        return replace(self, whole=load(e, self._narrow(region), self.view))

    def _narrow(self, region: Region) -> Region:
        free = tuple(d for d in region.free if self.view.strides[d] and region.sizes[d] > 1)
        return replace(region, free=free)

    def ref(self, e: Emitter, region: Region) -> Ref:
        """As many elements as the region has, repeated by strides of 0."""
        narrow = self._narrow(region)
        tile = self.whole or load(e, narrow, self.view)
        steps = dict(
            zip(narrow.free, row_major([region.sizes[d] for d in narrow.free]), strict=True)
        )
        dims = [(steps.get(d, 0), region.sizes[d]) for d in region.free]
        return tile.rows(0, region.partitions, 0, merged(dims))


class Rows:
    """The rows of one op, the elementwise ops that follow it, and where the result goes."""

    def __init__(
        self,
        context: Context,
        operand: View,
        result: SSAValue,
        axes: Sequence[int],
        factors: Sequence[View] = (),
        seen: Callable[[View], View | None] = lambda view: view,
    ) -> None:
        """`seen` gives views of the result the form in which `axes` count; `operand` and `factors`
        have it already."""
        self.e, self.axes = context.e, axes
        chain = chain_from(result, context, seen)
        self.result, chain = rounded_chain(chain, element_of(result))
        views = [operand, *factors, *chain.views]
        self.length = prod(operand.shape[d] for d in axes)
        self.limit = context.machine.sbuf_bytes // (4 * TILES)
        self.space, self.parts = self._space(views, axes)
        found = self.space.views
        self.source = found[0]
        self.factors = [Factor(view) for view in found[1 : 1 + len(factors)]]
        seen_as = {id(old): new for old, new in zip(views, found, strict=True)}
        self.chain: Chain = chain.with_views(seen_as)
        self.inner = tuple(range(len(self.space.kept), len(self.source.shape)))
        self.whole = prod(self.space.inner) <= self.limit and len(self.space.inner) <= FREE_DIMS
        self._resident: OnChip | None = None

    def _space(self, views: Sequence[View], axes: Sequence[int]) -> tuple[RowSpace, int]:
        """The dimensions, and over how many partitions each row is cut."""
        space = row_space(views, axes)
        rows = prod(space.kept)
        longest = max(range(len(space.inner)), key=space.inner.__getitem__)
        parts = rows_of(space.inner[longest])
        if rows >= FEW_ROWS or self.length < LONG_ROW or parts <= max(space.kept):
            return space, 1
        at = len(space.kept)
        cut = tuple(_with_parts(view, at, at + longest, parts) for view in space.views)
        inner = cut[0].shape[at + 1 :]
        return RowSpace((*space.kept, parts), inner, cut), parts

    @property
    def partition(self) -> int:
        return len(self.space.kept) - 1 if self.parts > 1 else self.space.partition

    def kept(self) -> Iterator[Region]:
        """Tiles of rows. A row that fits is loaded here, factors that all rows share before."""
        shape, e = self.source.shape, self.e
        if self.whole:
            sizes = tuple(1 if d < len(self.space.kept) else n for d, n in enumerate(shape))
            most = min(PARTITIONS, shape[self.partition])
            sizes = tuple(most if d == self.partition else n for d, n in enumerate(sizes))
            first = Region((ZERO,) * len(shape), sizes, self.partition, self.inner)
            self.factors = [factor.hoisted(e, first) for factor in self.factors]
        for region in regions(e, self.space.kept, self.partition, [], 1):
            if self.whole:
                starts = region.starts + (ZERO,) * len(self.space.inner)
                whole = Region(starts, region.sizes + self.space.inner, self.partition, self.inner)
                self._resident = load(e, whole, self.source)
            yield region

    def tiles(self, kept: Region) -> Iterator[tuple[Region, OnChip]]:
        """The pieces of some rows, on chip."""
        for part in regions(self.e, self.space.inner, None, range(len(self.inner)), self.limit):
            region = Region(
                kept.starts + part.starts, kept.sizes + part.sizes, self.partition, self.inner
            )
            yield region, self._resident or load(self.e, region, self.source)

    def column(self, kept: Region) -> OnChip:
        """One f32 for each row."""
        return self.e.sbuf(kept.partitions, 1, f32)

    def gathering(
        self, kept: Region, alu: str, total: OnChip
    ) -> Iterator[tuple[Region, OnChip, OnChip]]:
        """The pieces of some rows, each with a column for what it contributes to `total`."""
        if not self.whole:
            self.e.emit(nc.MemsetOp, fields={"value": NEUTRAL[alu]}, dst=total.ref())
        for region, tile in self.tiles(kept):
            found = total if self.whole else self.column(kept)
            yield region, tile, found
            if not self.whole:
                both = {"lhs": total.ref(), "rhs": found.ref()}
                self.e.emit(nc.TensorTensorOp, fields={"op": alu}, dst=total.ref(), **both)
        if self.parts > 1:
            self._join(total, alu)

    def _join(self, total: OnChip, alu: str) -> None:
        """Of what each part of a row found make that of the row, on each of its partitions."""
        e = self.e
        buffer = e.dram(self.parts, f32)
        e.emit(nc.DmaOp, dst=Ref(buffer, ZERO, ((1, self.parts),)), src=total.ref())
        everywhere = e.sbuf(self.parts, self.parts, f32)
        each = Ref(buffer, ZERO, ((0, self.parts), (1, self.parts)))
        e.emit(nc.DmaOp, dst=everywhere.ref(), src=each)
        fields: dict[str, object] = {"op": alu, "axes": 1}
        e.emit(nc.ReduceOp, fields=fields, dst=total.ref(), src=everywhere.ref())

    def reduced(self, kept: Region, alu: str, *, negate: bool = False) -> OnChip:
        """The sum or the maximum of each row, or its negative."""
        total, at_once = self.column(kept), self.whole and self.parts == 1
        for _, tile, found in self.gathering(kept, alu, total):
            fields: dict[str, object] = {"op": alu, "axes": 1}
            fields["negate"] = True if negate and at_once else None
            self.e.emit(nc.ReduceOp, fields=fields, dst=found.ref(), src=tile.ref())
        if negate and not at_once:
            minus: dict[str, object] = {"op0": "mult", "scalar0": -1.0}
            self.e.emit(nc.TensorScalarOp, fields=minus, dst=total.ref(), src=total.ref())
        return total

    def scratch(self, region: Region, element: Attribute | None = None) -> OnChip:
        """A tile of the region's size, of f32 if not said."""
        return self.e.sbuf(region.partitions, region.width, element or f32)

    def finish(self, region: Region, tile: OnChip) -> None:
        """Run what follows the op on a tile of its result, and store it."""
        run_chain(self.e, region, tile, self.chain)


def _with_parts(view: View, at: int, axis: int, parts: int) -> View:
    """Cut a dimension in parts, which become dimension `at`."""
    shape, strides = list(view.shape), list(view.strides)
    shape[axis] //= parts
    stride = strides[axis] * shape[axis]
    return View(
        view.buffer,
        (*shape[:at], parts, *shape[at:]),
        (*strides[:at], stride, *strides[at:]),
        view.offset,
    )
