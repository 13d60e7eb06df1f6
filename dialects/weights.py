"""Where the bytes of weights are: safetensors files, mapped read-only, and arrays of this process.

The IR names weights and never holds their bytes. Relative paths start at `directory`, which a tool
sets to the folder of the IR file; it is the working directory otherwise.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from ranvier.dialects.diagnostics import CallerError, Code
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


def sha256_of(array: Array) -> str:
    """SHA-256 of the row-major bytes, as 64 hex digits."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return hashlib.sha256(flat.data).hexdigest()


class WeightStore:
    """Arrays by identity, and mapped files by path. One per process: `STORE`."""

    def __init__(self) -> None:
        self.directory = Path()
        self._arrays: dict[str, Array] = {}
        self._files: dict[Path, dict[str, Array]] = {}

    def register(self, array: Array) -> str:
        """Keep an array of this process, read-only, and return its SHA-256."""
        identity = sha256_of(array)
        if identity not in self._arrays:
            view = np.ascontiguousarray(array).reshape(array.shape).view()
            view.flags.writeable = False
            self._arrays[identity] = view
        return identity

    def registered(self, identity: str) -> Array | None:
        return self._arrays.get(identity)

    def read(self, file: str, key: str) -> Array:
        """The tensor `key` of a safetensors file, mapped. Raises CallerError if it is not there."""
        path = (self.directory / file).resolve()
        if path not in self._files:
            self._files[path] = map_safetensors(path)
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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    tensors = {
        key: np.ascontiguousarray(array).reshape(array.shape) for key, array in arrays.items()
    }
    try:
        save_file(tensors, temporary)
        os.chmod(temporary, 0o666 & ~_umask())  # the library makes files that only we can read
        os.replace(temporary, path)
    except OSError as error:
        raise CallerError(Code.FILE_UNWRITABLE, f"{path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    STORE.forget_files()
