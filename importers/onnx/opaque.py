"""Nodes that `nn` has no op for: they stay ONNX nodes, as `nn.opaque`.

The settings of the op are the node's attributes, and where a node leaves operands or results out,
`ranvier.operands` and `ranvier.results`: the positions of those that it has. Result types come
from ONNX's own inference for this one node, given the values of its constant operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    TensorProto,
    TypeProto,
    checker,
    helper,
    numpy_helper,
    shape_inference,
)
from onnx.reference import ReferenceEvaluator
from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, StringAttr, f64, i64
from xdsl.ir import Attribute, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.interfaces import as_attribute
from ranvier.dialects.nn.constant import dense
from ranvier.dialects.nn.types import UNKNOWN, Tensor, dtype_of, element_of, shape_of, tensor
from ranvier.importers.onnx.model import NEWEST_OPSET, Source, declared_shape
from ranvier.importers.onnx.node import Node, label_of, schema_of
from ranvier.importers.onnx.tensors import array_of, attribute_value, element_of_code
from ranvier.importers.semantics import element_type

OPERANDS, RESULTS = "ranvier.operands", "ranvier.results"
CLASSIC = "ai.onnx.ml"
"""The domain of trees, support vectors and linear models."""

FOLDED_ELEMENTS = 1024
"""ONNX's inference gets the values of constants up to this size: shapes, axes, scales."""


def import_opaque(node: Node, source: Source, graph: GraphProto) -> Sequence[SSAValue]:
    """The node as `nn.opaque`; one value per output, and the first for those left out."""
    present = [position for position, value in enumerate(node.inputs) if value is not None]
    results = [position for position, name in enumerate(node.outputs) if name]
    if not results:
        return []
    settings = {a.name: setting(node, a) for a in node.proto.attribute}
    if present != list(range(len(node.inputs))):
        settings[OPERANDS] = as_attribute(present)
    if results != [0]:
        settings[RESULTS] = as_attribute(results)
    if (node.domain, node.op_type) == (CLASSIC, "SVMClassifier") and node.has("prob_a"):
        node.fail(
            Code.MODEL_UNSUPPORTED,
            "ONNX's own implementation, which would run it, computes other probabilities",
        )
    types = result_types(node, source, graph)
    op = nn.OpaqueOp(
        "ONNX",
        kind_of(node),
        node.opset,
        settings,
        [value for value in node.inputs if value is not None],
        [types[node.outputs[position]] for position in results],
    )
    node.builder.append(op, node.location)
    values = dict(zip(results, op.results, strict=True))
    return [values.get(position, op.results[0]) for position in range(len(node.outputs))]


def import_untyped(node: Node, reason: Reason) -> Sequence[SSAValue]:
    """The node as `nn.opaque` without settings, whose results have no known type."""
    operands = [value for value in node.inputs if value is not None]
    op = nn.OpaqueOp(
        "ONNX", kind_of(node), node.opset, {}, operands, [UNKNOWN] * max(1, len(node.outputs))
    )
    node.builder.keep(op, reason, f"'{label_of(node.proto)}' ({node.op_type})", node.location)
    return op.results


def kind_of(node: Node) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def setting(node: Node, attribute: AttributeProto) -> Attribute:
    """An ONNX attribute as one of the IR."""
    value = attribute_value(attribute)
    match attribute.type:
        case AttributeProto.INT | AttributeProto.FLOAT | AttributeProto.STRING:
            return as_attribute(value)
        case AttributeProto.INTS:
            return DenseArrayBase.from_list(i64, value)
        case AttributeProto.FLOATS:
            return DenseArrayBase.from_list(f64, value)
        case AttributeProto.STRINGS:
            return ArrayAttr([StringAttr(item) for item in value])
        case AttributeProto.TENSOR:
            return dense(array_of(value, node.folder))
        case _:
            kind = AttributeProto.AttributeType.Name(attribute.type)
            node.fail(
                Code.MODEL_UNSUPPORTED,
                f"nn has no {node.op_type} whose attribute '{attribute.name}' is of {kind}",
            )


# -- Result types -----------------------------------------------------------------------------


def result_types(node: Node, source: Source, graph: GraphProto) -> dict[str, Tensor]:
    """A static type for each result that has a name."""
    inferred = infer(node, source)
    tried: dict[str, Tensor] | None = None
    types: dict[str, Tensor] = {}
    for name in filter(None, node.outputs):
        type = static_type(inferred.get(name)) or static_type(declared_type(graph, name))
        if type is None and node.domain == CLASSIC:
            tried = types_of_a_try(node) if tried is None else tried
            type = tried.get(name)
        if type is None:
            node.fail(
                Code.SHAPE_UNKNOWN,
                f"nn has no {node.op_type}, and the shape of its result '{name}' is not known "
                "before it runs",
            )
        types[name] = type
    return types


def types_of_a_try(node: Node) -> dict[str, Tensor]:
    """What ONNX's own implementation makes of zeros, for a domain without inference whose shapes
    never depend on values; nothing if it refuses them, and no results that are not tensors."""
    operands, data = operand_types(node)
    inputs = [helper.make_value_info(name, type) for name, type in operands.items()]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.outputs if name]
    opsets = {"": NEWEST_OPSET, node.domain: node.opset}
    model = helper.make_model(
        helper.make_graph([node.proto], node.op_type, inputs, outputs),
        opset_imports=[helper.make_opsetid(*entry) for entry in opsets.items()],
    )
    feeds = {
        name: numpy_helper.to_array(data[name])
        if name in data
        else np.zeros(shape_of(value), dtype_of(element_of(value)))
        for name, value in zip(node.proto.input, node.inputs, strict=True)
        if value is not None
    }
    try:
        results: Any = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # an implementation in Python, which raises what it likes
        return {}
    return {
        info.name: tensor(result.shape, element_type(result.dtype))
        for info, result in zip(outputs, results, strict=True)
        if isinstance(result, np.ndarray) and result.dtype.kind not in "OSU"
    }


def infer(node: Node, source: Source) -> dict[str, TypeProto]:
    """What ONNX infers for this node alone; nothing if ONNX does not know the op."""
    if (schema := schema_of(node.op_type, node.opset, node.domain)) is None:
        return {}
    types, data = operand_types(node)
    try:
        return shape_inference.infer_node_outputs(
            schema, node.proto, types, data, opset_imports=list(source.model.opset_import)
        )
    except (shape_inference.InferenceError, checker.ValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise node.error(Code.NODE_INVALID, f"ONNX refuses it: {reason}") from error


def operand_types(node: Node) -> tuple[dict[str, TypeProto], dict[str, TensorProto]]:
    """Types of all operands and values of the small constant ones, by name."""
    types: dict[str, TypeProto] = {}
    data: dict[str, TensorProto] = {}
    for name, value in zip(node.proto.input, node.inputs, strict=True):
        if value is None:
            continue
        code = helper.np_dtype_to_tensor_dtype(dtype_of(element_of(value)))
        types[name] = helper.make_tensor_type_proto(code, shape_of(value))
        array = node.builder.constant_of(value)
        if array is not None and array.size <= FOLDED_ELEMENTS:
            data[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
    return types, data


def declared_type(graph: GraphProto, name: str) -> TypeProto | None:
    """What the model itself says of a value: the only source for ops that ONNX does not know."""
    infos = (*graph.value_info, *graph.output)
    return next((info.type for info in infos if info.name == name), None)


def static_type(type: TypeProto | None) -> Tensor | None:
    """The tensor type, or None if it is not static. Raises VerifyException for others."""
    if type is None or not type.HasField("tensor_type"):
        return None
    shape = declared_shape(type)
    if shape is None or not type.tensor_type.elem_type:
        return None
    sizes = tuple(size for size in shape if isinstance(size, int))
    if len(sizes) < len(shape):
        return None
    return tensor(sizes, element_of_code(type.tensor_type.elem_type))
