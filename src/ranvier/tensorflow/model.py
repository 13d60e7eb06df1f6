"""`trace`: compile a TensorFlow 2 function or Keras model ahead of time."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.tensorflow.convert import Converted
from ranvier.tensorflow.flags import read_flags
from ranvier.tensorflow.functions import (
    any_batch,
    convert_function,
    run_converted,
    spec_of,
    static_sizes,
    trace_function,
)
from ranvier.tensorflow.options import Placement
from ranvier.tensorflow.report import LOG, NO_WORK

ENOUGH = 0.5


Model: Any = tf.keras.Model


class AwsNeuronModel(Model):
    """A compiled model: callable with operands like the example's, and a Keras model to others."""

    def __init__(self, function: Any, specs: tuple[Any, dict[str, Any]], ratio: float) -> None:
        super().__init__(trainable=False)
        self._ratio = ratio
        self._specs = specs
        self.aot_function = function
        """The `tf.function` that runs the new graph."""
        self.built = True

    def __call__(self, *arguments: Any, training: bool | None = None, **named: Any) -> Any:
        if training:
            raise CallerError(Code.OPTION_INVALID, "a compiled model does not train")
        return self.aot_function(*arguments, **named)

    def call(self, *arguments: Any, **named: Any) -> Any:
        return self(*arguments, **named)

    @property
    def on_neuron_ratio(self) -> float:
        """Of the operations that do work, the part on the machine."""
        return self._ratio

    def save(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:
        """Write a SavedModel with the signature `serving_default`."""
        path = os.fspath(filepath)
        if not overwrite and Path(path).exists():
            raise FileExistsError(f"{path} exists")
        module: Any = tf.Module()
        module.aot_function = self.aot_function
        module.__call__ = self.aot_function
        arguments, named = self._specs
        concrete = self.aot_function.get_concrete_function(*arguments, **named)
        tf.saved_model.save(module, path, signatures=serving(concrete, self._specs))


def serving(concrete: Any, operands: Any) -> Any:
    """A signature: operands by name, results by name."""
    specs = [
        tf.TensorSpec(tensor.shape, tensor.dtype, spec.name or tensor.name.partition(":")[0])
        for tensor, spec in zip(concrete.inputs, tf.nest.flatten(operands), strict=True)
    ]

    def signature(*flat: Any) -> dict[str, Any]:
        results = tf.nest.flatten(concrete(*flat))
        keys = result_names(concrete.structured_outputs)
        return dict(zip(keys, results, strict=True))

    return tf.function(signature, input_signature=specs)


def result_names(structure: Any) -> list[str]:
    """Keys of a dictionary of results; else they are numbered."""
    if isinstance(structure, Mapping):
        keys = [str(key) for key in sorted(structure)]
        if len(keys) == len(tf.nest.flatten(structure)):
            return keys
    return [f"output_{position}" for position in range(len(tf.nest.flatten(structure)))]


def trace(
    func: Callable[..., Any],
    example_inputs: Any,
    subgraph_builder_function: Callable[[Any], bool] | None = None,
) -> Any:
    """Compile a function or a Keras model for operands like the example.

    A tensor or a list is one operand, a tuple several, a dictionary named ones.
    `subgraph_builder_function` gets each NodeDef; false keeps it in TensorFlow. Options come from
    the environment variable NEURON_CC_FLAGS; placement rules in them (`--rules`) win. Returns an
    `AwsNeuronModel`, or `func` itself if it has no operands. Raises TypeError for resources
    that are no variables.
    """
    flags = read_flags()
    arguments, named = operands_of(example_inputs)
    specs = with_names(func, tf.nest.map_structure(spec_of, (arguments, named)))
    flat = tf.nest.flatten(specs)
    if not flat:
        LOG.warning("the function has no inputs, so nothing is compiled")
        return func

    def call(values: Sequence[Any]) -> Any:
        own, own_named = tf.nest.pack_sequence_as(specs, values)
        return func(*own, **own_named)

    shapes = [static_sizes(position, spec) for position, spec in enumerate(flat)]
    if flags.dynamic_batch_size:
        specs = tf.nest.map_structure(any_batch, specs)
    traced = trace_function(call, tf.nest.flatten(specs))
    converted = convert_function(
        traced,
        getattr(func, "name", None) or getattr(func, "__name__", "function"),
        shapes,
        Placement(wanted=subgraph_builder_function),
        flags.compilation(),
        recovery=not flags.must_compile,
    )
    ratio = on_neuron_ratio(converted)
    if ratio < ENOUGH:
        LOG.warning("only %.0f %% of the operations run on the machine", 100 * ratio)

    def aot_function(*own: Any, **own_named: Any) -> Any:
        return run_converted(converted, traced, tf.nest.flatten((own, own_named)))

    positional, by_name = specs
    compiled = (
        tf.function(aot_function, reduce_retracing=True, autograph=False)
        if by_name
        else tf.function(aot_function, input_signature=positional, autograph=False)
    )
    return AwsNeuronModel(compiled, specs, ratio)


def operands_of(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named operands of an example."""
    if isinstance(example, tuple):
        return example, {}
    if isinstance(example, Mapping):
        return (), dict(example)
    return (example,), {}


def with_names(func: Any, specs: Any) -> Any:
    """Static types named as the inputs of a Keras model, or as a function's parameters."""
    positional, named = specs
    flat = tf.nest.flatten(positional)
    names: list[str] = []
    if isinstance(func, Model):
        names = [tensor.name for tensor in getattr(func, "inputs", None) or ()]
    elif inspect.isroutine(func):
        names = list(inspect.signature(func).parameters)
    if named or len(names) != len(flat):
        return specs
    renamed = [tf.TensorSpec(s.shape, s.dtype, n) for s, n in zip(flat, names, strict=True)]
    return tf.nest.pack_sequence_as(positional, renamed), named


def on_neuron_ratio(converted: Converted) -> float:
    """`1 - left / all`, of the nodes that do work."""
    nodes = converted.model.flat.nodes
    working = {name for name, node in nodes.items() if node.op not in NO_WORK}
    return 1 - len(working & converted.native.keys()) / max(1, len(working))
