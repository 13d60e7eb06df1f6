"""Recurrent layers: each cell in each direction, states that are not zero, and every setting."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32
from xdsl.ir import Attribute

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp
from samples import Array, Operand, Sample, const

GATES: dict[type[TensorOp], int] = {nn.RnnOp: 1, nn.LstmOp: 4, nn.GruOp: 3}
USUAL = {1: "tanh", 3: "sigmoid, tanh", 4: "sigmoid, tanh, tanh"}


def curve(text: str) -> Callable[[Array], Array]:
    """An activation by ONNX's formula for it."""
    name, *numbers = re.split(r"[(),\s]+", text.rstrip(")"))
    a, b = [*map(float, numbers), 0.0, 0.0][:2]
    formulae: dict[str, Callable[[Array], Array]] = {
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "tanh": lambda x: 1 - 2 / (np.exp(2 * x) + 1),
        "relu": lambda x: x * (x > 0),
        "softplus": lambda x: np.log(1 + np.exp(x)),
        "softsign": lambda x: x / (1 + abs(x)),
        "leaky_relu": lambda x: x * np.where(x > 0, 1, a),
        "thresholded_relu": lambda x: x * (x > a),
        "elu": lambda x: np.where(x > 0, x, a * (np.exp(x) - 1)),
        "affine": lambda x: a * x + b,
        "scaled_tanh": lambda x: a * (1 - 2 / (np.exp(2 * b * x) + 1)),
        "hard_sigmoid": lambda x: np.maximum(0, np.minimum(1, a * x + b)),
    }
    return formulae[name]


class Unit:
    """One cell with its weights, of one sequence and one direction."""

    def __init__(self, w: Array, r: Array, bias: Array, curves: Sequence[Any], **how: Any) -> None:
        self.size = r.shape[-1]
        half = len(bias) // 2
        self.parts = [
            (
                w[k : k + self.size],
                r[k : k + self.size],
                bias[k : k + self.size],
                bias[half + k : half + k + self.size],
            )
            for k in range(0, half, self.size)
        ]
        self.curves, self.how = curves, how

    def cut(self, total: Array) -> Array:
        limit = self.how.get("clip")
        return total if limit is None else np.maximum(-limit, np.minimum(limit, total))

    def gate(self, k: int, x: Array, h: Array, more: Array | float = 0.0) -> Array:
        w, r, b, c = self.parts[k]
        return self.cut(w @ x + r @ h + b + c + more)

    def simple(self, x: Array, h: Array) -> tuple[Array, ...]:
        return (self.curves[0](self.gate(0, x, h)),)

    def gru(self, x: Array, h: Array) -> tuple[Array, ...]:
        f, g = self.curves
        z, reset = f(self.gate(0, x, h)), f(self.gate(1, x, h))
        w, r, b, c = self.parts[2]
        after = reset * (r @ h + c) if self.how["reset_after"] else r @ (reset * h) + c
        n = g(self.cut(w @ x + b + after))
        return (n - z * n + z * h,)

    def lstm(self, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
        f, g, last = self.curves
        holes = self.how.get("peepholes")
        pi, po, pf = (0, 0, 0) if holes is None else np.split(holes, 3)
        i = f(self.gate(0, x, h, pi * c))
        keep = 1 - i if self.how.get("input_forget") else f(self.gate(2, x, h, pf * c))
        c = keep * c + i * g(self.gate(3, x, h))
        return f(self.gate(1, x, h, po * c)) * last(c), c


def sequence_by_sequence(*operands: Array, **settings: Any) -> tuple[Array, ...]:
    """Every sequence alone, cut to its length; a reverse one is turned around before and after."""
    x, w, r, bias, *others = operands
    gates = w.shape[1] // r.shape[-1]
    states, holes = others[: 1 + (gates == 4)], others[1 + (gates == 4) :]
    steps, batch, _ = x.shape
    lengths = settings.pop("lengths", None) or (steps,) * batch
    direction = settings.pop("direction")
    names = settings.pop("activations", None) or USUAL[gates]
    curves = [curve(text) for text in re.findall(r"\w+(?:\([^)]*\))?", names)]
    count = {1: 1, 3: 2, 4: 3}[gates]
    y = np.zeros((steps, len(w), batch, r.shape[-1]))
    last = [np.zeros((len(w), batch, r.shape[-1])) for _ in states]
    for d in range(len(w)):
        own = curves[d * count :][:count] if len(curves) > count else curves
        how = {**settings, **({"peepholes": holes[0][d]} if holes else {})}
        unit = Unit(w[d], r[d], bias[d], own, **how)
        step = {1: unit.simple, 3: unit.gru, 4: unit.lstm}[gates]
        turn = -1 if direction == "reverse" or d == 1 else 1
        for n in range(batch):
            state: tuple[Array, ...] = tuple(value[d, n] for value in states)
            found = list[Array]()
            for row in x[: lengths[n], n][::turn]:
                state = step(row, *state)
                found.append(state[0])
            if found:
                y[: lengths[n], d, n] = np.array(found)[::turn]
            for into, value in zip(last, state, strict=True):
                into[d, n] = value
    return y, *last


def layer(
    op: type[TensorOp],
    direction: str,
    sizes: tuple[int, int, int, int],
    *,
    peepholes: bool = False,
    constant: bool = True,
    element: Attribute = f32,
    **settings: Any,
) -> Sample:
    """`sizes` are steps, batch, inputs and hidden units."""
    length, batch, inputs, hidden = sizes
    directions, rows = 2 if direction == "bidirectional" else 1, GATES[op] * hidden
    small = min(0.5, 2 / hidden**0.5)
    weights = [
        Operand((directions, rows, inputs), element, -small, small),
        Operand((directions, rows, hidden), element, -small, small),
        Operand((directions, 2 * rows), element, -0.5, 0.5),
    ]
    holes = Operand((directions, 3 * hidden), element, -0.5, 0.5)
    operands = [
        Operand((length, batch, inputs), element),
        *(map(const, weights) if constant else weights),
        *[Operand((directions, batch, hidden), element)] * (2 if op is nn.LstmOp else 1),
        *([const(holes)] if peepholes else []),
    ]
    settings = {"direction": direction, **settings}
    return Sample(op, tuple(operands), sequence_by_sequence, settings)


ACTIVATIONS = (
    "relu",
    "softplus",
    "softsign",
    "affine(0.5, 0.25)",
    "leaky_relu(0.3)",
    "leaky_relu(1.5)",
    "thresholded_relu(0.25)",
    "elu(1.5)",
    "scaled_tanh(0.8, 0.7)",
    "hard_sigmoid(0.25, 0.4)",
    "sigmoid",
)

SAMPLES = [
    layer(nn.RnnOp, "forward", (5, 2, 3, 4)),
    layer(nn.RnnOp, "reverse", (3, 1, 4, 2), clip=0.75, lengths=(2,)),
    *(layer(nn.RnnOp, "forward", (3, 2, 4, 5), activations=name) for name in ACTIVATIONS),
    layer(nn.RnnOp, "bidirectional", (3, 2, 4, 5), activations="tanh, relu"),
    layer(nn.LstmOp, "forward", (5, 2, 3, 4)),
    layer(nn.LstmOp, "bidirectional", (3, 2, 5, 3)),
    layer(nn.LstmOp, "forward", (3, 2, 5, 6), peepholes=True, clip=0.5),
    layer(nn.LstmOp, "reverse", (3, 2, 5, 6), input_forget=True, activations="sigmoid, relu, tanh"),
    layer(nn.LstmOp, "bidirectional", (6, 4, 3, 5), lengths=(6, 1, 0, 4)),
    layer(nn.LstmOp, "forward", (4, 1, 3, 2), constant=False),
    layer(nn.LstmOp, "reverse", (3, 2, 7, 129)),
    layer(nn.LstmOp, "forward", (3, 2, 7, 5), element=f16),
    layer(nn.GruOp, "forward", (5, 2, 3, 4), reset_after=False),
    layer(nn.GruOp, "reverse", (4, 1, 3, 2), reset_after=True),
    layer(nn.GruOp, "bidirectional", (4, 3, 3, 2), reset_after=True, clip=0.5, lengths=(2, 4, 1)),
    layer(
        nn.GruOp,
        "forward",
        (4, 3, 5, 7),
        reset_after=False,
        activations="hard_sigmoid(0.2, 0.5), tanh",
    ),
    layer(nn.GruOp, "forward", (3, 2, 7, 130), reset_after=True),
    layer(nn.GruOp, "forward", (3, 2, 7, 130), reset_after=False, constant=False, element=bf16),
    # More sequences than a bank of PSUM holds, more steps than a block, weights beyond SBUF.
    layer(nn.LstmOp, "forward", (2, 200, 3, 400)),
    replace(layer(nn.GruOp, "forward", (70, 8, 3, 129), reset_after=True), slow=True),
    replace(layer(nn.LstmOp, "forward", (2, 1, 3, 1400)), slow=True),
]
