"""The part of TensorFlow's C API that registers an op and its kernel, through ctypes.

The library stands beside TensorFlow's package, so nothing is compiled and no ABI of C++ is used.
Handles are addresses; the functions that TensorFlow calls back must stay alive as long as it does.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.importers.tensorflow.tensors import dtype_of_code

CREATE = CFUNCTYPE(c_void_p, c_void_p)
COMPUTE = CFUNCTYPE(None, c_void_p, c_void_p)
DELETE = CFUNCTYPE(None, c_void_p)
INFER = CFUNCTYPE(None, c_void_p, c_void_p)

INTERNAL, INVALID_ARGUMENT = 13, 3

_NAMES = {"darwin": "libtensorflow_framework.2.dylib"}
_SIGNATURES: dict[str, tuple[Any, Sequence[Any]]] = {
    "TF_NewStatus": (c_void_p, []),
    "TF_DeleteStatus": (None, [c_void_p]),
    "TF_SetStatus": (None, [c_void_p, c_int, c_char_p]),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_NewOpDefinitionBuilder": (c_void_p, [c_char_p]),
    "TF_OpDefinitionBuilderAddAttr": (None, [c_void_p, c_char_p]),
    "TF_OpDefinitionBuilderAddInput": (None, [c_void_p, c_char_p]),
    "TF_OpDefinitionBuilderAddOutput": (None, [c_void_p, c_char_p]),
    "TF_OpDefinitionBuilderSetIsStateful": (None, [c_void_p, ctypes.c_bool]),
    "TF_OpDefinitionBuilderSetShapeInferenceFunction": (None, [c_void_p, INFER]),
    "TF_RegisterOpDefinition": (None, [c_void_p, c_void_p]),
    "TF_ShapeInferenceContextSetUnknownShape": (None, [c_void_p, c_void_p]),
    "TF_NewKernelBuilder": (c_void_p, [c_char_p, c_char_p, CREATE, COMPUTE, DELETE]),
    "TF_RegisterKernelBuilder": (None, [c_char_p, c_void_p, c_void_p]),
    "TF_OpKernelConstruction_GetAttrSize": (
        None,
        [c_void_p, c_char_p, POINTER(c_int32), POINTER(c_int32), c_void_p],
    ),
    "TF_OpKernelConstruction_GetAttrString": (
        None,
        [c_void_p, c_char_p, c_void_p, c_size_t, c_void_p],
    ),
    "TF_OpKernelConstruction_GetAttrInt64List": (
        None,
        [c_void_p, c_char_p, POINTER(c_int64), c_int, c_void_p],
    ),
    "TF_OpKernelConstruction_Failure": (None, [c_void_p, c_void_p]),
    "TF_OpKernelContext_Failure": (None, [c_void_p, c_void_p]),
    "TF_NumInputs": (c_int, [c_void_p]),
    "TF_NumOutputs": (c_int, [c_void_p]),
    "TF_GetInput": (None, [c_void_p, c_int, POINTER(c_void_p), c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_TensorByteSize": (c_size_t, [c_void_p]),
    "TF_DeleteTensor": (None, [c_void_p]),
    "TF_AllocateOutput": (
        c_void_p,
        [c_void_p, c_int, c_int, POINTER(c_int64), c_int, c_size_t, c_void_p],
    ),
}


@cache
def library() -> Any:
    """TensorFlow's library, with the types of its functions."""
    import tensorflow as tf

    name = _NAMES.get(sys.platform, "libtensorflow_framework.so.2")
    loaded = ctypes.CDLL(str(Path(tf.__file__).parent / name))
    for function, (result, arguments) in _SIGNATURES.items():
        found = getattr(loaded, function)
        found.restype, found.argtypes = result, arguments
    return loaded


class Status:
    """A status that a function of the library fills. Raises CallerError when it is not OK."""

    def __enter__(self) -> Any:
        self._handle = library().TF_NewStatus()
        return self._handle

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        code, text = library().TF_GetCode(self._handle), library().TF_Message(self._handle)
        library().TF_DeleteStatus(self._handle)
        if code and kind is None:
            raise CallerError(Code.OPTION_INVALID, f"TensorFlow: {text.decode(errors='replace')}")


def fail(report: Callable[[Any, Any], None], context: Any, error: Exception) -> None:
    """Hand an error to TensorFlow, which raises it in the caller's session or function."""
    code = INVALID_ARGUMENT if isinstance(error, ValueError) else INTERNAL
    status = library().TF_NewStatus()
    library().TF_SetStatus(status, code, str(error).encode())
    report(context, status)
    library().TF_DeleteStatus(status)


# -- Construction -----------------------------------------------------------------------------


def attribute_size(context: Any, name: bytes) -> tuple[int, int]:
    """Length of a list, and total size in bytes or elements."""
    length, total = c_int32(), c_int32()
    with Status() as status:
        library().TF_OpKernelConstruction_GetAttrSize(
            context, name, byref(length), byref(total), status
        )
    return length.value, total.value


def bytes_attribute(context: Any, name: bytes) -> bytes:
    _, size = attribute_size(context, name)
    buffer = ctypes.create_string_buffer(max(1, size))
    with Status() as status:
        library().TF_OpKernelConstruction_GetAttrString(context, name, buffer, size, status)
    return buffer.raw[:size]


def int_list_attribute(context: Any, name: bytes) -> list[int]:
    length, _ = attribute_size(context, name)
    if length <= 0:
        return []
    values = (c_int64 * length)()
    with Status() as status:
        library().TF_OpKernelConstruction_GetAttrInt64List(context, name, values, length, status)
    return list(values)


# -- Execution --------------------------------------------------------------------------------


def view(data: int, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """The memory of a tensor as an array, not copied."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if not size:
        return np.empty(shape, dtype)
    memory: Any = (ctypes.c_char * size).from_address(data)
    return np.frombuffer(memory, dtype).reshape(shape)


def input_array(context: Any, position: int) -> Array:
    """An operand, copied: the array may outlive the tensor."""
    tensor = c_void_p()
    with Status() as status:
        library().TF_GetInput(context, position, byref(tensor), status)
    try:
        shape = [library().TF_Dim(tensor, d) for d in range(library().TF_NumDims(tensor))]
        dtype = dtype_of_code(library().TF_TensorType(tensor))
        return view(library().TF_TensorData(tensor), dtype, shape).copy()
    finally:
        library().TF_DeleteTensor(tensor)


def set_output(context: Any, position: int, array: Array, code: int) -> None:
    dims = (c_int64 * array.ndim)(*array.shape)
    with Status() as status:
        tensor = library().TF_AllocateOutput(
            context, position, code, dims, array.ndim, array.nbytes, status
        )
    if array.nbytes:
        view(library().TF_TensorData(tensor), array.dtype, array.shape)[...] = array
    library().TF_DeleteTensor(tensor)
