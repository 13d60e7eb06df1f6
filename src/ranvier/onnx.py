"""Runs ONNX ops that `nn` has no definition for, with ONNX's own reference implementation.

This is the provider of framework ONNX in the entry point group `ranvier.opaque`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from xdsl.dialects.builtin import (
    ArrayAttr,
    BytesAttr,
    DenseArrayBase,
    DenseIntOrFPElementsAttr,
    Float64Type,
    StringAttr,
)
from xdsl.ir import Attribute

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array, as_python
from ranvier.dialects.nn.constant import ConstantOp

OPERANDS, RESULTS = "ranvier.operands", "ranvier.results"


def run_opaque(
    op: str, version: int, attributes: Mapping[str, Attribute], arrays: Sequence[Array]
) -> list[Array]:
    """The results of one ONNX op, `domain.Type` or `Type`, of opset `version`.

    `attributes` are the settings of an `nn.opaque`. Two of them are not ONNX's:
    `ranvier.operands` and `ranvier.results` list the positions that the node has where it leaves
    some out. Arrays keep their own element types, bf16 included. Raises CallerError for an op of
    another domain.
    """
    domain, _, op_type = op.rpartition(".")
    inputs = names("i", attributes.get(OPERANDS), len(arrays))
    outputs = names("o", attributes.get(RESULTS), 1)
    node = NodeProto(op_type=op_type, domain=domain, input=inputs, output=outputs)
    node.attribute.extend(
        onnx_attribute(name, value)
        for name, value in attributes.items()
        if name not in (OPERANDS, RESULTS)
    )
    feeds = dict(zip(filter(None, inputs), arrays, strict=True))
    try:
        session = ReferenceEvaluator(one_node_model(node, version, feeds))
    except NotImplementedError as error:
        raise CallerError(
            Code.PROVIDER_MISSING, f"the package onnx, which runs ops of ONNX, has no '{op}'"
        ) from error
    results = session.run(list(filter(None, outputs)), feeds)
    return [np.asarray(result) for result in cast(Sequence[Any], results)]


def names(prefix: str, positions: Attribute | None, count: int) -> list[str]:
    """Names of a node's operands or results: empty at the positions that it leaves out."""
    present = range(count) if positions is None else as_python(positions)
    return [
        f"{prefix}{position}" if position in present else ""
        for position in range(max(present, default=-1) + 1)
    ]


def one_node_model(node: NodeProto, version: int, feeds: Mapping[str, Array]) -> ModelProto:
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    opsets = {"": defs.onnx_opset_version()} | {node.domain: version}
    return helper.make_model(
        helper.make_graph([node], node.op_type, inputs, outputs),
        opset_imports=[helper.make_opsetid(*entry) for entry in opsets.items()],
    )


def onnx_attribute(name: str, value: Attribute) -> AttributeProto:
    """The inverse of the importer's settings."""
    match value:
        case DenseIntOrFPElementsAttr():
            return helper.make_attribute(name, numpy_helper.from_array(ConstantOp(value).array()))
        case ArrayAttr():
            return helper.make_attribute(
                name,
                [item.data for item in value if isinstance(item, StringAttr)],
                attr_type=AttributeProto.STRINGS,
            )
        case DenseArrayBase():
            floats = isinstance(value.elt_type, Float64Type)
            return helper.make_attribute(
                name,
                as_python(value),
                attr_type=AttributeProto.FLOATS if floats else AttributeProto.INTS,
            )
        case BytesAttr():
            return helper.make_attribute(name, value.data)
        case _:
            return helper.make_attribute(name, as_python(value))
