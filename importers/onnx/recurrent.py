"""Recurrent layers of ONNX, whose conventions those of `nn` are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of, shape_of
from ranvier.importers.onnx.node import Handler, Node, NotInNn, onnx_op

# Gates, and the activations that are meant if a node states none.
LAYERS: dict[str, tuple[type[TensorOp], int, tuple[str, ...]]] = {
    "RNN": (nn.RnnOp, 1, ("Tanh",)),
    "GRU": (nn.GruOp, 3, ("Sigmoid", "Tanh")),
    "LSTM": (nn.LstmOp, 4, ("Sigmoid", "Tanh", "Tanh")),
}
ACTIVATIONS = {"tanh", "relu"}


def layer(op_type: str) -> Handler:
    """Operands: x, w, r, bias, sequence lengths, initial h, and for LSTM initial c, peepholes."""
    op, gates, usual = LAYERS[op_type]

    def import_layer(node: Node) -> Sequence[SSAValue]:
        activations = check_settings(node, usual)
        batch_first = bool(node.attribute("layout", 0))
        x = swapped(node, node.operand(0)) if batch_first else node.operand(0)
        steps, batch, _ = shape_of(x)
        check_lengths(node, steps)
        directions, _, hidden = node.shape(2)
        bias = node.optional(3) or zeros(node, (directions, 2 * gates * hidden))
        states = [
            initial_state(node, position, (directions, batch, hidden), swap=batch_first)
            for position in ((5, 6) if op_type == "LSTM" else (5,))
        ]
        settings: dict[str, object] = {"direction": node.attribute("direction", "forward")}
        if op_type == "RNN":
            settings["activation"] = activations[0].lower()
        if op_type == "GRU":
            settings["reset_after"] = bool(node.attribute("linear_before_reset", 0))
        built = op(x, node.operand(1), node.operand(2), bias, *states, **settings)  # pyright: ignore[reportArgumentType]
        node.build(built)
        y, *last = built.results
        if batch_first:
            y = node.build(nn.TransposeOp(y, permutation=(2, 0, 1, 3)))
            last = [swapped(node, state) for state in last]
        return [y, *last]

    return import_layer


def check_settings(node: Node, usual: tuple[str, ...]) -> tuple[str, ...]:
    """The activations of one direction. Raises NotInNn for settings that `nn` does not have."""
    stated: tuple[str, ...] = node.attribute("activations", ()) or usual
    activations, others = stated[: len(usual)], stated[len(usual) :]
    known = activations == usual or (len(usual) == 1 and activations[0].lower() in ACTIVATIONS)
    if not known or (others and others != activations):
        raise NotInNn
    if node.has("clip") or node.attribute("input_forget", 0) or node.optional(7) is not None:
        raise NotInNn
    return activations


def check_lengths(node: Node, steps: int) -> None:
    """Raises NotInNn unless every sequence is as long as the tensor."""
    lengths = node.optional(4)
    if lengths is None:
        return
    known = node.builder.constant_of(lengths)
    if known is None or (known != steps).any():
        raise NotInNn


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
