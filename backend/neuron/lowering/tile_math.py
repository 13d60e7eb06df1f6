"""Arithmetic on tiles: one method, one instruction; results are new tiles unless one is given.

A tile that is one element wide stands for all of its row, so that what depends on the partition
alone, or on nothing, is computed once for each. Comparisons give truth values in bytes.
"""

from __future__ import annotations

from typing import TypeAlias

from xdsl.dialects.builtin import f32, i32
from xdsl.ir import Attribute

from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip, Ref
from ranvier.backend.neuron.lowering.pointwise import Immediate, Operand, PerPartition
from ranvier.dialects import nc
from ranvier.dialects.nc.types import ui8

Into: TypeAlias = Attribute | OnChip
"""An element type of a new tile, or the tile that takes the result."""
Step: TypeAlias = tuple[str, float]


class TileMath:
    """Instructions on tiles of as many partitions as `like`."""

    def __init__(self, e: Emitter, like: OnChip) -> None:
        self.e = e
        self.partitions = like.partitions

    def tile(self, operand: Operand, element: Attribute = f32) -> OnChip:
        """An operand as a tile; a number becomes a column of `element`."""
        match operand:
            case Immediate(value):
                return self.number(value, element)
            case PerPartition(tile):
                return tile
            case _:
                return operand

    def number(self, value: float, element: Attribute = f32) -> OnChip:
        """A column of a number that f32 holds."""
        column = self.e.sbuf(self.partitions, 1, element)
        self.e.emit(nc.MemsetOp, fields={"value": float(value)}, dst=column.ref())
        return column

    def pattern(self, bits: int) -> OnChip:
        """A column of any i32."""
        return self.scalar(self.number(0, i32), ("bitwise_or", bits), into=i32)

    def scalar(self, src: OnChip, *steps: Step, into: Into = f32) -> OnChip:
        """`(src op a) op b` with numbers."""
        fields: dict[str, object] = {}
        for index, (op, number) in enumerate(steps):
            fields |= {f"op{index}": op, f"scalar{index}": float(number)}
        out = self._target(into, src)
        self.e.emit(nc.TensorScalarOp, fields=fields, dst=out.ref(), src=self._spread(src, out))
        return out

    def pair(
        self, op: str, lhs: OnChip, rhs: OnChip, *, into: Into = f32, engine: str | None = None
    ) -> OnChip:
        """`lhs op rhs`"""
        out = self._target(into, lhs, rhs)
        self.e.emit(
            nc.TensorTensorOp,
            fields={"op": op, "engine": engine},
            dst=out.ref(),
            lhs=self._spread(lhs, out),
            rhs=self._spread(rhs, out),
        )
        return out

    def fused(self, src: OnChip, step: Step, op: str, other: OnChip, *, into: Into = f32) -> OnChip:
        """`(src step) op other`"""
        out = self._target(into, src, other)
        self.e.emit(
            nc.ScalarTensorTensorOp,
            fields={"op0": step[0], "scalar0": float(step[1]), "op1": op},
            dst=out.ref(),
            src=self._spread(src, out),
            other=self._spread(other, out),
        )
        return out

    def function(self, func: str, src: OnChip, *, scale: float = 1.0, into: Into = f32) -> OnChip:
        """`func(src * scale)` of the activation table."""
        out = self._target(into, src)
        fields: dict[str, object] = {"func": func, "scale": scale}
        self.e.emit(nc.ActivationOp, fields=fields, dst=out.ref(), src=self._spread(src, out))
        return out

    def reciprocal(self, src: OnChip, *, into: Into = f32) -> OnChip:
        """`1 / src`"""
        out = self._target(into, src)
        self.e.emit(nc.ReciprocalOp, dst=out.ref(), src=self._spread(src, out))
        return out

    def copy(self, src: OnChip, into: Into) -> OnChip:
        """`src`, cast: rounded to nearest even, integers saturated."""
        out = self._target(into, src)
        self.e.emit(nc.CopyOp, dst=out.ref(), src=self._spread(src, out))
        return out

    def compare(self, src: OnChip, op: str, number: float) -> OnChip:
        """Truth values of `src op number`."""
        return self.scalar(src, (op, number), into=ui8)

    def replace(self, tile: OnChip, by: OnChip, where: OnChip) -> OnChip:
        """Write `by` into `tile` where the truth value holds; the tile is as wide as any."""
        self.e.emit(
            nc.CopyPredicatedOp,
            dst=tile.ref(),
            src=self._spread(by, tile),
            predicate=self._spread(where, tile),
        )
        return tile

    def select(self, where: OnChip, yes: OnChip, no: OnChip, into: Into) -> OnChip:
        """`yes` where the truth value holds, else `no`."""
        out = self._target(into, where, yes, no)
        return self.replace(self.copy(no, out), yes, where)

    def _target(self, into: Into, *sources: OnChip) -> OnChip:
        if isinstance(into, OnChip):
            return into
        width = max(source.width for source in sources)
        return self.e.sbuf(self.partitions, width, into)

    def _spread(self, tile: OnChip, like: OnChip) -> Ref:
        return tile.ref() if tile.width == like.width else tile.ref(0, ((0, like.width),))
