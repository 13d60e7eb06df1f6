"""What ONNX itself says an op stands for: the function bodies of its schemas.

An op that `nn` lacks and that ONNX defines by others, such as Attention or Mish, is imported by
its definition; all of that carries the location of the one node.
"""

from __future__ import annotations

from typing import Any

from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto, defs, helper

from ranvier.dialects.nn.types import dtype_of, element_of, shape_of
from ranvier.importers.onnx.node import Node, schema_of


def function_of(node: Node) -> FunctionProto | None:
    """The definition of the node's op, with its attributes filled in; None if it has none."""
    schema: Any = schema_of(node.op_type, node.opset, node.domain)  # its stubs lack functions
    if schema is None:
        return None
    if schema.has_function:
        versions = schema.function_opset_versions
        text = schema.get_function_with_opset_version(chosen(versions, node.opset))
    elif schema.has_context_dependent_function:
        version = chosen(schema.context_dependent_function_opset_versions, node.opset)
        text = schema.get_context_dependent_function_with_opset_version(
            version, complete(node, schema).SerializeToString(), operand_types(node)
        )
    else:
        return None
    function = FunctionProto()
    function.ParseFromString(text)
    given = attributes_of(node, schema)
    for inner in function.node:
        fill_in(inner, given)
    return function if function.node else None


def chosen(versions: list[int], opset: int) -> int:
    """The newest form of a definition that an opset has, or the oldest."""
    return max((version for version in versions if version <= opset), default=min(versions))


def attributes_of(node: Node, schema: defs.OpSchema) -> dict[str, AttributeProto]:
    """The node's attributes, and the defaults of those that it leaves out."""
    defaults = {
        name: declared.default_value
        for name, declared in schema.attributes.items()
        if declared.default_value.type != AttributeProto.UNDEFINED
    }
    return defaults | {attribute.name: attribute for attribute in node.proto.attribute}


def complete(node: Node, schema: defs.OpSchema) -> NodeProto:
    """The node with all defaults spelled out."""
    proto = NodeProto()
    proto.CopyFrom(node.proto)
    del proto.attribute[:]
    proto.attribute.extend(attributes_of(node, schema).values())
    return proto


def operand_types(node: Node) -> list[bytes]:
    types = [
        TypeProto()
        if value is None
        else helper.make_tensor_type_proto(
            helper.np_dtype_to_tensor_dtype(dtype_of(element_of(value))), shape_of(value)
        )
        for value in node.inputs
    ]
    return [type.SerializeToString() for type in types]


def fill_in(inner: NodeProto, given: dict[str, AttributeProto]) -> None:
    """Put the caller's attributes in place of references to them."""
    attributes: list[AttributeProto] = []
    for attribute in inner.attribute:
        if not attribute.ref_attr_name:
            attributes.append(attribute)
        elif (value := given.get(attribute.ref_attr_name)) is not None:
            filled = AttributeProto()
            filled.CopyFrom(value)
            filled.name = attribute.name
            attributes.append(filled)
    kept = NodeProto(attribute=attributes)  # a copy: deleting invalidates what was in the list
    del inner.attribute[:]
    inner.attribute.extend(kept.attribute)
