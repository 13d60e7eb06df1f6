"""`fuse`: a decorator whose function becomes `NeuronOp`s where TensorFlow 1 builds a graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import tensorflow as tf

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.tensorflow.functions import (
    any_batch,
    convert_function,
    run_converted,
    trace_function,
)
from ranvier.tensorflow.options import Placement, compilation_of

Function = TypeVar("Function", bound=Callable[..., Any])


def as_it_is(function: Function) -> Function:
    """A function that TensorFlow does not convert where it is called in a graph."""
    return cast(Function, tf.autograph.experimental.do_not_convert(function))


@as_it_is
def fuse(
    func: Callable[..., Any] | None = None,
    *,
    compiler_args: Sequence[str] | None = None,
    name: str | None = None,
    asynchronous: bool = True,
    timeout: float | None = None,
    verbose: int | None = None,
    workdir: str | None = None,
    input_shapes: Sequence[Sequence[int]] | None = None,
    output_shapes: Sequence[Sequence[int]] | None = None,
    batch_size: int | None = None,
    dynamic_batch_size: bool | str = False,
    executable: bytes | None = None,
    grad_func: Callable[..., Any] | None = None,
) -> Any:
    """Compile a function of tensors when it is called; what is no tensor is part of the program.

    Static shapes are those of the operands, `input_shapes`, or `batch_size` for unknown first
    dimensions. `grad_func` is the gradient; without one there is none. `asynchronous`, `verbose`,
    `output_shapes` and `executable` have no effect: each call compiles.
    """
    if func is None:
        return functools.partial(
            fuse,
            compiler_args=compiler_args,
            name=name,
            timeout=timeout,
            workdir=workdir,
            input_shapes=input_shapes,
            batch_size=batch_size,
            dynamic_batch_size=dynamic_batch_size,
            grad_func=grad_func,
        )
    function = func
    compilation = compilation_of(
        compiler_args,
        workdir=workdir,
        timeout=timeout,
        dynamic_batch_size=bool(dynamic_batch_size),
    )

    @functools.wraps(function)
    @as_it_is
    def fused(*arguments: Any, **named: Any) -> Any:
        given = tf.nest.flatten((arguments, named))
        flat = [value for value in given if tf.is_tensor(value)]
        specs = [static_spec(i, t, input_shapes, batch_size) for i, t in enumerate(flat)]
        shapes = [tuple(spec.shape.as_list()) for spec in specs]
        if compilation.dynamic_batch_size:
            specs = list(map(any_batch, specs))

        def call(values: Sequence[Any]) -> Any:
            rest = iter(values)
            filled = [next(rest) if tf.is_tensor(value) else value for value in given]
            own, own_named = tf.nest.pack_sequence_as((arguments, named), filled)
            return function(*own, **own_named)

        traced = trace_function(call, specs)
        label = name or getattr(function, "__name__", "function")
        placement = Placement(minimum_segment_size=1)
        converted = convert_function(traced, label, shapes, placement, compilation)
        if tf.executing_eagerly():
            run = functools.partial(run_converted, converted, traced)
            return tf.function(lambda *own: run(own), autograph=False)(*flat)
        return run_converted(converted, traced, flat)

    return fused if grad_func is None else with_gradient(fused, grad_func)


def with_gradient(function: Callable[..., Any], gradient: Callable[..., Any]) -> Any:
    def both(*arguments: Any) -> Any:
        stopped = tf.nest.map_structure(without_gradient, arguments)
        return function(*stopped), functools.partial(gradient, *arguments)

    return tf.custom_gradient(both)


def without_gradient(value: Any) -> Any:
    """The operand as a constant for gradients: TensorFlow would ask the NeuronOp for its own."""
    return tf.stop_gradient(value) if tf.is_tensor(value) else value


def static_spec(
    position: int, tensor: Any, shapes: Sequence[Sequence[int]] | None, batch: int | None
) -> Any:
    """The static type of an operand. Raises CallerError if its shape is not known."""
    if shapes is not None and position < len(shapes):
        return tf.TensorSpec(list(shapes[position]), tensor.dtype)
    if tensor.shape.rank is None:
        raise CallerError(Code.SHAPE_UNKNOWN, f"operand {position} has no known rank")
    sizes = tensor.shape.as_list()
    if sizes and sizes[0] is None and batch is not None:
        sizes[0] = batch
    if None in sizes:
        raise CallerError(
            Code.SHAPE_UNKNOWN, f"operand {position} is {sizes}; give input_shapes or batch_size"
        )
    return tf.TensorSpec(sizes, tensor.dtype)
