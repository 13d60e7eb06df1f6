"""Layers whose state goes from one time step to the next, over a static number of steps.

All of them take `x` of `steps x batch x inputs` and, per direction, weights whose rows are the
gates one after another: `w` for the inputs, `r` for the state, and a bias for each of the two. The
first result holds the states of all steps, `steps x directions x batch x hidden`, the others the
last ones, `directions x batch x hidden`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from xdsl.dialects.builtin import BoolAttr, StringAttr
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work
from ranvier.dialects.nn.elementwise_activation import sigmoid
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    element_of,
    is_float,
    shape_of,
    size_of,
    tensor,
)

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


class RecurrentOp(TensorOp):
    """`direction` is forward, reverse or bidirectional."""

    x = operand_def()
    w = operand_def()
    r = operand_def()
    bias = operand_def()
    initial = var_operand_def()
    y = result_def()
    last = var_result_def()
    direction = prop_def(StringAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    GATES: ClassVar[int]
    STATES: ClassVar[int] = 1

    def infer(self) -> Sequence[Tensor]:
        if self.direction.data not in DIRECTIONS or len(shape_of(self.x)) != 3:
            raise VerifyException(
                f"{self.name} takes steps of rank 3 and a direction of {', '.join(DIRECTIONS)}, "
                f"got {self.x.type} and {self.direction.data}"
            )
        if len(self.initial) != self.STATES:
            raise VerifyException(
                f"{self.name} takes {self.STATES} initial states, got {len(self.initial)}"
            )
        steps, batch, inputs = shape_of(self.x)
        directions, hidden = len(DIRECTIONS[self.direction.data]), shape_of(self.r)[-1]
        rows, element = self.GATES * hidden, element_of(self.x)
        expected = {
            self.w: (directions, rows, inputs),
            self.r: (directions, rows, hidden),
            self.bias: (directions, 2 * rows),
            **{state: (directions, batch, hidden) for state in self.initial},
        }
        for operand, shape in expected.items():
            if operand.type != tensor(shape, element) or not is_float(element):
                raise VerifyException(
                    f"{self.name} of {self.x.type} takes {tensor(shape, element)}, "
                    f"got {operand.type}"
                )
        last = tensor((directions, batch, hidden), element)
        return (tensor((steps, directions, batch, hidden), element), *[last] * self.STATES)

    def evaluate(self, *operands: Array) -> tuple[Array, ...]:
        x, w, r, bias, *initial = operands
        outputs: list[Array] = []
        finals: list[list[Array]] = []
        for d, reverse in enumerate(DIRECTIONS[self.direction.data]):
            for_inputs, for_state = np.split(bias[d], 2)
            gates = x @ w[d].T + for_inputs
            states = [state[d] for state in initial]
            over_time = np.empty((len(x), *states[0].shape), x.dtype)
            for t in reversed(range(len(x))) if reverse else range(len(x)):
                states = self.step(gates[t], r[d], for_state, states)
                over_time[t] = states[0]
            outputs.append(over_time)
            finals.append(states)
        return (np.stack(outputs, 1), *(np.stack(final) for final in zip(*finals, strict=True)))

    @abstractmethod
    def step(self, gates: Array, r: Array, bias: Array, states: list[Array]) -> list[Array]:
        """The states after a step, of the inputs' share of the gates and the states before it."""

    def work(self) -> Work:
        steps, batch, _ = shape_of(self.x)
        macs = steps * batch * (size_of(self.w) + size_of(self.r))
        return Work(macs=macs, elements=6 * self.GATES * size_of(self.y))


@irdl_op_definition
class RnnOp(RecurrentOp):
    """`h' = tanh(w x + r h + b)`, or with relu."""

    name = "nn.rnn"
    activation = prop_def(StringAttr)
    GATES: ClassVar[int] = 1

    def infer(self) -> Sequence[Tensor]:
        if self.activation.data not in ("tanh", "relu"):
            raise VerifyException(f"activation is tanh or relu, got {self.activation.data}")
        return super().infer()

    def step(self, gates: Array, r: Array, bias: Array, states: list[Array]) -> list[Array]:
        total = gates + states[0] @ r.T + bias
        return [np.tanh(total) if self.activation.data == "tanh" else np.maximum(total, 0)]


@irdl_op_definition
class LstmOp(RecurrentOp):
    """Long short-term memory, gates in the order i, o, f, c.

    `i, o, f = sigmoid(w x + r h + b)`, `g = tanh(w x + r h + b)`, `c' = f * c + i * g`,
    `h' = o * tanh(c')`; the states are h and c.
    """

    name = "nn.lstm"
    GATES: ClassVar[int] = 4
    STATES: ClassVar[int] = 2

    def step(self, gates: Array, r: Array, bias: Array, states: list[Array]) -> list[Array]:
        h, c = states
        i, o, f, g = np.split(gates + h @ r.T + bias, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]


@irdl_op_definition
class GruOp(RecurrentOp):
    """Gated recurrent unit, gates in the order z, r, h.

    `z, r = sigmoid(w x + r h + b)`, `h' = (1 - z) * n + z * h`, where `n` is
    `tanh(w x + r (r * h) + b)`, or with `reset_after` `tanh(w x + b + r * (r h + b))`.
    """

    name = "nn.gru"
    reset_after = prop_def(BoolAttr)
    GATES: ClassVar[int] = 3

    def step(self, gates: Array, r: Array, bias: Array, states: list[Array]) -> list[Array]:
        (h,) = states
        size = h.shape[-1]
        z_and_r = sigmoid(gates[:, : 2 * size] + h @ r[: 2 * size].T + bias[: 2 * size])
        z, reset = np.split(z_and_r, 2, -1)
        if self.get("reset_after"):
            recurrent = reset * (h @ r[2 * size :].T + bias[2 * size :])
        else:
            recurrent = (reset * h) @ r[2 * size :].T + bias[2 * size :]
        candidate = np.tanh(gates[:, 2 * size :] + recurrent)
        return [(1 - z) * candidate + z * h]
