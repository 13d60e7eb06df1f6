"""Recurrent layers of ONNX, whose conventions those of `nn` are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.nn.recurrent import FUNCTIONS, Activation
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of, shape_of
from ranvier.importers.onnx.node import Handler, Node, NotInNn, onnx_op

LAYERS: dict[str, tuple[type[TensorOp], int]] = {
    "RNN": (nn.RnnOp, 1),
    "GRU": (nn.GruOp, 3),
    "LSTM": (nn.LstmOp, 4),
}
NAMES = {name.replace("_", ""): name for name in FUNCTIONS}
"""Activations by ONNX's names, whose case does not matter."""


def layer(op_type: str) -> Handler:
    """Operands: x, w, r, bias, sequence lengths, initial h, and for LSTM initial c, peepholes."""
    op, gates = LAYERS[op_type]

    def import_layer(node: Node) -> Sequence[SSAValue]:
        batch_first = bool(node.attribute("layout", 0))
        x = swapped(node, node.operand(0)) if batch_first else node.operand(0)
        steps, batch, _ = shape_of(x)
        directions, _, hidden = node.shape(2)
        bias = node.optional(3) or zeros(node, (directions, 2 * gates * hidden))
        others = [
            initial_state(node, position, (directions, batch, hidden), swap=batch_first)
            for position in ((5, 6) if op_type == "LSTM" else (5,))
        ]
        if op_type == "LSTM" and (peepholes := node.optional(7)) is not None:
            others.append(peepholes)
        built = op(
            *(x, node.operand(1), node.operand(2), bias, *others),
            **settings_of(node, steps),
        )
        node.build(built)
        y, *last = built.results
        if batch_first:
            y = node.build(nn.TransposeOp(y, permutation=(2, 0, 1, 3)))
            last = [swapped(node, state) for state in last]
        return [y, *last]

    return import_layer


def settings_of(node: Node, steps: int) -> dict[str, Any]:
    """The properties of the op; those left out have their usual value."""
    settings: dict[str, Any] = {"direction": node.attribute("direction", "forward")}
    if node.has("activations"):
        settings["activations"] = activations_of(node)
    if node.has("clip"):
        settings["clip"] = float(node.attribute("clip"))
    if (lengths := lengths_of(node, steps)) is not None:
        settings["lengths"] = lengths
    if node.attribute("input_forget", 0):
        settings["input_forget"] = True
    if node.op_type == "GRU":
        settings["reset_after"] = bool(node.attribute("linear_before_reset", 0))
    return settings


def activations_of(node: Node) -> str:
    """The stated activations. Their parameters are taken from two lists in order, by those that
    have some; a list that ends early leaves the defaults."""
    lists = [list(node.attribute(f"activation_{name}", ())) for name in ("alpha", "beta")]
    found: list[str] = []
    for stated in node.attribute("activations"):
        if (name := NAMES.get(stated.lower())) is None:
            raise VerifyException(f"activation '{stated}' is none of {', '.join(NAMES)}")
        defaults, _ = FUNCTIONS[name]
        given = [
            float(values.pop(0)) if values else default
            for default, values in zip(defaults, lists, strict=False)
        ]
        found.append(str(Activation(name, tuple(given))))
    return ", ".join(found)


def lengths_of(node: Node, steps: int) -> tuple[int, ...] | None:
    """The lengths of the sequences, or None if all have every step.

    Raises NotInNn for lengths that are not constant.
    """
    if (operand := node.optional(4)) is None:
        return None
    if (known := node.builder.constant_of(operand)) is None:
        raise NotInNn
    return tuple(map(int, known)) if (known != steps).any() else None


def initial_state(node: Node, position: int, shape: Shape, *, swap: bool) -> SSAValue:
    if (state := node.optional(position)) is None:
        return zeros(node, shape)
    return swapped(node, state) if swap else state


def zeros(node: Node, shape: Shape) -> SSAValue:
    zero = node.build_constant(np.zeros((), dtype_of(element_of(node.operand(0)))))
    return node.build(nn.BroadcastOp(zero, shape=shape))


def swapped(node: Node, value: SSAValue) -> SSAValue:
    return node.build(nn.TransposeOp(value, permutation=(1, 0, 2)))


for name in LAYERS:
    onnx_op(name)(layer(name))
