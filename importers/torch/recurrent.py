"""Recurrent layers of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, element_of, shape_of, tensor
from ranvier.importers.torch.call import Call, Handler, torch_op
from ranvier.importers.torch.shape import joined, sliced


@dataclass(frozen=True)
class Layer:
    """A kind of layer: its op, and where each of its gates stands among PyTorch's."""

    op: type[TensorOp]
    gates: Sequence[int]
    settings: dict[str, object]


# PyTorch has i, f, g, o and r, z, n; nn has i, o, f, g and z, r, n.
LAYERS = {
    "lstm": Layer(nn.LstmOp, (0, 3, 1, 2), {}),
    "gru": Layer(nn.GruOp, (1, 0, 2), {"reset_after": True}),
    "rnn_tanh": Layer(nn.RnnOp, (0,), {"activations": "tanh"}),
    "rnn_relu": Layer(nn.RnnOp, (0,), {"activations": "relu"}),
}


def recurrent(layer: Layer) -> Handler:
    """Layers one after another, each in one or both directions, states by layer and direction."""

    def import_layers(call: Call) -> Sequence[SSAValue]:
        if "batch_sizes" in call.arguments:
            call.refuse("it reads packed sequences")
        if call["train"] and call["dropout"]:
            call.refuse(f"a dropout of {call['dropout']} is random")
        states = call.tensors("hx") if layer.op is nn.LstmOp else [call.tensor("hx")]
        x, swapped = call.tensor("input"), bool(call["batch_first"])
        x = call.transpose(x, (1, 0, 2)) if swapped else x
        last: list[Sequence[SSAValue]] = []
        for index in range(call["num_layers"]):
            x, finals = one_layer(call, layer, x, states, index)
            last.append(finals)
        x = call.transpose(x, (1, 0, 2)) if swapped else x
        return [x, *(joined(call, each, 0) for each in zip(*last, strict=True))]

    return import_layers


def one_layer(
    call: Call, layer: Layer, x: SSAValue, states: Sequence[SSAValue], index: int
) -> tuple[SSAValue, Sequence[SSAValue]]:
    """The output of a layer, `steps x batch x directions * hidden`, and its last states."""
    directions = 2 if call["bidirectional"] else 1
    weights = [direction_weights(call, layer, index * directions + d) for d in range(directions)]
    w, r, bias = (joined(call, parts, 0) for parts in zip(*weights, strict=True))
    first = index * directions
    initial = [sliced(call, state, 0, first, first + directions) for state in states]
    direction = "bidirectional" if directions == 2 else "forward"
    op = layer.op(x, w, r, bias, *initial, result_types=None, direction=direction, **layer.settings)
    call.build(op)
    y, *last = op.results
    steps, _, batch, hidden = shape_of(y)
    y = call.transpose(y, (0, 2, 1, 3))
    return call.reshape(y, (steps, batch, directions * hidden)), last


def direction_weights(call: Call, layer: Layer, number: int) -> list[SSAValue]:
    """Weights for inputs and for the state and both biases, gates in the order of `nn`."""
    each = 4 if call["has_biases"] else 2
    w, r, *biases = call.tensors("params")[number * each : (number + 1) * each]
    if len(call.tensors("params")) % each or shape_of(r)[-1] * len(layer.gates) != shape_of(r)[0]:
        call.refuse("its states are projected")
    rows = (shape_of(w)[0],)
    biases = biases or [call.filled(0, tensor(rows, element_of(w)))] * 2
    values = [ordered(call, layer, value) for value in (w, r, *biases)]
    bias = joined(call, values[2:], 0)
    return [call.reshape(value, (1, *shape_of(value))) for value in (*values[:2], bias)]


def ordered(call: Call, layer: Layer, value: SSAValue) -> SSAValue:
    size = shape_of(value)[0] // len(layer.gates)
    parts = [sliced(call, value, 0, gate * size, (gate + 1) * size) for gate in layer.gates]
    return joined(call, parts, 0)


for name, each_layer in LAYERS.items():
    torch_op(name)(recurrent(each_layer))
