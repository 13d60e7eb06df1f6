"""How the row of each partition becomes one element, in f32 or in exact integers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import inf

from xdsl.dialects.builtin import f32, i32
from xdsl.ir import Attribute

from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.integer_math import LIMB, SIGN, IntegerMath
from ranvier.backend.neuron.lowering.tile_math import TileMath
from ranvier.dialects import nc

_NEUTRAL = {"add": 0.0, "max": -inf, "min": inf, "mult": 1.0}


class RowReducer(ABC):
    """One operation on the elements of a row."""

    accumulator: Attribute
    """Element type of partial results."""
    max_width: int
    """Elements per partition that are reduced at once."""

    @abstractmethod
    def start(self, e: Emitter, total: OnChip) -> None:
        """Fill a column with the neutral element."""

    @abstractmethod
    def reduce(self, e: Emitter, tile: OnChip, into: OnChip) -> None:
        """Reduce the rows of a tile to a column."""

    @abstractmethod
    def join(self, e: Emitter, total: OnChip, part: OnChip) -> None:
        """Let a column take in another one."""

    @abstractmethod
    def finish(self, e: Emitter, total: OnChip, out: OnChip) -> None:
        """The result in its element type."""

    def partial(self) -> RowReducer:
        """The same without what `finish` does to the value."""
        return self

    def again(self) -> RowReducer:
        """What makes the result of partial results."""
        return self


@dataclass(frozen=True)
class FloatReducer(RowReducer):
    """An operation of the arithmetic units in f32, times a number at the end."""

    alu: str
    scale: float = 1.0
    accumulator = f32
    max_width = 4096

    def start(self, e: Emitter, total: OnChip) -> None:
        e.emit(nc.MemsetOp, fields={"value": _NEUTRAL[self.alu]}, dst=total.ref())

    def reduce(self, e: Emitter, tile: OnChip, into: OnChip) -> None:
        fields: dict[str, object] = {"op": self.alu, "axes": 1}
        e.emit(nc.ReduceOp, fields=fields, dst=into.ref(), src=tile.ref())

    def join(self, e: Emitter, total: OnChip, part: OnChip) -> None:
        TileMath(e, total).pair(self.alu, total, part, into=total)

    def finish(self, e: Emitter, total: OnChip, out: OnChip) -> None:
        math = TileMath(e, total)
        if self.scale == 1.0:
            math.copy(total, out)
        else:
            math.scalar(total, ("mult", self.scale), into=out)

    def partial(self) -> RowReducer:
        return replace(self, scale=1.0)


class IntegerReducer(RowReducer):
    """Exact, modulo 2**32; narrower types keep the low bits of the result."""

    accumulator = i32
    max_width = 1024
    neutral: int

    def start(self, e: Emitter, total: OnChip) -> None:
        math = IntegerMath(e, total)
        math.copy(math.pattern(self.neutral), total)

    def finish(self, e: Emitter, total: OnChip, out: OnChip) -> None:
        IntegerMath(e, total).wrapped(total, out)


@dataclass(frozen=True)
class IntegerSum(IntegerReducer):
    """Limbs are added up in f32, which holds their sums, and the sums of limbs in integers."""

    divisor: int = 1
    """What the sum is divided by at the end, toward zero."""
    squares: bool = False
    """Whether the elements are squared first."""
    root: bool = False
    """Whether the result is the root of the sum, without its fraction."""
    neutral = 0

    def reduce(self, e: Emitter, tile: OnChip, into: OnChip) -> None:
        math = IntegerMath(e, tile)
        wide = math.widened(tile)
        if self.squares:
            wide = math.multiply(wide, wide)
        total: OnChip | None = None
        for first in (0, LIMB, 2 * LIMB):
            column = column_of(e, math.bits(wide, first, min(LIMB, 32 - first)), "add")
            if total is None:
                total = column
                continue
            moved = math.scalar(column, ("logical_shift_left", first), into=i32)
            total = math.add(total, moved, into if first > LIMB else i32)

    def join(self, e: Emitter, total: OnChip, part: OnChip) -> None:
        IntegerMath(e, total).add(total, part, total)

    def finish(self, e: Emitter, total: OnChip, out: OnChip) -> None:
        math = IntegerMath(e, total)
        if self.divisor > 1:
            total = math.quotient(total, math.pattern(self.divisor))
        if self.root:
            total = math.root(total)
        math.wrapped(total, out)

    def partial(self) -> RowReducer:
        return replace(self, divisor=1, root=False)

    def again(self) -> RowReducer:
        return replace(self, squares=False)


class IntegerProduct(IntegerReducer):
    """Halves of the row times each other, until one element is left."""

    neutral = 1

    def reduce(self, e: Emitter, tile: OnChip, into: OnChip) -> None:
        math = IntegerMath(e, tile)
        wide = math.copy(tile, i32)
        width = tile.width
        while width > 1:
            half = width // 2
            first = wide.columns(0, half)
            math.multiply(first, wide.columns(half, half), first)
            if width % 2:
                corner = wide.columns(0, 1)
                math.multiply(corner, wide.columns(width - 1, 1), corner)
            width = half
        math.copy(wide.columns(0, 1), into)

    def join(self, e: Emitter, total: OnChip, part: OnChip) -> None:
        IntegerMath(e, total).multiply(total, part, total)


class IntegerMax(IntegerReducer):
    """The largest upper half, and the largest lower half of those that have it."""

    neutral = SIGN
    flipped = 0
    """All bits where the order is the other way round."""

    def reduce(self, e: Emitter, tile: OnChip, into: OnChip) -> None:
        math = IntegerMath(e, tile)
        high = math.scalar(
            tile, ("bitwise_xor", SIGN ^ self.flipped), ("logical_shift_right", 16), into=i32
        )
        low = math.scalar(tile, ("bitwise_xor", self.flipped), ("bitwise_and", 0xFFFF), into=i32)
        top = column_of(e, high, "max")
        among = math.pair("is_equal", high, top, into=i32)
        bottom = column_of(e, math.pair("mult", among, low, into=i32), "max")
        moved = math.scalar(
            top, ("logical_shift_left", 16), ("bitwise_xor", SIGN ^ self.flipped), into=i32
        )
        math.pair("bitwise_xor", moved, bottom, into=into)

    def join(self, e: Emitter, total: OnChip, part: OnChip) -> None:
        math = IntegerMath(e, total)
        better = math.compared("is_lt" if self.flipped else "is_gt", part, total)
        math.replace(total, part, better)


class IntegerMin(IntegerMax):
    """The maximum of inverted numbers, inverted."""

    neutral = ~SIGN
    flipped = -1


def column_of(e: Emitter, tile: OnChip, alu: str) -> OnChip:
    """A column of i32 that f32 holds: the rows of a tile, reduced by one operation."""
    column = e.sbuf(tile.partitions, 1, i32)
    fields: dict[str, object] = {"op": alu, "axes": 1}
    e.emit(nc.ReduceOp, fields=fields, dst=column.ref(), src=tile.ref())
    return column


INTEGER_REDUCERS: dict[str, RowReducer] = {
    "add": IntegerSum(),
    "mult": IntegerProduct(),
    "max": IntegerMax(),
    "min": IntegerMin(),
}
