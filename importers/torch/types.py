"""Tensors of PyTorch in the terms of `nn`: element types, shapes, and arrays that share memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch
from xdsl.dialects.builtin import UNKNOWN_LOC, LocationAttr
from xdsl.ir import Attribute

from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import Tensor, element_type_of, tensor
from ranvier.importers.builder import named
from ranvier.importers.sources import source_line

_DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.bfloat16: np.dtype(ml_dtypes.bfloat16),
    torch.float16: np.dtype(np.float16),
    torch.float64: np.dtype(np.float64),
    torch.bool: np.dtype(np.bool_),
    torch.int8: np.dtype(np.int8),
    torch.uint8: np.dtype(np.uint8),
    torch.int16: np.dtype(np.int16),
    torch.int32: np.dtype(np.int32),
    torch.int64: np.dtype(np.int64),
}
_TORCH = {dtype: own for own, dtype in _DTYPES.items()}


def element_of_dtype(dtype: torch.dtype) -> Attribute | None:
    """The element type of a torch type, or None if `nn` has none."""
    return None if dtype not in _DTYPES else element_type_of(_DTYPES[dtype])


def tensor_type(value: torch.Tensor) -> Tensor | None:
    """The type of a tensor, or None if `nn` holds none like it: complex, sparse, not static."""
    element = element_of_dtype(value.dtype)
    sizes = tuple(size for size in value.shape if type(size) is int)
    if element is None or len(sizes) < value.dim() or value.layout is not torch.strided:
        return None
    return tensor(sizes, element)


def array_of(value: torch.Tensor) -> Array:
    """The elements of a tensor of the host. Contiguous ones share memory with it."""
    value = value.detach().resolve_conj().resolve_neg()
    if value.dtype == torch.bfloat16:  # which NumPy lacks, and torch does not hand over
        return value.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


def tensor_of(array: Array) -> torch.Tensor:
    """A tensor with a copy of the array."""
    if array.dtype == np.dtype(ml_dtypes.bfloat16):
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(array, order="C"))


def dtype_of_array(array: Array) -> torch.dtype:
    return _TORCH[array.dtype]


def op_location(name: str, op: str, trace: str) -> LocationAttr:
    """`loc("<name>"("<op>"("<file>":<line>:0)))`, of the innermost frame that is not torch's own.

    `trace` lists frames as a Python traceback does, or as TorchScript does, innermost first.
    """
    return named(name, named(op, source_line(trace) or UNKNOWN_LOC))


@dataclass(frozen=True)
class Place:
    """Where a call stands: its node's name in the graph, its name in locations, its source."""

    node: str
    name: str
    trace: str = ""
    unused: frozenset[int] = frozenset()
    """Results that nothing reads, by position."""
    stated: Any = None
    """Tensors of the types that the graph states of the results."""

    def location(self, op: str) -> LocationAttr:
        return op_location(self.name, op, self.trace)
