"""What a user could type for a variable whose shape nobody knows.

Symbols seldom say the shapes of their inputs. The weights of the op that reads an input say how
many channels or columns it has; what nothing tells is the size of a usual image or sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape, format_shape
from ranvier.importers.mxnet.node import Attributes
from ranvier.importers.mxnet.parameters import CHANNELS_LAST
from ranvier.importers.mxnet.symbol import SymbolGraph, SymbolNode

SIDE, STEPS = 224, 8
"""Of images; of sequences."""
SAME_SHAPE = frozenset(
    "Activation BatchNorm Cast Dropout LeakyReLU _copy amp_cast identity".split()
)


def shape_advice(graph: SymbolGraph, name: str, params: Mapping[str, Array]) -> str:
    """An option with a shape for the variable, and whose demands it meets."""
    found = example(graph, name, params)
    if found is None:
        return f"give its shape, as in --shape {name}=1x3x224x224"
    shape, reader = found
    return f"its reader '{reader.name}' ({reader.op}) takes --shape {name}={format_shape(shape)}"


def example(
    graph: SymbolGraph, name: str, params: Mapping[str, Array]
) -> tuple[Shape, SymbolNode] | None:
    """A shape that the first op with weights takes, through ops that keep shapes."""
    same = {index for index, node in enumerate(graph.nodes) if node.name == name}
    for index, node in enumerate(graph.nodes):
        if not node.inputs or node.inputs[0].node not in same:
            continue
        if node.op in SAME_SHAPE or node.op.endswith("_scalar"):
            same.add(index)
        elif (shape := taken(graph, node, params)) is not None:
            return shape, node
    return None


def taken(graph: SymbolGraph, node: SymbolNode, params: Mapping[str, Array]) -> Shape | None:
    """A shape of the first operand that fits the weight of a node."""
    weight = params.get(graph.nodes[node.inputs[1].node].name) if len(node.inputs) > 1 else None
    if weight is None:
        return None
    attributes = Attributes(node, "symbol")
    match node.op:
        case "Convolution" | "Convolution_v1" if weight.ndim > 2:
            groups, sides = attributes.integer("num_group", 1), (SIDE,) * (weight.ndim - 2)
            if attributes.text("layout", "None") in CHANNELS_LAST:
                return (1, *sides, weight.shape[-1] * groups)
            return (1, weight.shape[1] * groups, *sides)
        case "FullyConnected":
            return (1, prod(weight.shape[1:]))
        case "Embedding":
            return (1, STEPS)
        case _:
            return None
