"""The best elements of lines and where they stand."""

from __future__ import annotations

from xdsl.dialects.builtin import i32

from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.lines import lines_along
from ranvier.backend.neuron.lowering.selection.floats import Selection
from ranvier.backend.neuron.lowering.selection.integers import IntegerSelection
from ranvier.backend.neuron.lowering.selection.plan import Order, plan, room_for
from ranvier.backend.neuron.lowering.views import View


def select(
    context: Context, source: View, axis: int, order: Order, places: View, values: View | None
) -> None:
    """The best elements along an axis, as many as `places` has there; `places` is of i32."""
    size, k = source.shape[axis], places.shape[axis]
    lines = lines_along(axis, *((source, places) if values is None else (source, places, values)))
    fit = plan(size, k, source.element, context.machine)
    assert fit is not None, "why_not_selected says so"
    kind = IntegerSelection if source.element == i32 else Selection
    for block in lines.blocks(context.e, room_for(fit, k, source.element, context.machine)):
        one = kind(context, lines, block, order, fit, k)
        one.run(size)
        one.store_places(size, lines.views[1])
        if values is not None:
            one.store_values(size, lines.views[2])
