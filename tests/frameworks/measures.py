"""How far outputs are apart, and how much work an ONNX model is, by onnxruntime's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

Array = np.ndarray[Any, np.dtype[Any]]
Shapes = Mapping[str, tuple[int, ...]]
RECURRENT = ("RNN", "GRU", "LSTM")
CONTRACTIONS = ("Conv", "ConvTranspose", "Gemm", "MatMul", *RECURRENT)


def relative_error(actual: Array, expected: Array) -> float:
    """Root mean square of the difference over the deviation of what is expected."""
    return float(np.sqrt(np.mean((actual - expected) ** 2)) / expected.std())


def worst_error(actual: Array, expected: Array) -> float:
    """The largest difference over the deviation of what is expected."""
    return float(np.abs(actual - expected).max() / expected.std())


def multiply_accumulates(path: Path, inputs: Mapping[str, Array]) -> int:
    """Products that convolutions, matrix products and recurrent layers of an ONNX file add up."""
    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.op_type in CONTRACTIONS]
    values = {value for node in nodes for value in (*operands(node), node.output[0])}
    shapes = observed_shapes(model, values, inputs)
    return sum(products(node, shapes) for node in nodes)


def resampling_products(path: Path, inputs: Mapping[str, Array]) -> int:
    """Those of images that are resized by matrices, first the rows and then the columns."""
    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.op_type == "Resize"]
    if not nodes:
        return 0
    values = {value for node in nodes for value in (node.input[0], node.output[0])}
    shapes = observed_shapes(model, values, inputs)
    total = 0
    for node in nodes:
        (*outer, height, width), new = shapes[node.input[0]], shapes[node.output[0]]
        total += prod(outer) * new[2] * width * (height + new[3])
    return total


def operands(node: onnx.NodeProto) -> list[str]:
    """What is multiplied: two tensors, or the input and the two weights of a recurrent layer."""
    return list(node.input[: 3 if node.op_type in RECURRENT else 2])


def observed_shapes(
    model: onnx.ModelProto, values: set[str], inputs: Mapping[str, Array]
) -> dict[str, tuple[int, ...]]:
    """Shapes of some values of a model while onnxruntime runs it."""
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    shapes |= {name: array.shape for name, array in inputs.items()}
    wanted = sorted(values - shapes.keys())
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
    outputs = onnxruntime.InferenceSession(model.SerializeToString()).run(None, dict(inputs))
    return shapes | {name: array.shape for name, array in zip(wanted, outputs, strict=True)}


def products(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Elements of the result, times the products summed into each."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    lhs, rhs, *state = (shapes[name] for name in operands(node))
    if node.op_type == "ConvTranspose":  # every element of the operand times its kernel
        return prod(lhs) * prod(rhs[1:])
    if state:
        return prod(lhs[:2]) * (prod(rhs) + prod(state[0]))
    if node.op_type == "Conv":
        summed = prod(rhs[1:])
    else:
        summed = lhs[0] if attributes.get("transA") else lhs[-1]
    return prod(shapes[node.output[0]]) * summed
