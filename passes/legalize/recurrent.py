"""Recurrent layers unrolled over their time steps.

One product serves the inputs of all steps; only the products with the state are step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.recurrent import DIRECTIONS, RecurrentOp
from ranvier.dialects.nn.types import shape_of
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
    slice_along,
)

STEPS = 64
"""Longer sequences stay one op: unrolled they would be thousands."""

Step: TypeAlias = Callable[[SSAValue, SSAValue, Sequence[SSAValue]], Sequence[SSAValue]]
"""New states of the inputs' share of the gates, the state's share, and the states."""


class UnrollLstm(Decomposition[nn.LstmOp]):
    """`c' = sigmoid(f) * c + sigmoid(i) * tanh(g)`, `h' = sigmoid(o) * tanh(c')` at each step, with
    `i, o, f, g = w x + r h + b`
    """

    def decompose(self, op: nn.LstmOp, emit: Emitter) -> SSAValue | None:
        size = shape_of(op.r)[-1]

        def step(x: SSAValue, r: SSAValue, states: Sequence[SSAValue]) -> Sequence[SSAValue]:
            total = emit(nn.AddOp(x, r))
            gates = emit(nn.SigmoidOp(emit(slice_along(total, 1, 0, 3 * size))))
            i, o, f = (emit(slice_along(gates, 1, k * size, size)) for k in range(3))
            g = emit(nn.TanhOp(emit(slice_along(total, 1, 3 * size, size))))
            c = emit(nn.AddOp(emit(nn.MulOp(f, states[1])), emit(nn.MulOp(i, g))))
            return emit(nn.MulOp(o, emit(nn.TanhOp(c)))), c

        return unrolled(op, step, emit)


class UnrollGru(Decomposition[nn.GruOp]):
    """`h' = n + z * (h - n)` at each step, with `z, r = sigmoid(w x + r h + b)` and
    `n = tanh(w x + b + r * (r h + b))`, for `reset_after`
    """

    def decompose(self, op: nn.GruOp, emit: Emitter) -> SSAValue | None:
        size = shape_of(op.r)[-1]
        if not op.get("reset_after"):
            return None

        def step(x: SSAValue, r: SSAValue, states: Sequence[SSAValue]) -> Sequence[SSAValue]:
            heads = (emit(slice_along(value, 1, 0, 2 * size)) for value in (x, r))
            gates = emit(nn.SigmoidOp(emit(nn.AddOp(*heads))))
            z, reset = (emit(slice_along(gates, 1, k * size, size)) for k in range(2))
            of_x, of_h = (emit(slice_along(value, 1, 2 * size, size)) for value in (x, r))
            n = emit(nn.TanhOp(emit(nn.AddOp(of_x, emit(nn.MulOp(reset, of_h))))))
            return (emit(nn.AddOp(n, emit(nn.MulOp(z, emit(nn.SubOp(states[0], n)))))),)

        return unrolled(op, step, emit)


class UnrollRnn(Decomposition[nn.RnnOp]):
    """`h' = tanh(w x + r h + b)` at each step, or with relu"""

    def decompose(self, op: nn.RnnOp, emit: Emitter) -> SSAValue | None:
        activation = nn.TanhOp if op.activation.data == "tanh" else nn.ReluOp

        def step(x: SSAValue, r: SSAValue, states: Sequence[SSAValue]) -> Sequence[SSAValue]:
            return (emit(activation(emit(nn.AddOp(x, r)))),)

        return unrolled(op, step, emit)


def unrolled(op: RecurrentOp, step: Step, emit: Emitter) -> SSAValue | None:
    """The states of all steps, if nothing reads the last ones apart from them."""
    steps, _, batch, size = shape_of(op.y)
    if any(last.uses for last in op.last) or not 0 < steps <= STEPS:
        return None
    directions: list[SSAValue] = []
    for d, reverse in enumerate(DIRECTIONS[op.direction.data]):
        w, r = (_transposed(weight, d, emit) for weight in (op.w, op.r))
        for_x, for_h = _biases(op.bias, d, emit)
        x = emit(nn.AddOp(emit(nn.MatmulOp(op.x, w)), for_x))
        states: Sequence[SSAValue] = [_row(state, d, (batch, size), emit) for state in op.initial]
        over_time: dict[int, SSAValue] = {}
        for t in reversed(range(steps)) if reverse else range(steps):
            of_x = _row(x, t, shape_of(x)[1:], emit)
            of_h = emit(nn.AddOp(emit(nn.MatmulOp(states[0], r)), for_h))
            states = step(of_x, of_h, states)
            over_time[t] = emit(nn.ReshapeOp(states[0], shape=(1, 1, batch, size)))
        directions.append(emit(nn.ConcatOp(*(over_time[t] for t in range(steps)), axis=0)))
    return directions[0] if len(directions) == 1 else emit(nn.ConcatOp(*directions, axis=1))


def _row(x: SSAValue, index: int, shape: tuple[int, ...], emit: Emitter) -> SSAValue:
    """One element of the first axis."""
    return emit(nn.ReshapeOp(emit(slice_along(x, 0, index, 1)), shape=shape))


def _transposed(weight: SSAValue, d: int, emit: Emitter) -> SSAValue:
    matrix = _row(weight, d, shape_of(weight)[1:], emit)
    return emit(nn.TransposeOp(matrix, permutation=(1, 0)))


def _biases(bias: SSAValue, d: int, emit: Emitter) -> tuple[SSAValue, SSAValue]:
    """Those of the inputs and those of the state, in one direction."""
    row = _row(bias, d, shape_of(bias)[1:], emit)
    half = shape_of(row)[0] // 2
    return emit(slice_along(row, 0, 0, half)), emit(slice_along(row, 0, half, half))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (UnrollLstm(), UnrollGru(), UnrollRnn())
