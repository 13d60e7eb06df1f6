"""ONNX tensors and attributes as NumPy arrays and Python values.

External data are mapped, not read: a model may be larger than memory. Its path must stay inside
the folder of the model, since a model is untrusted input.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from xdsl.ir import Attribute
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import NoSuchTensor
from ranvier.importers.semantics import element_type


def dtype_of_code(code: int) -> np.dtype[Any]:
    """The NumPy type of a `TensorProto.DataType`. Raises VerifyException for an unknown code."""
    try:
        return helper.tensor_dtype_to_np_dtype(code)
    except KeyError:
        raise VerifyException(f"unknown element type code {code}") from None


def element_of_code(code: int) -> Attribute:
    """The element type of a `TensorProto.DataType`. Raises VerifyException if `nn` has none."""
    if code == TensorProto.STRING:
        raise NoSuchTensor("tensors of strings are not supported")
    return element_type(dtype_of_code(code))


def array_of(tensor: TensorProto, folder: Path) -> Array:
    """The values of a tensor; external data are mapped. Raises VerifyException if it has none."""
    element_of_code(tensor.data_type)
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external(tensor, folder)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise VerifyException(f"invalid tensor '{tensor.name}': {error}") from error


def _external(tensor: TensorProto, folder: Path) -> Array:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    path, root = (folder / location).resolve(), folder.resolve()
    if not location or not path.is_relative_to(root):
        raise VerifyException(
            f"external data '{location}' of '{tensor.name}' lie outside the model's folder"
        )
    if not path.is_file():
        raise VerifyException(f"external data '{location}' of '{tensor.name}' are missing")
    dtype, shape = dtype_of_code(tensor.data_type), tuple(tensor.dims)
    length = prod(shape) * dtype.itemsize
    try:
        offset, stated = int(entries.get("offset", 0)), int(entries.get("length", length))
    except ValueError as error:
        raise VerifyException(f"external data of '{tensor.name}': {error}") from error
    if stated != length or offset < 0 or offset + length > path.stat().st_size:
        raise VerifyException(
            f"'{tensor.name}' needs {length} bytes at {offset} of '{location}', which has "
            f"{path.stat().st_size} bytes and states {stated}"
        )
    if length == 0:
        return np.empty(shape, dtype)
    data: Array = np.memmap(path, np.uint8, "r", offset, (length,))
    return data.view(dtype).reshape(shape)


def attribute_value(attribute: AttributeProto) -> Any:
    """A Python value: int, float, str, a tuple of one of them, or a TensorProto."""
    value = helper.get_attribute_value(attribute)
    match attribute.type:
        case AttributeProto.STRING:
            return value.decode("utf-8", "surrogateescape")
        case AttributeProto.STRINGS:
            return tuple(item.decode("utf-8", "surrogateescape") for item in value)
        case AttributeProto.INTS | AttributeProto.FLOATS:
            return tuple(value)
        case _:
            return value
