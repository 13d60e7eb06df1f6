"""Ops that order elements."""

from __future__ import annotations

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.registry import HELD, Lowering, register
from ranvier.backend.neuron.lowering.selection import select
from ranvier.backend.neuron.lowering.selection.plan import Order, why_not_selected
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Reason
from ranvier.dialects.nn.types import element_of, shape_of


@register
class LowerTopK(Lowering[nn.TopKOp]):
    """The best elements, one after another."""

    ops = (nn.TopKOp,)
    elements = HELD

    def why_unsupported(self, op: nn.TopKOp, machine: Machine) -> Reason | None:
        size = shape_of(op.operand)[op.get("axis")]
        return why_not_selected(size, int(op.get("k")), element_of(op.operand), machine)

    def lower(self, op: nn.TopKOp, context: Context) -> None:
        largest = bool(op.get("largest"))
        order = Order(largest, nan_first=largest)
        values, places = context.define(op.values), context.define(op.indices)
        select(context, context.view(op.operand), int(op.get("axis")), order, places, values)
