"""The shapes of parameters that follow from the operand of the node which reads them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ranvier.dialects.nn.shapes import Shape
from ranvier.importers.mxnet.contraction import CHANNELS_LAST
from ranvier.importers.mxnet.node import Attributes
from ranvier.importers.mxnet.recurrent import layers_of
from ranvier.importers.mxnet.symbol import STATES, Entry, SymbolNode

Rule = Callable[[Attributes, int, Shape], Shape | None]


def parameter_shape(symbol: SymbolNode, position: int, operand: Shape, where: str) -> Shape | None:
    """The shape of operand `position` of a node, given that of its first; None if any may be.

    Raises ModelImportError for a node without the attributes that decide it.
    """
    rule = RULES.get(symbol.op)
    if rule is None or not has_weights(symbol):
        return None
    return rule(Attributes(symbol, where), position, operand)


def weight_entries(node: SymbolNode) -> list[Entry]:
    """What a node reads where weights stand; a recurrent op's states are data."""
    if node.op not in RULES or not has_weights(node):
        return []
    return node.inputs[1 : 2 if node.op == "RNN" else None]


def has_weights(node: SymbolNode) -> bool:
    """Nearest neighbours take several images, bilinear up-sampling one and a weight."""
    return node.op != "UpSampling" or node.attrs.get("sample_type") == "bilinear"


def parameter_dtype(symbol: SymbolNode, operand: np.dtype[Any]) -> np.dtype[Any]:
    """The element type of a parameter that nobody gives: the operand's, but for statistics."""
    follows = operand.kind == "f" and symbol.op not in STATES
    return operand if follows else np.dtype(np.float32)


def convolution(node: Attributes, position: int, operand: Shape) -> Shape | None:
    filters, groups = node.integer("num_filter"), node.integer("num_group", 1)
    if position == 2:
        return (filters,)
    if node.text("layout", "None") in CHANNELS_LAST:
        return (filters, *node.ints("kernel"), operand[-1] // groups)
    return (filters, operand[1] // groups, *node.ints("kernel"))


def deconvolution(node: Attributes, position: int, operand: Shape) -> Shape | None:
    filters, groups = node.integer("num_filter"), node.integer("num_group", 1)
    if position == 2:
        return (filters,)
    return (operand[1], filters // groups, *node.ints("kernel"))


def fully_connected(node: Attributes, position: int, operand: Shape) -> Shape | None:
    hidden = node.integer("num_hidden")
    inputs = prod(operand[1:]) if node.flag("flatten", True) else operand[-1]
    return (hidden, inputs) if position == 1 else (hidden,)


def along(axis: int) -> Rule:
    """One factor for each element of an axis, which an attribute may name."""

    def rule(node: Attributes, position: int, operand: Shape) -> Shape | None:
        return (operand[node.integer("axis", axis)],)

    return rule


def group_norm(node: Attributes, position: int, operand: Shape) -> Shape | None:
    return (node.integer("num_groups", 1),)


def leaky_relu(node: Attributes, position: int, operand: Shape) -> Shape | None:
    return operand[:2][-1:]


def embedding(node: Attributes, position: int, operand: Shape) -> Shape | None:
    return (node.integer("input_dim"), node.integer("output_dim"))


def recurrent(node: Attributes, position: int, operand: Shape) -> Shape | None:
    layers = layers_of(node, operand[-1])
    if position == 1:
        return (layers.parameters(),)
    return (layers.count * layers.directions, operand[1], layers.hidden)


def up_sampling(node: Attributes, position: int, operand: Shape) -> Shape | None:
    scale = node.integer("scale")
    return (operand[1], 1, 2 * scale - scale % 2, 2 * scale - scale % 2)


RULES: dict[str, Rule] = {
    "BatchNorm": along(1),
    "BatchNorm_v1": along(1),
    "_contrib_SyncBatchNorm": along(1),
    "Convolution": convolution,
    "Convolution_v1": convolution,
    "Deconvolution": deconvolution,
    "Embedding": embedding,
    "FullyConnected": fully_connected,
    "GroupNorm": group_norm,
    "InstanceNorm": along(1),
    "LayerNorm": along(-1),
    "LeakyReLU": leaky_relu,
    "RNN": recurrent,
    "UpSampling": up_sampling,
}
