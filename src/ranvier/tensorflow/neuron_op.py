"""`NeuronOp`: a TensorFlow op that runs a compiled program. Importing this registers it.

Its attributes are those of the first Neuron integration, so that its graphs and tools read ours:
the subgraph and its interface, and the NEFF file itself as `executable`.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from ranvier.importers.tensorflow.tensors import code_of_dtype
from ranvier.program import Program
from ranvier.tensorflow import capi
from ranvier.tensorflow.batch import run_in_batches

OP = "NeuronOp"
ATTRIBUTES = (
    "graph_def: string = ''",
    "input_names: list(string) >= 0 = []",
    "input_dtypes: list(type) >= 0",
    "input_shapes: list(shape) >= 0 = []",
    "output_names: list(string) >= 0 = []",
    "output_dtypes: list(type) >= 0",
    "output_shapes: list(shape) >= 0 = []",
    "executable: string = ''",
    "input_batch_axis: list(int) >= 0 = []",
    "output_batch_axis: list(int) >= 0 = []",
    "model_config: list(int) >= 0 = []",
)


class Kernel:
    """The program of one op. Calls take turns: the machine has one state."""

    def __init__(self, executable: bytes, input_axes: list[int], output_axes: list[int]) -> None:
        self.input_axes = input_axes
        self.output_axes = output_axes
        self._lock = threading.Lock()
        handle, path = tempfile.mkstemp(prefix="ranvier-", suffix=".neff")
        with os.fdopen(handle, "wb") as stream:
            stream.write(executable)
        try:
            self.program = Program(Path(path), owned=True)
        except BaseException:
            os.unlink(path)
            raise

    def compute(self, context: Any) -> None:
        arrays = [
            capi.input_array(context, position)
            for position in range(capi.library().TF_NumInputs(context))
        ]
        began = time.perf_counter()
        with self._lock:
            outputs = run_in_batches(self.program, arrays, self.input_axes, self.output_axes)
        for observe in tuple(OBSERVERS):
            observe(began, time.perf_counter())
        for position, array in enumerate(outputs):
            capi.set_output(context, position, array, code_of_dtype(array.dtype))


OBSERVERS: list[Callable[[float, float], None]] = []
"""Told of each run of any op, when it began and ended, in seconds of `perf_counter`."""
_KERNELS: dict[int, Kernel] = {}
_NUMBERS = count(1)


def create(context: Any) -> int | None:
    try:
        executable = capi.bytes_attribute(context, b"executable")
        if not executable:
            raise ValueError("the NeuronOp has no executable: it was not compiled")
        axes = [
            capi.int_list_attribute(context, name)
            for name in (b"input_batch_axis", b"output_batch_axis")
        ]
        number = next(_NUMBERS)
        _KERNELS[number] = Kernel(executable, *axes)
        return number
    except Exception as error:  # what must not pass through C
        capi.fail(capi.library().TF_OpKernelConstruction_Failure, context, error)
        return None


def compute(number: Any, context: Any) -> None:
    try:
        _KERNELS[number].compute(context)
    except Exception as error:
        capi.fail(capi.library().TF_OpKernelContext_Failure, context, error)


def delete(number: Any) -> None:
    _KERNELS.pop(number, None)


def infer(context: Any, status: Any) -> None:
    """Shapes stand in the attribute `_output_shapes`, which graphs read when they are imported."""
    capi.library().TF_ShapeInferenceContextSetUnknownShape(context, status)


CALLBACKS: tuple[Callable[..., Any], ...] = (
    capi.CREATE(create),
    capi.COMPUTE(compute),
    capi.DELETE(delete),
    capi.INFER(infer),
)
"""Referred to by TensorFlow as long as the process lives."""


@cache
def register() -> None:
    """Make the op known to this process, once."""
    library = capi.library()
    builder = library.TF_NewOpDefinitionBuilder(OP.encode())
    for attribute in ATTRIBUTES:
        library.TF_OpDefinitionBuilderAddAttr(builder, attribute.encode())
    library.TF_OpDefinitionBuilderAddInput(builder, b"input_tensors: input_dtypes")
    library.TF_OpDefinitionBuilderAddOutput(builder, b"output_tensors: output_dtypes")
    library.TF_OpDefinitionBuilderSetIsStateful(builder, True)
    library.TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, CALLBACKS[3])
    with capi.Status() as status:
        library.TF_RegisterOpDefinition(builder, status)
    kernel = library.TF_NewKernelBuilder(OP.encode(), b"CPU", *CALLBACKS[:3])
    with capi.Status() as status:
        library.TF_RegisterKernelBuilder(b"RanvierNeuronOp", kernel, status)
