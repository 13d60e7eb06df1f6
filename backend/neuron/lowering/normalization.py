"""Ops over rows with statistics, in f32."""

from __future__ import annotations

from abc import abstractmethod
from math import prod

from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip, Ref
from ranvier.backend.neuron.lowering.normalization_rows import Rows
from ranvier.backend.neuron.lowering.registry import Lowering, register
from ranvier.backend.neuron.lowering.views import Region, View
from ranvier.dialects import nc, nn
from ranvier.dialects.nn.types import shape_of

Step = tuple[str, OnChip | float]
"""An operation with one number, or with one for each row."""


def per_row(e: Emitter, out: OnChip, src: OnChip, *steps: Step) -> None:
    """`out = (src op0 a) op1 b`"""
    fields: dict[str, object] = {}
    operands: dict[str, Ref] = {}
    for index, (alu, number) in enumerate(steps):
        fields[f"op{index}"] = alu
        if isinstance(number, OnChip):
            operands[f"operand{index}"] = number.ref()
        else:
            fields[f"scalar{index}"] = number
    e.emit(nc.TensorScalarOp, fields=fields, dst=out.ref(), src=src.ref(), **operands)


def activate(e: Emitter, func: str, out: OnChip, src: OnChip, **columns: OnChip) -> None:
    """`out = func(src + bias)` and its `sum`, both one for each row."""
    fields: dict[str, object] = {"func": func, "scale": 1.0}
    operands = {role: column.ref() for role, column in columns.items()}
    e.emit(nc.ActivationOp, fields=fields, dst=out.ref(), src=src.ref(), **operands)


class LowerAlongAxis(Lowering[nn.SoftmaxOp | nn.LogSoftmaxOp]):
    """Exponentials of rows minus their maximum, and the sum of these."""

    def lower(self, op: nn.SoftmaxOp | nn.LogSoftmaxOp, context: Context) -> None:
        rows = Rows(context, context.view(op.operand), op.result, (int(op.get("axis")),))
        e = rows.e
        for kept in rows.kept():
            peak, total = rows.reduced(kept, "max", negate=True), rows.column(kept)
            powers: OnChip | None = None
            for region, tile, found in rows.gathering(kept, "add", total):
                powers = rows.scratch(region)
                activate(e, "exp", powers, tile, bias=peak, sum=found)
            self.finish(rows, kept, peak, total, powers if rows.whole else None)

    @abstractmethod
    def finish(
        self, rows: Rows, kept: Region, peak: OnChip, total: OnChip, powers: OnChip | None
    ) -> None:
        """The result of `-max`, the sum of exponentials, and these where they are on chip."""


@register
class LowerSoftmax(LowerAlongAxis):
    """`exp(x - max) * (1 / sum)`"""

    ops = (nn.SoftmaxOp,)

    def finish(
        self, rows: Rows, kept: Region, peak: OnChip, total: OnChip, powers: OnChip | None
    ) -> None:
        e, inverse = rows.e, rows.column(kept)
        e.emit(nc.ReciprocalOp, dst=inverse.ref(), src=total.ref())
        for region, tile in rows.tiles(kept):
            source = powers
            if source is None:
                source = rows.scratch(region)
                activate(e, "exp", source, tile, bias=peak)
            out = rows.scratch(region, rows.result)
            per_row(e, out, source, ("mult", inverse))
            rows.finish(region, out)


@register
class LowerLogSoftmax(LowerAlongAxis):
    """`x - max - log(sum)`"""

    ops = (nn.LogSoftmaxOp,)

    def finish(
        self, rows: Rows, kept: Region, peak: OnChip, total: OnChip, powers: OnChip | None
    ) -> None:
        logarithm = rows.column(kept)
        activate(rows.e, "log", logarithm, total)
        for region, tile in rows.tiles(kept):
            out = rows.scratch(region, rows.result)
            per_row(rows.e, out, tile, ("add", peak), ("subtract", logarithm))
            rows.finish(region, out)


def normalize(rows: Rows, epsilon: float, *, centred: bool) -> None:
    """`(x - mean) * rsqrt(mean((x - mean) ** 2) + epsilon)`, times and plus the rows' factors."""
    e = rows.e
    for kept in rows.kept():
        shift: OnChip | None = None
        if centred:
            shift = rows.reduced(kept, "add", negate=True)
            per_row(e, shift, shift, ("mult", 1.0 / rows.length))
        deviation = rows.column(kept)
        bias = {} if shift is None else {"bias": shift}
        for region, tile, found in rows.gathering(kept, "add", deviation):
            activate(e, "square", rows.scratch(region), tile, sum=found, **bias)
        mean: tuple[Step, Step] = (("mult", 1.0 / rows.length), ("add", epsilon))
        per_row(e, deviation, deviation, *mean)
        activate(e, "rsqrt", deviation, deviation)
        steps: list[Step] = [] if shift is None else [("add", shift)]
        for region, tile in rows.tiles(kept):
            out = rows.scratch(region, None if rows.factors else rows.result)
            per_row(e, out, tile, *steps, ("mult", deviation))
            rows.finish(region, scaled(rows, region, out))


def scaled(rows: Rows, region: Region, tile: OnChip) -> OnChip:
    """Times the first factor, plus the second."""
    for factor, op in zip(rows.factors, ("mult", "add"), strict=False):
        last = factor is rows.factors[-1]
        out = rows.scratch(region, rows.result if last else None)
        other = factor.ref(rows.e, region)
        rows.e.emit(nc.TensorTensorOp, fields={"op": op}, dst=out.ref(), lhs=tile.ref(), rhs=other)
        tile = out
    return tile


@register
class LowerRowNorm(Lowering[nn.LayerNormOp | nn.RmsNormOp]):
    """Rows over the last dimensions, factors over the same."""

    ops = (nn.LayerNormOp, nn.RmsNormOp)

    def lower(self, op: nn.LayerNormOp | nn.RmsNormOp, context: Context) -> None:
        operand = context.view(op.operand)
        factors = [context.view(factor).broadcast(operand.shape) for factor in op.operands[1:]]
        rows = Rows(context, operand, op.result, op.axes(), factors)
        normalize(rows, op.get("epsilon"), centred=isinstance(op, nn.LayerNormOp))


@register
class LowerGroupNorm(Lowering[nn.GroupNormOp]):
    """A row for each image and group: its channels, then their pixels."""

    ops = (nn.GroupNormOp,)

    def lower(self, op: nn.GroupNormOp, context: Context) -> None:
        shape, groups = shape_of(op.operand), int(op.get("groups"))
        split = (shape[0], groups, shape[1] // groups, prod(shape[2:]))

        def seen(view: View) -> View | None:
            return view.reshaped(split)

        operand = context.view(op.operand)
        grouped = seen(operand) or seen(context.copied(operand))
        assert grouped is not None, "a copy is contiguous"
        factors: list[View] = []
        for factor in op.operands[1:]:
            column = context.view(factor).reshaped((1, groups, split[2], 1))
            assert column is not None, "a cut of one dimension fits any stride"
            factors.append(column.broadcast(split))
        rows = Rows(context, grouped, op.result, (2, 3), factors, seen)
        normalize(rows, op.get("epsilon"), centred=True)
