"""TensorFlow's element types, tensors and attributes as NumPy arrays and Python values."""

from __future__ import annotations

from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from xdsl.ir import Attribute
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape
from ranvier.importers.semantics import element_type
from ranvier.importers.tensorflow.protos import Message, TensorProto

RESOURCE, VARIANT, STRING = 20, 21, 7
REF = 100
"""Added to the code of a reference to a variable."""

DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    4: np.dtype(np.uint8),
    5: np.dtype(np.int16),
    6: np.dtype(np.int8),
    9: np.dtype(np.int64),
    10: np.dtype(np.bool_),
    14: np.dtype(ml_dtypes.bfloat16),
    17: np.dtype(np.uint16),
    19: np.dtype(np.float16),
    22: np.dtype(np.uint32),
    23: np.dtype(np.uint64),
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_OTHERS = {
    7: "string",
    8: "complex64",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    18: "complex128",
    20: "resource",
    21: "variant",
}
_VALUES = {
    "f4": "float_val",
    "f8": "double_val",
    "i8": "int64_val",
    "b1": "bool_val",
    "u4": "uint32_val",
    "u8": "uint64_val",
}


def dtype_of_code(code: int) -> np.dtype[Any]:
    """The NumPy type of a `DataType`. Raises VerifyException if no array holds it."""
    if (dtype := DTYPES.get(code % REF)) is None:
        name = _OTHERS.get(code % REF, f"number {code}")
        raise VerifyException(f"element type {name} is not supported")
    return dtype


def code_of_dtype(dtype: np.dtype[Any]) -> int:
    return _CODES[dtype]


def element_of_code(code: int) -> Attribute:
    """The element type of a `DataType`. Raises VerifyException if `nn` has none."""
    return element_type(dtype_of_code(code))


def shape_of_proto(shape: Message) -> tuple[int, ...] | None:
    """Sizes, -1 where unknown; None if not even the rank is known."""
    if shape.unknown_rank:
        return None
    return tuple(max(-1, int(dim.size)) for dim in shape.dim)


def static_shape(shape: Message) -> Shape | None:
    sizes = shape_of_proto(shape)
    return None if sizes is None or -1 in sizes else sizes


def array_of(tensor: Message) -> Array:
    """The values of a tensor, read-only. Raises VerifyException if they do not fill its shape.

    One value may stand for all: then the array repeats it and takes no memory.
    """
    dtype, shape = dtype_of_code(tensor.dtype), static_shape(tensor.tensor_shape)
    if shape is None:
        raise VerifyException("a tensor has no static shape")
    if content := tensor.tensor_content:
        if len(content) != prod(shape) * dtype.itemsize:
            raise VerifyException(
                f"{len(content)} bytes do not fill {prod(shape)} elements of {dtype}"
            )
        return np.frombuffer(content, dtype).reshape(shape)
    values = _listed_values(tensor, dtype)
    if len(values) == prod(shape):
        return values.reshape(shape)
    if len(values) > 1:
        if len(values) > prod(shape):
            raise VerifyException(f"{len(values)} values overfill {prod(shape)} elements")
        # The last value repeats. Its repetitions are as large as the file says: bound them.
        if prod(shape) > 1 << 28:
            raise VerifyException(f"{len(values)} values stand for {prod(shape)} elements")
        tail = np.full(prod(shape) - len(values), values[-1], dtype)
        return np.concatenate([values, tail]).reshape(shape)
    return np.broadcast_to(values[0] if len(values) else np.zeros((), dtype), shape)


def _listed_values(tensor: Message, dtype: np.dtype[Any]) -> Array:
    """The values that a tensor lists one by one; halves are listed by their bits."""
    if dtype.name in ("float16", "bfloat16"):
        return np.array(tensor.half_val, np.int32).astype(np.uint16).view(dtype)
    values = getattr(tensor, _VALUES.get(dtype.str[1:], "int_val"))
    return np.array(values, np.int64 if dtype.kind in "iu" else dtype).astype(dtype)


def is_repeated(array: Array) -> bool:
    """Whether one value stands for all."""
    return array.size > 1 and not any(array.strides)


def proto_of_array(array: Array) -> Message:
    """A tensor with the array's bytes."""
    proto = TensorProto(dtype=code_of_dtype(array.dtype))
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if is_repeated(array):
        array = array.reshape(-1)[:1]
        proto.tensor_content = b""
        set_one_value(proto, array)
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    return proto


def set_one_value(proto: Message, array: Array) -> None:
    """List the one value that all elements have."""
    dtype = array.dtype
    if dtype.name in ("float16", "bfloat16"):
        proto.half_val.append(int(array.view(np.uint16)[0]))
        return
    getattr(proto, _VALUES.get(dtype.str[1:], "int_val")).append(array[0].item())


def attribute_value(attribute: Message) -> Any:
    """A Python value: bytes, int, float, bool, a tensor or shape message, or a tuple of them."""
    kind = attribute.WhichOneof("value")
    if kind is None:
        return None
    if kind != "list":
        return getattr(attribute, kind)
    lists = attribute.list
    return tuple(
        item
        for name in ("s", "i", "f", "b", "type", "shape", "tensor", "func")
        for item in getattr(lists, name)
    )
