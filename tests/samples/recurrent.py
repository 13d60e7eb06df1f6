"""Recurrent layers: each cell in each direction, states that are not zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp
from samples import ANYWHERE, Array, Operand, Sample, const
from samples.oracles import by_onnx

GATES: dict[type[TensorOp], int] = {nn.RnnOp: 1, nn.LstmOp: 4, nn.GruOp: 3}


def simple(*operands: Array, direction: str, activation: str) -> tuple[Array, ...]:
    """Step by step, one direction; the evaluator of ONNX has no relu here."""
    x, w, r, bias, state = operands
    rows, found = w.shape[1], list[Array]()
    state = state[0]
    for step in x if direction == "forward" else x[::-1]:
        total = step @ w[0].T + state @ r[0].T + bias[0, :rows] + bias[0, rows:]
        state = np.tanh(total) if activation == "tanh" else total * (total > 0)
        found.append(state[None])
    return np.array(found if direction == "forward" else found[::-1]), state[None]


def steps(*operands: Array, direction: str, **cell: Any) -> tuple[Array, ...]:
    """The layer of ONNX, whose fifth input would be the lengths of the sequences."""
    x, w, r, bias, *initial = operands
    attributes: dict[str, Any] = {"hidden_size": r.shape[-1], "direction": direction}
    if "reset_after" in cell:
        attributes["linear_before_reset"] = int(cell["reset_after"])
    op_type = "LSTM" if len(initial) == 2 else "GRU"
    return by_onnx(op_type, x, w, r, bias, None, *initial, outputs=1 + len(initial), **attributes)


def layer(
    op: type[TensorOp], direction: str, sizes: tuple[int, int, int, int], **cell: Any
) -> Sample:
    length, batch, inputs, hidden = sizes
    directions, rows = 2 if direction == "bidirectional" else 1, GATES[op] * hidden
    operands = [
        Operand((length, batch, inputs)),
        const(Operand((directions, rows, inputs), low=-0.5, high=0.5)),
        const(Operand((directions, rows, hidden), low=-0.5, high=0.5)),
        const(Operand((directions, 2 * rows), low=-0.5, high=0.5)),
        *[Operand((directions, batch, hidden))] * (2 if op is nn.LstmOp else 1),
    ]
    return Sample(
        op,
        tuple(operands),
        simple if op is nn.RnnOp else steps,
        {"direction": direction, **cell},
        host=ANYWHERE,
    )


SAMPLES = [
    layer(nn.RnnOp, "forward", (5, 2, 3, 4), activation="tanh"),
    layer(nn.RnnOp, "reverse", (3, 1, 4, 2), activation="relu"),
    layer(nn.LstmOp, "forward", (5, 2, 3, 4)),
    layer(nn.LstmOp, "bidirectional", (3, 2, 5, 3)),
    layer(nn.GruOp, "forward", (5, 2, 3, 4), reset_after=False),
    layer(nn.GruOp, "reverse", (4, 1, 3, 2), reset_after=True),
]
