"""Recurrent layers as a hardware loop over time: the program does not grow with the steps.

The state lives on chip, hidden units on the partitions, so what a step computes is what the next
one multiplies. Before the loop one product makes the inputs' share of all gates; the loop loads it
in blocks of steps, and stores the states in such blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context, machine_element, scalar_of
from ranvier.backend.neuron.lowering.contraction import Product
from ranvier.backend.neuron.lowering.convolution import check_product_type
from ranvier.backend.neuron.lowering.emitter import ZERO, OnChip, Tile
from ranvier.backend.neuron.lowering.pointwise import Chain
from ranvier.backend.neuron.lowering.recurrent_cells import (
    Cell,
    GruCell,
    LstmCell,
    RnnCell,
    Turn,
)
from ranvier.backend.neuron.lowering.recurrent_state import Hidden, Weights
from ranvier.backend.neuron.lowering.registry import Lowering, is_constant, register
from ranvier.backend.neuron.lowering.views import View, tile_of
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.pe import MAX_MOVING
from ranvier.dialects.nc.types import PARTITIONS
from ranvier.dialects.nn.recurrent import RecurrentOp
from ranvier.dialects.nn.types import element_of, shape_of

BLOCK_WIDTH = 2048
"""Elements per partition of the gates that are on chip at once: 8 KiB."""


class LowerRecurrent(Lowering[RecurrentOp]):
    """Direction by direction, some sequences of the batch at a time."""

    CELL: ClassVar[type[Cell]]

    def why_unsupported(self, op: RecurrentOp, machine: Machine) -> Reason | None:
        hidden = shape_of(op.r)[-1]
        if hidden > (limit := MAX_MOVING * PARTITIONS):
            return Reason(Code.OP_SIZE, f"up to {limit} hidden units lower, got {hidden}")
        return None

    def lower(self, op: RecurrentOp, context: Context) -> None:
        check_product_type(op, context.machine)
        y = context.define(op.y)
        last = [context.define(value) if value.uses else None for value in op.last]
        for direction, reverse in enumerate(op.reversals):
            Layer(op, context, direction, reverse).lower(self.CELL, y, last)


@register
class LowerRnn(LowerRecurrent):
    ops = (nn.RnnOp,)
    CELL = RnnCell


@register
class LowerLstm(LowerRecurrent):
    ops = (nn.LstmOp,)
    CELL = LstmCell


@register
class LowerGru(LowerRecurrent):
    ops = (nn.GruOp,)
    CELL = GruCell


class Layer:
    """One direction of a layer."""

    def __init__(self, op: RecurrentOp, context: Context, direction: int, reverse: bool) -> None:
        self.op, self.context, self.e = op, context, context.e
        self.direction, self.reverse = direction, reverse
        self.steps, self.batch, self.inputs = shape_of(op.x)
        self.hidden = Hidden(shape_of(op.r)[-1])
        self.sequences = tile_of(self.batch, max(1, MAX_MOVING // self.hidden.chunks))
        """How many sequences run at once: what a bank holds of one gate."""
        width = op.GATES * self.hidden.chunks * self.sequences
        self.block = block_of(self.steps, max(1, BLOCK_WIDTH // width))

    def lower(self, cell_type: type[Cell], y: View, last: Sequence[View | None]) -> None:
        e, op = self.e, self.op
        shares = self._in_time(self._shares_of_inputs())
        outputs = self._in_time(_dropped(y, 1, self.direction).transposed((1, 0, 2)))
        cell = cell_type(op, self.direction, self.hidden, e)
        cell.prepare(self._weights(), self._biases(), self._peepholes())
        for batch in e.tiles(self.batch, self.sequences):
            states = [self._initial(state, batch) for state in op.initial]
            cell.start(states, batch.size, element_of(op.x))
            for block in e.tiles(self.steps, self.block):
                self._run_block(cell, shares, outputs, batch, block)
            for view, state in zip(last, states, strict=True):
                if view is not None:
                    into = _dropped(view, 0, self.direction)
                    at, dims = (batch.start,), ((0, batch.size),)
                    self.hidden.move(e, state, into, at, inner=dims, store=True)

    def _in_time(self, view: View) -> View:
        """`… x steps x hidden` in the order in which the steps are taken: time second to last but
        one dimension."""
        if not self.reverse:
            return view
        axis = len(view.shape) - 2
        starts = [self.steps - 1 if d == axis else 0 for d in range(len(view.shape))]
        signs = [-1 if d == axis else 1 for d in range(len(view.shape))]
        return view.sliced(starts, view.shape, signs)

    def _shares_of_inputs(self) -> View:
        """`w x` of all steps, in device memory as gates x batch x steps x hidden."""
        context, op = self.context, self.op
        gates, columns = op.GATES * self.hidden.size, self.steps * self.batch
        x = context.view(op.x).reshaped((columns, self.inputs))
        if x is None:
            x = View.whole(context.copied(context.view(op.x)).buffer, (columns, self.inputs))
        w = _dropped(transposed_weight(context, op.w), 0, self.direction).transposed((1, 0))
        home = View.whole(self.e.dram(gates * columns, f32), (gates, columns))
        how = context.machine, context.relayout
        Product(w, x.transposed((1, 0)), Chain((), home), f32, *how).emit(self.e, ())
        shape = (op.GATES, self.hidden.size, self.steps, self.batch)
        return View.whole(home.buffer, shape).transposed((0, 3, 2, 1))

    def _weights(self) -> Weights:
        view = _dropped(transposed_weight(self.context, self.op.r), 0, self.direction)
        return Weights(self.e, view, self.hidden, self.context.machine)

    def _biases(self) -> tuple[OnChip, OnChip]:
        """Those of the inputs and of the state, gates x chunks."""
        gates, size = self.op.GATES, self.hidden.size
        bias = _dropped(self.context.view(self.op.bias), 0, self.direction)
        found: list[OnChip] = []
        for half in range(2):
            part = bias.sliced((half * gates * size,), (gates * size,), (1,))
            view = part.reshaped((gates, size))
            assert view is not None, "a cut of one dimension fits any stride"
            tile = self.e.sbuf(self.hidden.rows, gates * self.hidden.chunks, bias.element)
            self.hidden.move(self.e, tile, view, lead=((0, gates),))
            found.append(tile)
        return found[0], found[1]

    def _peepholes(self) -> OnChip | None:
        if not isinstance(self.op, nn.LstmOp) or self.op.peepholes is None:
            return None
        view = _dropped(self.context.view(self.op.peepholes), 0, self.direction)
        split = view.reshaped((3, self.hidden.size))
        assert split is not None, "a cut of one dimension fits any stride"
        tile = self.e.sbuf(self.hidden.rows, 3 * self.hidden.chunks, view.element)
        self.hidden.move(self.e, tile, split, lead=((0, 3),))
        return tile

    def _initial(self, value: SSAValue, batch: Tile) -> OnChip:
        """A state before the first step, chunks x batch, in f32."""
        tile = self.e.sbuf(self.hidden.rows, self.hidden.chunks * batch.size, f32)
        if (number := scalar_of(value)) is not None:
            self.e.emit(nc.MemsetOp, fields={"value": number}, dst=tile.ref())
            return tile
        view = _dropped(self.context.view(value), 0, self.direction)
        self.hidden.move(self.e, tile, view, (batch.start,), inner=((0, batch.size),))
        return tile

    def _run_block(self, cell: Cell, shares: View, outputs: View, batch: Tile, block: Tile) -> None:
        """Some steps: their gates come in and their states go out at once."""
        e, hidden, gates = self.e, self.hidden, self.op.GATES
        inner = block.size * batch.size
        share = e.sbuf(hidden.rows, gates * hidden.chunks * inner, f32)
        at = (batch.start, block.start)
        dims = ((2, block.size), (1, batch.size))
        hidden.move(e, share, shares, (ZERO, *at), lead=((0, gates),), inner=dims)
        cell.add_biases(share, inner)
        mask = self._mask(batch, block)
        out = e.sbuf(hidden.rows, hidden.chunks * inner, outputs.element)
        if mask is not None:
            e.emit(nc.MemsetOp, fields={"value": 0.0}, dst=out.ref())
        for step in e.tiles(block.size, 1):
            cell.step(Turn(share, out, mask, step.start * batch.size, inner))
        if self.op.y.uses:
            dims = ((1, block.size), (0, batch.size))
            hidden.move(e, out, outputs, at, inner=dims, store=True)

    def _mask(self, batch: Tile, block: Tile) -> OnChip | None:
        """1 where a sequence goes on, steps x batch, on every partition."""
        if self.op.lengths is None:
            return None
        lengths = np.array(ints(self.op.lengths))
        array = np.arange(self.steps)[:, None] < lengths
        constant = nn.ConstantOp(array)
        element = machine_element(element_of(constant.result))
        symbol = self.context.weights.constant(constant)
        table = self.context.weight(symbol, array.shape, element)
        view = self._in_time(table.broadcast((1, *array.shape)).transposed((2, 1, 0)))
        tile = self.e.sbuf(self.hidden.rows, block.size * batch.size, element)
        starts = (batch.start, block.start, ZERO)
        source = View(view.buffer, (*view.shape[:2], self.hidden.rows), view.strides, view.offset)
        order = [(2, self.hidden.rows), (1, block.size), (0, batch.size)]
        self.e.emit(nc.DmaOp, dst=tile.ref(), src=source.at(starts, order))
        return tile


def block_of(steps: int, limit: int) -> int:
    """Steps of a block: a divisor, so that the body is written once, unless all are small."""
    divisor = max(d for d in range(1, min(steps, limit) + 1) if steps % d == 0)
    return divisor if 4 * divisor >= min(steps, limit) else tile_of(steps, limit)


def transposed_weight(context: Context, value: SSAValue) -> View:
    """`directions x inputs x rows` of a weight; a constant is stored so, for contiguous loads."""
    if is_constant(value):
        return context.derived_weight(
            value, "transposed", lambda weight: [nn.TransposeOp(weight, permutation=(0, 2, 1))]
        )
    return context.view(value).transposed((0, 2, 1))


def _dropped(view: View, axis: int, index: int) -> View:
    """One element of an axis."""
    starts = [index if d == axis else 0 for d in range(len(view.shape))]
    sizes = [1 if d == axis else size for d, size in enumerate(view.shape)]
    cut = view.sliced(starts, sizes, (1,) * len(sizes))
    kept = [d for d in range(len(sizes)) if d != axis]
    return View(
        cut.buffer,
        tuple(cut.shape[d] for d in kept),
        tuple(cut.strides[d] for d in kept),
        cut.offset,
    )
