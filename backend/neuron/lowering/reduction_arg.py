"""Where extremes of lines stand."""

from __future__ import annotations

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.registry import HELD, Lowering, register
from ranvier.backend.neuron.lowering.selection import select
from ranvier.backend.neuron.lowering.selection.plan import Order, why_not_selected
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Reason
from ranvier.dialects.nn.reduction import ArgOp
from ranvier.dialects.nn.types import element_of, shape_of


@register
class LowerArg(Lowering[ArgOp]):
    """The place of the one best element; NaN is best."""

    ops = (nn.ArgMaxOp, nn.ArgMinOp)
    elements = HELD

    def why_unsupported(self, op: ArgOp, machine: Machine) -> Reason | None:
        size = shape_of(op.operand)[op.get("axis")]
        return why_not_selected(size, 1, element_of(op.operand), machine)

    def lower(self, op: ArgOp, context: Context) -> None:
        x, axis = context.view(op.operand), int(op.get("axis"))
        order = Order(isinstance(op, nn.ArgMaxOp), nan_first=True, last=bool(op.get("last")))
        kept = tuple(1 if d == axis else size for d, size in enumerate(x.shape))
        places = context.define(op.result).reshaped(kept)
        assert places is not None, "a dimension of 1 fits any strides"
        select(context, x, axis, order, places, None)
