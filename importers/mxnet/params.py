"""MXNet's `.params` files: arrays by name, without MXNet.

A list magic, then arrays, then names, all little endian. Arrays are mapped, not read. A file is
untrusted: each size is checked against the bytes that are left before anything is made of it.

    list:   u64 0x112, u64 0, u64 count, arrays, u64 count, names (u64 length, bytes)
    array:  u32 magic, i32 storage (V2, V3), i32 rank, i64 sizes, i32 device, i32 id, i32 type, data

Older arrays have no storage; the oldest have no magic, their rank stands first, and sizes are u32.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import Array
from ranvier.importers.errors import ModelImportError

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
DENSE = 0
CPU = 1
MAX_RANK = 32

DTYPES: tuple[np.dtype[Any], ...] = tuple(
    np.dtype(name).newbyteorder("<") for name in ("f4", "f8", "f2", "u1", "i4", "i1", "i8", "?")
)
"""Element types by MXNet's type flag."""


def read_params(path: Path) -> dict[str, Array]:
    """Arrays by name, as the file spells them (`arg:conv0_weight`), read-only and mapped.

    Raises ModelImportError for a file that is none, or that states sizes it does not have.
    """
    arrays = read_arrays(path)
    if isinstance(arrays, list):
        raise ModelImportError(
            Code.FILE_INVALID, f"{path.name}: {len(arrays)} arrays, 0 names; parameters have names"
        )
    return arrays


def read_arrays(path: Path) -> dict[str, Array] | list[Array]:
    """The arrays of a file, by name if it names them. Raises ModelImportError as `read_params`."""
    try:
        size = path.stat().st_size
        data: Array = np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)
    except OSError as error:
        raise ModelImportError(Code.FILE_MISSING, f"{path}: {error.strerror}") from error
    return _Reader(data, path.name).arrays()


def write_params(path: Path, arrays: Mapping[str, Array] | Sequence[Array]) -> None:
    """Write the file that MXNet would write: the same arrays in order give the same bytes.

    A sequence has no names. The file appears whole or not at all. Raises OSError.
    """
    names = list(arrays) if isinstance(arrays, Mapping) else []
    values = list(arrays.values()) if isinstance(arrays, Mapping) else arrays
    # Older versions take rank 0 and size 0 for unknown; a file with such shapes is V3 throughout.
    magic = V3 if any(array.ndim == 0 or 0 in array.shape for array in values) else V2
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(struct.pack("<QQQ", LIST_MAGIC, 0, len(values)))
            for array in values:
                stream.write(_head(array, magic))
                stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            stream.write(struct.pack("<Q", len(names)))
            for name in names:
                encoded = name.encode()
                stream.write(struct.pack("<Q", len(encoded)) + encoded)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def type_flag(dtype: np.dtype[Any]) -> int:
    """MXNet's number of an element type. Raises ModelImportError if it has none."""
    try:
        return DTYPES.index(dtype.newbyteorder("<"))
    except ValueError:
        raise ModelImportError(
            Code.MODEL_UNSUPPORTED, f"MXNet stores no arrays of {dtype}"
        ) from None


def _head(array: Array, magic: int) -> bytes:
    sizes = struct.pack(f"<i{array.ndim}q", array.ndim, *array.shape)
    place = struct.pack("<iii", CPU, 0, type_flag(array.dtype))
    return struct.pack("<Ii", magic, DENSE) + sizes + place


class _Reader:
    """A position in a mapped file."""

    def __init__(self, data: Array, name: str) -> None:
        self.data = data
        self.name = name
        self.at = 0

    def fail(self, text: str) -> NoReturn:
        raise ModelImportError(Code.FILE_INVALID, f"{self.name}: {text}")

    def take(self, size: int, what: str) -> Array:
        left = self.data.size - self.at
        if size > left:
            self.fail(f"{what} needs {size} bytes at {self.at}, {left} are left")
        taken = self.data[self.at : self.at + size]
        self.at += size
        return taken

    def numbers(self, form: str, what: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}"), what).tobytes())

    def arrays(self) -> dict[str, Array] | list[Array]:
        magic, _, count = self.numbers("QQQ", "the header")
        if magic != LIST_MAGIC:
            self.fail(f"no MXNet parameters: the magic is {magic:#x}, not {LIST_MAGIC:#x}")
        # The shortest array is a magic and a rank; more cannot be in the file.
        if count > self.data.size // 8:
            self.fail(f"{count} arrays in {self.data.size} bytes")
        arrays = [self.array(index) for index in range(count)]
        (named,) = self.numbers("Q", "the number of names")
        if named not in (0, count):
            self.fail(f"{count} arrays, {named} names")
        names = [self.text() for _ in range(named)]
        if self.at != self.data.size:
            self.fail(f"{self.data.size - self.at} bytes follow the names")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            self.fail(f"two arrays are called '{twice}'")
        if not names:
            return {} if not arrays else [array for array in arrays if array is not None]
        return {name: array for name, array in zip(names, arrays, strict=True) if array is not None}

    def text(self) -> str:
        (length,) = self.numbers("Q", "the length of a name")
        try:
            return self.take(length, "a name").tobytes().decode()
        except UnicodeDecodeError as error:
            self.fail(f"a name is no text: {error}")

    def array(self, index: int) -> Array | None:
        """The next array; None for one that MXNet had not filled."""
        what = f"array {index}"
        (magic,) = self.numbers("I", what)
        if magic in (V2, V3):
            (storage,) = self.numbers("i", what)
            if storage != DENSE:
                self.fail(f"{what} is sparse (storage {storage}); save it dense")
        shape = self.shape(magic, what)
        if shape is None:
            return None
        _, _, flag = self.numbers("iii", what)
        if not 0 <= flag < len(DTYPES):
            self.fail(f"{what} has the unknown element type {flag}")
        dtype = DTYPES[flag]
        data = self.take(prod(shape) * dtype.itemsize, f"{what} of {dtype} {list(shape)}")
        if self.at % dtype.itemsize or data.ctypes.data % dtype.itemsize:
            data = data.copy()  # NumPy computes on aligned elements only
        try:
            return data.view(dtype).reshape(shape)
        except ValueError as error:  # one size is 0, and another one more than NumPy counts
            self.fail(f"{what} has sizes {list(shape)}: {error}")

    def shape(self, magic: int, what: str) -> tuple[int, ...] | None:
        """Sizes; None for an absent array."""
        if magic in (V1, V2, V3):
            (rank,) = self.numbers("i", what)
            form = "q"
        else:
            rank, form = magic, "I"
        if rank == -1 or (rank == 0 and magic != V3):
            return None
        if not 0 <= rank <= MAX_RANK:
            self.fail(f"{what} has rank {rank}; up to {MAX_RANK} is possible")
        sizes = self.numbers(f"{rank}{form}", what)
        if min(sizes, default=0) < 0:
            self.fail(f"{what} has sizes {list(sizes)}")
        return sizes
