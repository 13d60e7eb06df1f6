"""How the elements of a home lie on the partitions of SBUF, found from what touches it.

A transfer between DRAM and SBUF gives each partition the elements of one row: the row stride is
that of the outermost elements. Row `r` of a home goes to partition `r % period % 128`; its rows
follow each other in the partition, `blocks` of them for each period. A period shorter than the home
serves batches: 8 images of 64 channels are 8 rows in each of 64 partitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from ranvier.dialects.nc.access import FREE_DIMS, MAX_ELEMENTS, MAX_STRIDE, Access
from ranvier.dialects.nc.types import PARTITIONS, Space

Dims = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Transfer:
    """A pattern in DRAM, the partitions that it meets on chip, and the turns of its loops."""

    access: Access
    partitions: int
    trips: tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """`rows` rows of `width` elements, dealt out anew after each `period` of them."""

    width: int
    period: int
    rows: int

    @property
    def partitions(self) -> int:
        return min(PARTITIONS, self.period)

    @property
    def blocks(self) -> int:
        """Rows of one period that a partition holds."""
        return -(-self.period // PARTITIONS)

    @property
    def length(self) -> int:
        """Elements of one partition."""
        return self.rows // self.period * self.blocks * self.width

    def place(self, transfer: Transfer) -> Access | None:
        """The pattern on chip; None if its elements are not where its partitions are."""
        access = transfer.access
        if (parts := split(access.dims, transfer.partitions)) is None:
            return None
        stride, inner = parts
        if stride != self.width and transfer.partitions > 1:
            return None
        row, column = divmod(access.start, self.width)
        period, row = divmod(row, self.period)
        block, partition = divmod(row, PARTITIONS)
        moves = [*zip(access.steps, transfer.trips, strict=True), *inner]
        if not self._stays(row, column, transfer.partitions, moves):
            return None
        if partition + transfer.partitions > self.partitions:
            return None
        steps = [self._step(step) for step in access.steps]
        dims = [(self._step(step), count) for step, count in inner]
        if any(step is None for step in steps) or any(step is None for step, _ in dims):
            return None
        placed = Access(
            partition,
            transfer.partitions,
            (period * self.blocks + block) * self.width + column,
            tuple(step or 0 for step in steps),
            tuple((step or 0, count) for step, count in dims) or ((1, 1),),
        )
        return placed if is_on_chip(placed) else None

    def _stays(
        self, row: int, column: int, partitions: int, moves: Sequence[tuple[int, int]]
    ) -> bool:
        """Whether no move carries from a column into the next row, or from a row into a period."""
        columns, rows = column, row + partitions - 1
        for step, count in moves:
            if step < 0:
                return False
            down, along = divmod(step, self.width)
            columns += along * (count - 1)
            rows += down % self.period * (count - 1)
        return columns < self.width and rows < self.period

    def _step(self, step: int) -> int | None:
        """A distance in the home as one inside a partition; None if it changes the partition."""
        down, along = divmod(step, self.width)
        periods, inside = divmod(down, self.period)
        if inside % PARTITIONS:
            return None
        return (periods * self.blocks + inside // PARTITIONS) * self.width + along


def split(dims: Dims, partitions: int) -> tuple[int, Dims] | None:
    """The stride between partitions, and the strides inside one; None if they do not nest."""
    need = partitions
    outer: list[tuple[int, int]] = []
    inner: list[tuple[int, int]] = []
    for stride, count in dims:
        if need == 1:
            inner.append((stride, count))
        elif count <= need and need % count == 0:
            outer.append((stride, count))
            need //= count
        elif count % need == 0:
            outer.append((stride * (count // need), need))
            inner.append((stride, count // need))
            need = 1
        else:
            return None
    outer = [(stride, count) for stride, count in outer if count > 1]
    for (stride, _), (inside, count) in pairwise(outer):
        if stride != inside * count:
            return None
    return (outer[-1][0] if outer else 0), tuple(dim for dim in inner if dim[1] > 1)


def is_on_chip(access: Access) -> bool:
    """Whether a partition's address generators have the pattern."""
    return (
        len(access.dims) <= FREE_DIMS
        and all(0 <= stride <= MAX_STRIDE for stride, _ in access.dims)
        and prod(access.counts) <= MAX_ELEMENTS[Space.SBUF]
    )


def rows_of(length: int, transfers: Sequence[Transfer]) -> Rows | None:
    """The rows of a home of so many elements on which all transfers agree, if there are such."""
    widths = {
        parts[0]
        for t in transfers
        if t.partitions > 1 and (parts := split(t.access.dims, t.partitions)) is not None
    }
    width = widths.pop() if widths else length
    if widths or width < 1 or length % width:
        return None
    for rows in _candidates(width, length // width, transfers):
        if all(rows.place(transfer) is not None for transfer in transfers):
            return rows
    return None


def _candidates(width: int, rows: int, transfers: Sequence[Transfer]) -> Iterator[Rows]:
    """One period, or the distances that transfers move by."""
    yield Rows(width, rows, rows)
    steps = {step // width for t in transfers for step in t.access.steps}
    steps |= {stride // width for t in transfers for stride, _ in t.access.dims}
    for period in sorted((s for s in steps if 1 < s < rows and rows % s == 0), reverse=True):
        yield Rows(width, period, rows)
