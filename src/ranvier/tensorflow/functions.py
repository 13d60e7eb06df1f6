"""Convert what TensorFlow traces: functions and Keras models become functions of `NeuronOp`s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (  # no public name
    convert_variables_to_constants_v2,
)

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.importers.tensorflow.flatten import flatten
from ranvier.importers.tensorflow.graph import Tensor, tensor_named
from ranvier.importers.tensorflow.model import InputInfo, Model, NoVariables
from ranvier.importers.tensorflow.protos import GraphDef, Message
from ranvier.tensorflow.convert import Converted, Converter
from ranvier.tensorflow.inference import types_of
from ranvier.tensorflow.options import Compilation, Placement

LARGEST = (1 << 31) - 1


@dataclass(frozen=True)
class Traced:
    """A function as TensorFlow traced it for some operands, its variables constant."""

    function: Any
    """The ConcreteFunction."""
    results: Any
    """Its results, in the structure that the caller gets."""
    graph: Message
    inputs: Sequence[str]
    """Names of placeholder tensors, in the order of the flat operands."""
    outputs: Sequence[str]

    def model(self, name: str) -> Model:
        ends = self.ends()
        place = f"function '{name}'"
        tensors = [self.function.graph.as_graph_element(text) for text in self.inputs]
        inputs = {
            text: InputInfo(
                tensor_named(text),
                tensor.dtype.base_dtype.as_datatype_enum,
                declared_shape(tensor.shape),
            )
            for text, tensor in zip(self.inputs, tensors, strict=True)
        }
        flat = flatten(
            self.graph,
            list(ends.values()),
            inputs={info.tensor.node for info in inputs.values()},
            variables=NoVariables(place),
            place=place,
        )
        identity = sha256(self.graph.SerializeToString(deterministic=True)).hexdigest()
        outputs = dict(zip(ends, flat.outputs, strict=True))
        return Model(name, identity, flat, inputs, outputs)

    def ends(self) -> dict[str, Tensor]:
        return {f"output_{i}": tensor_named(text) for i, text in enumerate(self.outputs)}


def declared_shape(shape: Any) -> tuple[int, ...] | None:
    if shape.rank is None:
        return None
    return tuple(-1 if size is None else int(size) for size in shape.as_list())


def trace_function(call: Callable[[Sequence[Any]], Any], specs: Sequence[Any]) -> Traced:
    """Trace a function of flat operands and freeze its variables.

    Raises ValueError if the frozen graph is too large for a message, or if there are no results,
    TypeError for resources that are no variables.
    """
    concrete = tf.function(lambda *flat: call(flat)).get_concrete_function(*specs)
    if not concrete.outputs:
        raise CallerError(Code.MODEL_EMPTY, "the function has no result that is a tensor")
    try:
        frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        reason = str(error).splitlines()[0]
        raise TypeError(f"its resources do not become constants: {reason}") from error
    held = [tensor for tensor in frozen.inputs if tensor.dtype == tf.resource]
    if held:
        raise TypeError(f"operand '{held[0].name}' is a resource that is no variable")
    graph_def = frozen.graph.as_graph_def()
    if graph_def.ByteSize() > LARGEST:
        raise ValueError(
            f"the frozen function has {graph_def.ByteSize()} bytes, a graph at most {LARGEST}; "
            "convert it with --extract-weights"
        )
    return Traced(
        frozen,
        concrete.structured_outputs,
        GraphDef.FromString(graph_def.SerializeToString()),
        [tensor.name for tensor in frozen.inputs],
        [tensor.name for tensor in frozen.outputs],
    )


def spec_of(value: Any) -> Any:
    """The static type of an operand; what is no tensor stays as it is."""
    if isinstance(value, tf.TensorSpec):
        return value
    tensor = tf.convert_to_tensor(value)
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def static_sizes(position: int, spec: Any) -> tuple[int, ...]:
    """The shape of an operand. Raises CallerError if it is not known."""
    if spec.shape.rank is None or None in spec.shape.as_list():
        raise CallerError(
            Code.SHAPE_UNKNOWN, f"operand {position} of the example is {spec.shape}, not static"
        )
    return tuple(spec.shape.as_list())


def any_batch(spec: Any) -> Any:
    """The static type with a first dimension of any size."""
    if not spec.shape.rank:
        return spec
    return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype, spec.name)


def convert_function(
    traced: Traced,
    name: str,
    shapes: Sequence[tuple[int, ...]],
    placement: Placement,
    compilation: Compilation,
    *,
    recovery: bool = True,
) -> Converted:
    """Compile what the machine runs of a traced function, for operands of these shapes."""
    model = traced.model(name)
    dtypes = {
        key: tensor.dtype.base_dtype.as_datatype_enum
        for key, tensor in zip(traced.ends(), traced.function.outputs, strict=True)
    }
    given = dict(zip(traced.inputs, shapes, strict=True))
    return Converter(
        model, traced.ends(), dtypes, given, placement, compilation, types_of, recovery
    ).run()


def run_converted(converted: Converted, traced: Traced, flat: Sequence[Any]) -> Any:
    """The results of the new graph on flat operands, put into the graph that is being built."""
    graph = GraphDef()
    graph.node.extend(converted.nodes)
    graph.library.function.extend(converted.functions.values())
    graph.versions.producer = tf.version.GRAPH_DEF_VERSION
    results = tf.graph_util.import_graph_def(
        tf.compat.v1.GraphDef.FromString(graph.SerializeToString()),
        input_map=dict(zip(traced.inputs, flat, strict=True)),
        return_elements=list(traced.outputs),
        name="neuron",
    )
    listed = iter(results)
    flat_results = tf.nest.flatten(traced.results, expand_composites=True)
    filled = [None if result is None else next(listed) for result in flat_results]
    return tf.nest.pack_sequence_as(traced.results, filled, expand_composites=True)
