"""What TensorFlow knows of a graph that `nn` does not: types of the results of other ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.nn.types import Tensor as TensorType
from ranvier.dialects.nn.types import tensor as tensor_type
from ranvier.importers.tensorflow.graph import Tensor
from ranvier.importers.tensorflow.model import InputTypes, Model
from ranvier.importers.tensorflow.tensors import element_of_code
from ranvier.program import Shapes
from ranvier.tensorflow.subgraph import graph_of, placeholder


def types_of(model: Model, shapes: Shapes) -> Mapping[Tensor, TensorType]:
    """Static types of all results that have them. Raises CallerError if TensorFlow objects."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(graph_of(model.flat, whole=False))
    static = {
        info.tensor.node: placeholder(info.tensor.node, info.dtype, shape)
        for name, shape in InputTypes(model, shapes).shapes().items()
        for info in (model.inputs[name],)
    }
    for node in graph.node:
        node.attr.pop("_output_shapes", None)
        if node.name in static:
            node.ParseFromString(static[node.name].SerializeToString())
    built: Any = tf.Graph()
    with built.as_default():
        try:
            tf.graph_util.import_graph_def(graph, name="")
        except (ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise CallerError(
                Code.MODEL_UNSUPPORTED, f"{model.name}: TensorFlow refuses the graph: {reason}"
            ) from error
    types: dict[Tensor, TensorType] = {}
    for operation in built.get_operations():
        for position, output in enumerate(operation.outputs):
            if (type := static_type(output)) is not None:
                types[Tensor(operation.name, position)] = type
    return types


def static_type(output: Any) -> TensorType | None:
    if not output.shape.is_fully_defined():
        return None
    try:
        element = element_of_code(output.dtype.base_dtype.as_datatype_enum)
    except VerifyException:
        return None
    return tensor_type(tuple(output.shape.as_list()), element)
