"""Recurrent layers of ONNX, whose conventions those of `nn` are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.recurrent import FUNCTIONS, Activation
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_of, shape_of
from ranvier.importers.onnx.control import MAX_ITERATIONS, concat, split
from ranvier.importers.onnx.node import Handler, Node, onnx_op

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
        operands = (x, node.operand(1), node.operand(2), bias, *others)
        settings = settings_of(node, steps)
        if (ends := node.optional(4)) is not None and node.builder.constant_of(ends) is None:
            y, *last = by_steps(node, op, operands, settings, ends)
        else:
            built = op(*operands, **settings)
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
    """The lengths of the sequences, or None if all have every step or they are not constant."""
    if (operand := node.optional(4)) is None:
        return None
    if (known := node.builder.constant_of(operand)) is None:
        return None
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


# -- Lengths that depend on an input ----------------------------------------------------------


def by_steps(
    node: Node,
    op: type[TensorOp],
    operands: Sequence[SSAValue],
    settings: dict[str, Any],
    lengths: SSAValue,
) -> list[SSAValue]:
    """A layer for each step: beyond a sequence's end its outputs are 0 and its states stay."""
    x, *of_directions = operands
    (steps, batch, _), directions = shape_of(x), shape_of(of_directions[0])[0]
    if steps * directions > MAX_ITERATIONS:
        node.fail(
            Code.MODEL_UNSUPPORTED,
            f"lengths that are no constants take at most {MAX_ITERATIONS} steps, got {steps}",
        )
    numbers = np.arange(steps, dtype=dtype_of(element_of(lengths)))[:, None]
    valid = node.build(nn.LessOp(node.build_constant(numbers), lengths))
    masks = [
        node.build(nn.ReshapeOp(mask, shape=(1, batch, 1)))
        for mask in split(node, valid, 0, [1] * steps)
    ]
    inputs = split(node, x, 0, [1] * steps)
    found: list[list[SSAValue]] = []
    for d in range(directions):
        own = [split(node, value, 0, [1] * directions)[d] for value in of_directions]
        backward = settings["direction"] == "reverse" or d == 1
        each = settings | {"direction": "forward"} | activations_at(settings, d, directions)
        over = list(zip(inputs, masks, strict=True))[:: -1 if backward else 1]
        y, states = one_direction(node, op, over, own, each)
        found.append([concat(node, y[:: -1 if backward else 1], 0), *states])
    y, *last = zip(*found, strict=True)
    return [concat(node, y, 1), *(concat(node, states, 0) for states in last)]


def one_direction(
    node: Node,
    op: type[TensorOp],
    over: Sequence[tuple[SSAValue, SSAValue]],
    own: Sequence[SSAValue],
    settings: dict[str, Any],
) -> tuple[list[SSAValue], list[SSAValue]]:
    """The outputs of all steps, and the states after the last one."""
    count = 2 if op is nn.LstmOp else 1
    weights, states, rest = own[:3], list(own[3 : 3 + count]), own[3 + count :]
    zero = zeros(node, (1, *shape_of(states[0])))
    outputs: list[SSAValue] = []
    for x, mask in over:
        built = op(x, *weights, *states, *rest, **settings)
        node.build(built)
        y, *after = built.results
        outputs.append(node.build(nn.SelectOp(mask, y, zero)))
        states = [
            node.build(nn.SelectOp(mask, new, old)) for new, old in zip(after, states, strict=True)
        ]
    return outputs, states


def activations_at(settings: dict[str, Any], direction: int, directions: int) -> dict[str, str]:
    """The activations of one direction, where they are stated."""
    if "activations" not in settings:
        return {}
    names = Activation.parse(settings["activations"])
    count = len(names) // directions
    return {"activations": ", ".join(map(str, names[direction * count :][:count]))}


for name in LAYERS:
    onnx_op(name)(layer(name))
