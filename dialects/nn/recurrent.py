"""Layers whose state goes from one time step to the next, over a static number of steps.

All of them take `x` of `steps x batch x inputs` and, per direction, weights whose rows are the
gates one after another: `w` for the inputs, `r` for the state, and a bias for each of the two. The
first result holds the states of all steps, `steps x directions x batch x hidden`, the others the
last ones, `directions x batch x hidden`.

`x`, `w` and `r` are multiplied and may be narrow; biases, states and results share one type.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from xdsl.dialects.builtin import BoolAttr, DenseArrayBase, FloatAttr, StringAttr
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work, ints
from ranvier.dialects.nn.elementwise_activation import sigmoid
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    accumulates_into,
    element_of,
    is_float,
    shape_of,
    size_of,
    tensor,
)

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}

FUNCTIONS: dict[str, tuple[tuple[float, ...], Callable[..., Array]]] = {
    "sigmoid": ((), sigmoid),
    "tanh": ((), np.tanh),
    "relu": ((), lambda x: np.maximum(x, 0)),
    "softplus": ((), lambda x: np.logaddexp(x, 0)),
    "softsign": ((), lambda x: x / (1 + np.abs(x))),
    "leaky_relu": ((0.01,), lambda x, alpha: np.where(x < 0, alpha * x, x)),
    "thresholded_relu": ((1.0,), lambda x, alpha: np.where(x > alpha, x, 0)),
    "elu": ((1.0,), lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)),
    "affine": ((1.0, 0.0), lambda x, alpha, beta: alpha * x + beta),
    "scaled_tanh": ((1.0, 1.0), lambda x, alpha, beta: alpha * np.tanh(beta * x)),
    "hard_sigmoid": ((0.2, 0.5), lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1)),
}
"""Activations by name: their parameters' defaults, which are those of ONNX, and what they are."""


@dataclass(frozen=True)
class Activation:
    """One function of a cell, as `tanh` or `hard_sigmoid(0.2, 0.5)`."""

    name: str
    parameters: tuple[float, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.name}({', '.join(map(repr, self.parameters))})"
            if self.parameters
            else self.name
        )

    def __call__(self, x: Array) -> Array:
        result = FUNCTIONS[self.name][1](x, *self.parameters)
        return np.asarray(result, x.dtype)

    @staticmethod
    def parse(text: str) -> tuple[Activation, ...]:
        """A list of activations. Raises VerifyException for an unknown one."""
        found: list[Activation] = []
        for name, inside in re.findall(r"(\w+)(?:\(([^)]*)\))?", text):
            try:
                parameters = tuple(float(part) for part in inside.split(",") if part.strip())
            except ValueError:
                raise VerifyException(f"no numbers in {name}({inside})") from None
            if name not in FUNCTIONS or len(parameters) != len(FUNCTIONS[name][0]):
                known = ", ".join(
                    f"{known} ({len(defaults)} parameters)"
                    for known, (defaults, _) in FUNCTIONS.items()
                )
                raise VerifyException(
                    f"activation {name} of {len(parameters)} parameters is none of {known}"
                )
            found.append(Activation(name, parameters))
        return tuple(found)


@dataclass(frozen=True)
class Cell:
    """What one direction computes with at each step, apart from gates and states."""

    r: Array
    bias: Array
    functions: tuple[Activation, ...]
    limit: float | None
    peepholes: Array | None = None

    def clipped(self, total: Array) -> Array:
        return total if self.limit is None else np.clip(total, -self.limit, self.limit)


class RecurrentOp(TensorOp):
    """`direction` is forward, reverse or bidirectional.

    `activations` are those of a cell, or of each direction's cell in turn; `clip` bounds the
    magnitude of what they take, apart from that of a cell's state. `lengths`, one for each sequence
    of the batch, end it early: later outputs are 0, the state stays, and the reverse direction
    starts there.
    """

    x = operand_def()
    w = operand_def()
    r = operand_def()
    bias = operand_def()
    others = var_operand_def()
    """The initial states, then what a layer has of its own."""
    y = result_def()
    last = var_result_def()
    direction = prop_def(StringAttr)
    activations = opt_prop_def(StringAttr)
    clip = opt_prop_def(FloatAttr)
    lengths = opt_prop_def(DenseArrayBase)

    traits = traits_def(Pure(), HasPrecision(Precision.NARROW, (0, 1, 2)))

    GATES: ClassVar[int]
    STATES: ClassVar[int] = 1
    USUAL: ClassVar[str]
    """The activations of a cell that states none."""

    @property
    def initial(self) -> Sequence[SSAValue]:
        return self.others[: self.STATES]

    @property
    def reversals(self) -> tuple[bool, ...]:
        """Whether each direction goes from the last step to the first."""
        return DIRECTIONS[self.direction.data]

    def functions(self, direction: int) -> tuple[Activation, ...]:
        """The activations of one direction's cell."""
        found = Activation.parse(self.get("activations", self.USUAL))
        count = len(Activation.parse(self.USUAL))
        return found[direction * count :][:count] if len(found) > count else found

    def element_types_agree(self, inferred: Attribute, declared: Attribute) -> bool:
        return inferred == declared

    def infer(self) -> Sequence[Tensor]:
        if self.direction.data not in DIRECTIONS or len(shape_of(self.x)) != 3:
            raise VerifyException(
                f"{self.name} takes steps of rank 3 and a direction of {', '.join(DIRECTIONS)}, "
                f"got {self.x.type} and {self.direction.data}"
            )
        steps, batch, inputs = shape_of(self.x)
        directions, hidden = len(self.reversals), shape_of(self.r)[-1]
        rows, narrow, wide = self.GATES * hidden, element_of(self.x), element_of(self.bias)
        state = tensor((directions, batch, hidden), wide)
        expected = [
            (self.w, tensor((directions, rows, inputs), narrow)),
            (self.r, tensor((directions, rows, hidden), narrow)),
            (self.bias, tensor((directions, 2 * rows), wide)),
            *((value, state) for value in self.initial),
            *self.check_others(directions, hidden, wide),
        ]
        for operand, type in expected:
            if operand.type != type:
                raise VerifyException(
                    f"{self.name} of {self.x.type} and {self.bias.type} takes {type}, "
                    f"got {operand.type}"
                )
        if not is_float(narrow) or not accumulates_into(narrow, wide):
            raise VerifyException(f"{self.name} does not multiply {narrow} into {wide}")
        self._check_settings(steps, batch)
        return (tensor((steps, directions, batch, hidden), wide), *[state] * self.STATES)

    def check_others(
        self, directions: int, hidden: int, wide: Attribute
    ) -> Sequence[tuple[SSAValue, Tensor]]:
        """Operands after the initial states, with their types."""
        if len(self.others) != self.STATES:
            raise VerifyException(
                f"{self.name} takes {self.STATES} initial states, got {len(self.others)}"
            )
        return ()

    def _check_settings(self, steps: int, batch: int) -> None:
        count, given = len(Activation.parse(self.USUAL)), self.get("activations", self.USUAL)
        if len(Activation.parse(given)) not in (count, count * len(self.reversals)):
            raise VerifyException(
                f"{self.name} takes {count} activations for each direction, got {given}"
            )
        if self.get("clip", 1.0) <= 0:
            raise VerifyException(f"clip is above 0, got {self.get('clip')}")
        lengths = () if self.lengths is None else ints(self.lengths)
        if self.lengths is not None and (
            len(lengths) != batch or not all(0 <= length <= steps for length in lengths)
        ):
            raise VerifyException(
                f"{batch} sequences of {steps} steps take as many lengths, got {list(lengths)}"
            )

    def evaluate(self, *operands: Array) -> tuple[Array, ...]:
        x, w, r, bias, *others = operands
        lengths = np.full(x.shape[1], len(x)) if self.lengths is None else ints(self.lengths)
        mask = (np.arange(len(x))[:, None] < np.asarray(lengths))[..., None]
        outputs: list[Array] = []
        finals: list[list[Array]] = []
        for d, reverse in enumerate(self.reversals):
            for_inputs, for_state = np.split(bias[d], 2)
            gates = x @ w[d].T + for_inputs
            rest = others[self.STATES :]
            cell = Cell(
                r[d], for_state, self.functions(d), self.get("clip"), rest[0][d] if rest else None
            )
            states = [state[d] for state in others[: self.STATES]]
            over_time = np.empty((len(x), *states[0].shape), states[0].dtype)
            for t in reversed(range(len(x))) if reverse else range(len(x)):
                found = self.step(gates[t], cell, states)
                states = [np.where(mask[t], *pair) for pair in zip(found, states, strict=True)]
                over_time[t] = np.where(mask[t], states[0], 0)
            outputs.append(over_time)
            finals.append(states)
        return (np.stack(outputs, 1), *(np.stack(final) for final in zip(*finals, strict=True)))

    @abstractmethod
    def step(self, gates: Array, cell: Cell, states: list[Array]) -> list[Array]:
        """The states after a step, of the inputs' share of the gates and the states before it."""

    def work(self) -> Work:
        steps, batch, _ = shape_of(self.x)
        macs = steps * batch * (size_of(self.w) + size_of(self.r))
        return Work(macs=macs, elements=6 * self.GATES * size_of(self.y))


@irdl_op_definition
class RnnOp(RecurrentOp):
    """`h' = f(w x + r h + b)`, where `f` is tanh if not stated."""

    name = "nn.rnn"
    GATES: ClassVar[int] = 1
    USUAL: ClassVar[str] = "tanh"

    def step(self, gates: Array, cell: Cell, states: list[Array]) -> list[Array]:
        return [cell.functions[0](cell.clipped(gates + states[0] @ cell.r.T + cell.bias))]


@irdl_op_definition
class LstmOp(RecurrentOp):
    """Long short-term memory, gates in the order i, o, f, c; activations f, g, h.

    `i, o, f = f(w x + r h + b)`, `g = g(w x + r h + b)`, `c' = f * c + i * g`,
    `h' = o * h(c')`; the states are h and c. Peepholes, `directions x 3 hidden`, add their multiple
    of `c` to i and f, and of `c'` to o. With `input_forget`, `f = 1 - i`.
    """

    name = "nn.lstm"
    input_forget = opt_prop_def(BoolAttr)
    GATES: ClassVar[int] = 4
    STATES: ClassVar[int] = 2
    USUAL: ClassVar[str] = "sigmoid, tanh, tanh"

    @property
    def peepholes(self) -> SSAValue | None:
        return self.others[self.STATES] if len(self.others) > self.STATES else None

    def check_others(
        self, directions: int, hidden: int, wide: Attribute
    ) -> Sequence[tuple[SSAValue, Tensor]]:
        if len(self.others) not in (self.STATES, self.STATES + 1):
            raise VerifyException(
                f"{self.name} takes 2 initial states and perhaps peepholes, got {len(self.others)}"
            )
        given = () if self.peepholes is None else (self.peepholes,)
        return [(value, tensor((directions, 3 * hidden), wide)) for value in given]

    def step(self, gates: Array, cell: Cell, states: list[Array]) -> list[Array]:
        h, c = states
        of_gates, of_cell, of_state = cell.functions
        i, o, f, g = np.split(gates + h @ cell.r.T + cell.bias, 4, -1)
        pi, po, pf = (0, 0, 0) if cell.peepholes is None else np.split(cell.peepholes, 3)
        i = of_gates(cell.clipped(i + pi * c))
        f = 1 - i if self.get("input_forget") else of_gates(cell.clipped(f + pf * c))
        c = f * c + i * of_cell(cell.clipped(g))
        o = of_gates(cell.clipped(o + po * c))
        return [o * of_state(c), c]


@irdl_op_definition
class GruOp(RecurrentOp):
    """Gated recurrent unit, gates in the order z, r, h; activations f, g.

    `z, r = f(w x + r h + b)`, `h' = (1 - z) * n + z * h`, where `n` is
    `g(w x + r (r * h) + b)`, or with `reset_after` `g(w x + b + r * (r h + b))`.
    """

    name = "nn.gru"
    reset_after = prop_def(BoolAttr)
    GATES: ClassVar[int] = 3
    USUAL: ClassVar[str] = "sigmoid, tanh"

    def step(self, gates: Array, cell: Cell, states: list[Array]) -> list[Array]:
        (h,), r, bias = states, cell.r, cell.bias
        of_gates, of_candidate = cell.functions
        size = h.shape[-1]
        heads = gates[:, : 2 * size] + h @ r[: 2 * size].T + bias[: 2 * size]
        z, reset = np.split(of_gates(cell.clipped(heads)), 2, -1)
        if self.get("reset_after"):
            recurrent = reset * (h @ r[2 * size :].T + bias[2 * size :])
        else:
            recurrent = (reset * h) @ r[2 * size :].T + bias[2 * size :]
        candidate = of_candidate(cell.clipped(gates[:, 2 * size :] + recurrent))
        return [(1 - z) * candidate + z * h]
