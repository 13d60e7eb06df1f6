"""What TensorFlow knows of a graph that `nn` does not: types of the results of other ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.nn.types import Tensor as TensorType
from ranvier.dialects.nn.types import tensor as tensor_type
from ranvier.importers.tensorflow.graph import Tensor, tensor_named
from ranvier.importers.tensorflow.model import InputTypes, Model
from ranvier.importers.tensorflow.tensors import element_of_code
from ranvier.program import Shapes
from ranvier.tensorflow.subgraph import graph_of

LOOKUPS = ("LookupTableFind", "LookupTableFindV2")
SINGLE_VALUES = ("HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2")
"""Tables that have one value for each key."""


def types_of(model: Model, shapes: Shapes) -> Mapping[Tensor, TensorType]:
    """Static types of all results that have them. Raises CallerError if TensorFlow objects."""
    graph = tf.compat.v1.GraphDef.FromString(graph_of(model.flat, whole=False))
    for node in graph.node:
        node.attr.pop("_output_shapes", None)
    alike = state_shapes_of_lookups(graph)
    built: Any = tf.Graph()
    with built.as_default():
        fed = {
            str(info.tensor): tf.compat.v1.placeholder(tf.as_dtype(info.dtype), shape)
            for name, shape in InputTypes(model, shapes).shapes().items()
            if (info := model.inputs[name]).tensor.node in model.flat.nodes
        }
        try:
            tf.graph_util.import_graph_def(graph, input_map=fed, name="")
        except (ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise CallerError(
                Code.MODEL_UNSUPPORTED, f"{model.name}: TensorFlow refuses the graph: {reason}"
            ) from error
    results: dict[Tensor, Any] = {
        Tensor(operation.name, position): output
        for operation in built.get_operations()
        for position, output in enumerate(operation.outputs)
    }
    results |= {tensor_named(name): output for name, output in fed.items()}
    results |= {name: results[other] for name, other in alike.items()}
    types = {tensor: static_type(output) for tensor, output in results.items()}
    return {tensor: type for tensor, type in types.items() if type is not None}


def state_shapes_of_lookups(graph: Any) -> dict[Tensor, Tensor]:
    """Reshape what tables of single values give to the shape of the keys, which TensorFlow lacks.

    Returns the results in the place of which others are read.
    """
    tables = {node.name for node in graph.node if node.op in SINGLE_VALUES}
    found: dict[str, str] = {}
    for node in list(graph.node):
        if node.op in LOOKUPS and tensor_named(node.input[0]).node in tables:
            sizes = graph.node.add(op="Shape", name=f"{node.name}/sizes", input=[node.input[1]])
            sizes.attr["T"].CopyFrom(node.attr["Tin"])
            inputs = [node.name, sizes.name]
            stated = graph.node.add(op="Reshape", name=f"{node.name}/stated", input=inputs)
            stated.attr["T"].CopyFrom(node.attr["Tout"])
            found[node.name] = stated.name
    for node in graph.node:
        for place, text in enumerate(node.input):
            name = text.removesuffix(":0")
            if name in found and node.name != found[name]:
                node.input[place] = found[name]
    return {Tensor(name, 0): Tensor(other, 0) for name, other in found.items()}


def static_type(output: Any) -> TensorType | None:
    if not output.shape.is_fully_defined():
        return None
    try:
        element = element_of_code(output.dtype.base_dtype.as_datatype_enum)
    except VerifyException:
        return None
    return tensor_type(tuple(output.shape.as_list()), element)
