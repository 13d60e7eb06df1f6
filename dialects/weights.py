"""Where the bytes of weights are: safetensors files, mapped read-only, and arrays of this process.

The text of the IR names weights and never holds their bytes. An array of this process lives as long
as an `nn.weight` that names it, or another owner of what `register` gives. A module is a cycle of
objects, and Python collects those by their number, not by their bytes: so the store asks for a
collection when the bytes that it knows have doubled. Relative paths start at `directory`, which a
tool sets to the folder of the IR file; it is the working directory otherwise.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.files import completed
from ranvier.dialects.interfaces import Array

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_HEADER_LIMIT = 100 << 20
_COLLECTED = 64 << 20
"""New bytes from which on a collection may pay: it takes as long as the hash of so many."""
_MOST_FILES = 64
"""Mapped at a time by the store; each holds a descriptor. Tensors in use keep their own map."""


def sha256_of(array: Array) -> str:
    """SHA-256 of the row-major bytes, as 64 hex digits."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return hashlib.sha256(flat.data).hexdigest()


@dataclass(frozen=True, eq=False)
class Registered:
    """An array of this process, read-only. The store knows it while somebody has this."""

    identity: str
    """SHA-256 of its bytes."""
    array: Array


class WeightStore:
    """Arrays by identity while they live, and mapped files by path. One per process: `STORE`."""

    def __init__(self) -> None:
        self.directory = Path()
        self._arrays: WeakValueDictionary[str, Registered] = WeakValueDictionary()
        self._in_use = self._new = 0
        """Bytes known after the last collection, and the most that are known beyond them."""
        self._files: OrderedDict[Path, dict[str, Array]] = OrderedDict()

    def register(self, array: Array) -> Registered:
        """Know an array as long as the result lives. Equal bytes share the first array of them."""
        identity = sha256_of(array)
        known = self._arrays.get(identity)
        if known is None or not _is_intact(known, array):
            view = np.ascontiguousarray(array).reshape(array.shape).view()
            view.flags.writeable = False
            self._collect_before(view.nbytes)
            self._arrays[identity] = known = Registered(identity, view)
        return known

    def _collect_before(self, nbytes: int) -> None:
        """Free the arrays of dead modules if these may hold as many bytes as the living."""
        self._new += nbytes
        most = max(self._in_use, _COLLECTED)
        if self._new >= most:
            self._new = self.nbytes() + nbytes - self._in_use  # some have died by themselves
        if self._new >= most:
            gc.collect()
            self._in_use, self._new = self.nbytes(), nbytes

    def nbytes(self) -> int:
        """Of all arrays that are known."""
        return sum(known.array.nbytes for known in list(self._arrays.values()))

    def registered(self, identity: str) -> Registered | None:
        """The array of these bytes; None if there never was one, or nothing names it any more."""
        return self._arrays.get(identity)

    def read(self, file: str, key: str) -> Array:
        """The tensor `key` of a safetensors file, mapped. Raises CallerError if it is not there."""
        path = (self.directory / file).resolve()
        if path not in self._files:
            self._files[path] = map_safetensors(path)
        self._files.move_to_end(path)
        if len(self._files) > _MOST_FILES:
            self._files.popitem(last=False)
        tensors = self._files[path]
        if key not in tensors:
            raise CallerError(
                Code.WEIGHT_MISSING, f"{file}: no tensor '{key}' among {len(tensors)} tensors"
            )
        return tensors[key]

    def forget_files(self) -> None:
        """Map files again when they are read next, as after writing one anew."""
        self._files.clear()


STORE = WeightStore()


def _is_intact(known: Registered, array: Array) -> bool:
    """Whether a known array still has the bytes of one whose identity is the same.

    An array of a framework shares memory with the framework's tensor, which may be trained further.
    """
    same = known.array.ctypes.data == array.ctypes.data and array.flags.c_contiguous
    return same or sha256_of(known.array) == known.identity


def map_safetensors(path: Path) -> dict[str, Array]:
    """Map every tensor of a file read-only. Raises CallerError for a missing or invalid file."""
    if not path.is_file():
        raise CallerError(Code.WEIGHT_MISSING, f"{path}: no such weights file")
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _HEADER_LIMIT):
            raise CallerError(Code.WEIGHT_INVALID, f"{path}: no safetensors header in {size} bytes")
        text = stream.read(length)
    try:
        header: dict[str, Any] = json.loads(text)
        header.pop("__metadata__", None)
        data = (
            np.memmap(path, np.uint8, "r", 8 + length)
            if size > 8 + length
            else np.empty(0, np.uint8)
        )
        return {key: _tensor(data, entry) for key, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CallerError(
            Code.WEIGHT_INVALID, f"{path}: invalid safetensors file: {error}"
        ) from error


def _tensor(data: Array, entry: Mapping[str, Any]) -> Array:
    begin, end = (int(offset) for offset in entry["data_offsets"])
    shape = tuple(int(size) for size in entry["shape"])
    dtype = _DTYPES[entry["dtype"]]
    if not 0 <= begin <= end <= data.size or prod(shape) * dtype.itemsize != end - begin:
        raise ValueError(f"offsets {begin} to {end} do not hold {entry['dtype']} of {shape}")
    return data[begin:end].view(dtype).reshape(shape)


def _umask() -> int:
    """The process's mask of permissions, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_safetensors(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write tensors to a file, complete or not at all. Raises CallerError if it cannot."""
    tensors = {
        key: np.ascontiguousarray(array).reshape(array.shape) for key, array in arrays.items()
    }
    with completed(path) as temporary:
        save_file(tensors, temporary)
        os.chmod(temporary, 0o666 & ~_umask())  # the library makes files that only we can read
    STORE.forget_files()
