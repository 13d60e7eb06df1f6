"""The fused recurrent layers of MXNet, `RNN`.

All weights are one vector: for each layer and direction the input and the state weights, and after
all of them the input and state biases in the same order. Gates are i, f, c, o for LSTM and r, z, n
for GRU; `nn` has i, o, f, c and z, r, n. A layer's directions stand side by side in its output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, shape_of
from ranvier.importers.mxnet.node import Attributes, Node, mx_op


@dataclass(frozen=True)
class Mode:
    """A kind of layer: where each gate of `nn` stands among MXNet's, and its op."""

    gates: tuple[int, ...]
    op: type[TensorOp]
    settings: dict[str, object]


MODES = {
    "rnn_relu": Mode((0,), nn.RnnOp, {"activations": "relu"}),
    "rnn_tanh": Mode((0,), nn.RnnOp, {"activations": "tanh"}),
    "lstm": Mode((0, 3, 1, 2), nn.LstmOp, {}),
    "gru": Mode((1, 0, 2), nn.GruOp, {"reset_after": True}),
}


@dataclass(frozen=True)
class Layers:
    """Geometry of one `RNN` node."""

    mode: Mode
    count: int
    directions: int
    hidden: int
    inputs: int

    def width(self, layer: int) -> int:
        """Inputs of a layer."""
        return self.inputs if layer == 0 else self.hidden * self.directions

    @property
    def rows(self) -> int:
        """Rows of a weight matrix: the hidden units of all gates."""
        return len(self.mode.gates) * self.hidden

    def parameters(self) -> int:
        """Elements of the vector."""
        weights = sum(self.width(layer) + self.hidden for layer in range(self.count))
        return self.directions * self.rows * (weights + 2 * self.count)


@mx_op("RNN")
def import_rnn(node: Node) -> Sequence[SSAValue]:
    """Operands: `[steps, batch, inputs]`, parameters, h and for LSTM c, `[layers, batch, n]`."""
    layers = layers_of(node, node.shape()[-1])
    found = shape_of(node.operand(1))
    if found != (layers.parameters(),):
        node.unsupported(f"the layers take {layers.parameters()} parameters, got {list(found)}")
    value, last = node.operand(0), list[list[SSAValue]]()
    states = [node.operand(position) for position in (2, 3)[: 1 + (layers.mode.op is nn.LstmOp)]]
    pieces = Pieces(node, layers)
    for layer in range(layers.count):
        first, count = layer * layers.directions, layers.directions
        batch = (count, shape_of(value)[1], layers.hidden)
        initial = [node.broadcast(node.slice(s, 0, first, count), batch) for s in states]
        operands = [value, pieces.weights(layer, 0), pieces.weights(layer, 1), pieces.bias(layer)]
        direction = "bidirectional" if count == 2 else "forward"
        build: Any = layers.mode.op  # its states and settings are those of the mode
        op = build(*operands, *initial, direction=direction, **layers.mode.settings)
        node.build(op)
        value = side_by_side(node, op.results[0])
        last.append(list(op.results[1:]))
    if not node.flag("state_outputs"):
        return [value]
    return [value, *(joined(node, list(of_layers), 0) for of_layers in zip(*last, strict=True))]


def layers_of(node: Attributes, inputs: int) -> Layers:
    """The geometry of a node, given the width of its inputs. Raises VerifyException."""
    kind = node.text("mode")
    if kind not in MODES:
        node.unsupported(f"mode is one of {', '.join(MODES)}, got {kind}")
    for name in ("projection_size", "lstm_state_clip_min", "lstm_state_clip_max"):
        if node.has(name):
            node.unsupported(f"{name} is set")
    if node.flag("use_sequence_length"):
        node.unsupported("sequences of different length")
    directions = 2 if node.flag("bidirectional") else 1
    hidden, count = node.integer("state_size"), node.integer("num_layers")
    return Layers(MODES[kind], count, directions, hidden, inputs)


class Pieces:
    """The weights and biases inside the vector, in the gate order of `nn`."""

    def __init__(self, node: Node, layers: Layers) -> None:
        self.node = node
        self.layers = layers
        self.places = dict(self._places())

    def _places(self) -> Iterator[tuple[tuple[int, int, int, bool], tuple[int, int]]]:
        """Start and columns by layer, direction, side (inputs or state) and whether a bias."""
        layers, start = self.layers, 0
        for bias in (False, True):
            for layer in range(layers.count):
                for direction in range(layers.directions):
                    for side, width in enumerate((layers.width(layer), layers.hidden)):
                        columns = 1 if bias else width
                        yield (layer, direction, side, bias), (start, columns)
                        start += layers.rows * columns

    def matrix(self, layer: int, direction: int, side: int, bias: bool) -> SSAValue:
        """`[gates * hidden, columns]`"""
        start, columns = self.places[layer, direction, side, bias]
        node, layers = self.node, self.layers
        flat = node.slice(node.operand(1), 0, start, layers.rows * columns)
        rows = node.reshape(flat, (layers.rows, columns))
        gates = [
            node.slice(rows, 0, gate * layers.hidden, layers.hidden) for gate in layers.mode.gates
        ]
        return joined(node, gates, 0)

    def weights(self, layer: int, side: int) -> SSAValue:
        """`[directions, gates * hidden, columns]`"""
        found = [self.matrix(layer, d, side, False) for d in range(self.layers.directions)]
        shape = shape_of(found[0])
        return joined(self.node, [self.node.reshape(m, (1, *shape)) for m in found], 0)

    def bias(self, layer: int) -> SSAValue:
        """`[directions, 2 * gates * hidden]`"""
        rows = [
            joined(self.node, [self.matrix(layer, d, side, True) for side in (0, 1)], 0)
            for d in range(self.layers.directions)
        ]
        return joined(self.node, [self.node.reshape(r, (1, 2 * self.layers.rows)) for r in rows], 0)


def joined(node: Node, parts: Sequence[SSAValue], axis: int) -> SSAValue:
    return parts[0] if len(parts) == 1 else node.build(nn.ConcatOp(*parts, axis=axis))


def side_by_side(node: Node, value: SSAValue) -> SSAValue:
    """`[steps, directions, batch, hidden]` as `[steps, batch, directions * hidden]`."""
    steps, directions, batch, hidden = shape_of(value)
    turned = node.transpose(value, (0, 2, 1, 3)) if directions > 1 else value
    return node.reshape(turned, (steps, batch, directions * hidden))
