"""Ops that move elements: most only change how a home is seen, the rest are DMA inside DRAM."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

from xdsl.ir import Operation

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.registry import HELD, Lowering, register
from ranvier.backend.neuron.lowering.views import View, write_padded
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.types import shape_of

OpT = TypeVar("OpT", bound=Operation)


class ViewLowering(Lowering[OpT]):
    """The result is another view of the operand's home."""

    elements = HELD

    @abstractmethod
    def see(self, op: OpT, view: View, context: Context) -> View: ...

    def lower(self, op: OpT, context: Context) -> None:
        context.alias(op.results[0], self.see(op, context.view(op.operands[0]), context))


@register
class LowerReshape(ViewLowering[nn.ReshapeOp]):
    """New strides where they can say it, else a row-major copy."""

    ops = (nn.ReshapeOp,)

    def see(self, op: nn.ReshapeOp, view: View, context: Context) -> View:
        shape = shape_of(op.result)
        if (reshaped := view.reshaped(shape)) is not None:
            return reshaped
        return View.whole(context.copied(view).buffer, shape)


@register
class LowerTranspose(ViewLowering[nn.TransposeOp]):
    """Strides in another order."""

    ops = (nn.TransposeOp,)

    def see(self, op: nn.TransposeOp, view: View, context: Context) -> View:
        return view.transposed(ints(op.permutation))


@register
class LowerSlice(ViewLowering[nn.SliceOp]):
    """An offset, and strides times the steps."""

    ops = (nn.SliceOp,)

    def see(self, op: nn.SliceOp, view: View, context: Context) -> View:
        return view.sliced(ints(op.starts), ints(op.sizes), ints(op.steps))


@register
class LowerBroadcast(ViewLowering[nn.BroadcastOp]):
    """Strides of 0."""

    ops = (nn.BroadcastOp,)

    def see(self, op: nn.BroadcastOp, view: View, context: Context) -> View:
        return view.broadcast(shape_of(op.result))


@register
class LowerConcat(Lowering[nn.ConcatOp]):
    """Each operand is copied to its slice of the result."""

    ops = (nn.ConcatOp,)
    elements = HELD

    def lower(self, op: nn.ConcatOp, context: Context) -> None:
        result = context.define(op.result)
        axis, rank = int(op.get("axis")), len(result.shape)
        start = 0
        for part in op.operands:
            shape = shape_of(part)
            starts = [start if d == axis else 0 for d in range(rank)]
            context.move(result.sliced(starts, shape, (1,) * rank), context.view(part))
            start += shape[axis]


@register
class LowerPad(Lowering[nn.PadOp]):
    """The fill value, then the operand inside it."""

    ops = (nn.PadOp,)
    elements = HELD

    def why_unsupported(self, op: nn.PadOp, machine: Machine) -> Reason | None:
        if op.mode.data != "constant":
            return Reason(Code.OP_ATTRIBUTE, f"padding by a constant lowers, got {op.mode.data}")
        return None

    def lower(self, op: nn.PadOp, context: Context) -> None:
        result = context.define(op.result)
        view = context.view(op.operand)
        write_padded(context, result, view, ints(op.low), ints(op.high), op.get("value"))
