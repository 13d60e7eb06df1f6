"""Arrays with the face of `mx.nd`, on NumPy, without MXNet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape, format_shape
from ranvier.importers.mxnet.params import read_arrays, type_flag, write_params
from ranvier.mxnet.context import Context, cpu


class NDArray:
    """A tensor that scripts treat as MXNet's. Computing with it is left to NumPy."""

    def __init__(self, array: Array, context: Context | None = None) -> None:
        self._array = array
        self.context = context or cpu()
        self.version = 0
        """Counts writes."""

    @property
    def shape(self) -> Shape:
        return self._array.shape

    @property
    def dtype(self) -> type[np.generic]:
        """The element type, as the class that MXNet gives."""
        return self._array.dtype.type

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def ndim(self) -> int:
        return self._array.ndim

    ctx = property(lambda self: self.context)

    def asnumpy(self) -> Array:
        """A copy as a NumPy array."""
        return self._array.copy()

    def view(self) -> Array:
        """The elements, not to be written to."""
        array = self._array.view()
        array.flags.writeable = False
        return array

    def asscalar(self) -> Any:
        """The value of an array of one element. Raises CallerError for others."""
        if self.size != 1:
            raise CallerError(
                Code.INPUT_SHAPE, f"{format_shape(self.shape)} is not an array of one element"
            )
        return self._array.reshape(())[()]

    def wait_to_read(self) -> None:
        """Nothing: forward returns when it is done."""

    wait_to_write = wait_to_read

    def copy(self) -> NDArray:
        return NDArray(self.asnumpy(), self.context)

    def copyto(self, other: NDArray | Context) -> NDArray:
        """Write to another array, or make a copy on a device."""
        if isinstance(other, NDArray):
            other[:] = self
            return other
        return NDArray(self.asnumpy(), other)

    def as_in_context(self, context: Context) -> NDArray:
        return self if context == self.context else self.copyto(context)

    def astype(self, dtype: Any, copy: bool = True) -> NDArray:
        return NDArray(self._array.astype(dtype, copy=copy), self.context)

    def reshape(self, *shape: Any) -> NDArray:
        return NDArray(self._array.reshape(*shape), self.context)

    def __getitem__(self, key: Any) -> NDArray:
        return NDArray(np.asarray(self._array[key]), self.context)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write elements, converted to the element type. Raises CallerError for another shape."""
        if not self._array.flags.writeable:
            self._array = self._array.copy()  # parameters are mapped from their file
        source = value.view() if isinstance(value, NDArray) else np.asarray(value)
        try:
            self._array[key] = source
        except ValueError as error:
            raise CallerError(
                Code.INPUT_SHAPE, f"{format_shape(source.shape)} does not fit: {error}"
            ) from error
        self.version += 1

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = self.asnumpy() if copy is not False else self.view()
        return array if dtype is None else array.astype(dtype)

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[NDArray]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"\n{self._array}\n<NDArray {'x'.join(map(str, self.shape))} @{self.context}>"


def array(source: Any, ctx: Context | None = None, dtype: Any = None) -> NDArray:
    """An array of a list, a NumPy array or another; f32 unless `dtype` or an NDArray says other."""
    if dtype is None:
        dtype = source.dtype if isinstance(source, NDArray) else np.float32
    values = np.array(source.view() if isinstance(source, NDArray) else source, dtype=dtype)
    type_flag(values.dtype)
    return NDArray(values, ctx)


def zeros(shape: int | Sequence[int], ctx: Context | None = None, dtype: Any = None) -> NDArray:
    try:
        return NDArray(np.zeros(shape, dtype or np.float32), ctx)
    except (MemoryError, ValueError) as error:
        raise CallerError(Code.INPUT_SHAPE, f"no array of shape {shape}: {error}") from error


def ones(shape: int | Sequence[int], ctx: Context | None = None, dtype: Any = None) -> NDArray:
    return NDArray(np.ones(shape, dtype or np.float32), ctx)


def waitall() -> None:
    """Nothing: nothing runs behind the caller's back."""


def load(fname: str | PathLike[str]) -> dict[str, NDArray] | list[NDArray]:
    """The arrays of a file, by name if it names them, mapped until they are written to.

    Raises ModelImportError for a file that is none.
    """
    found = read_arrays(Path(fspath(fname)))
    if isinstance(found, list):
        return [NDArray(each) for each in found]
    return {name: NDArray(each) for name, each in found.items()}


def save(
    fname: str | PathLike[str], data: NDArray | Sequence[NDArray] | Mapping[str, NDArray]
) -> None:
    """Write the file that `mx.nd.save` would write, byte by byte, whole or not at all."""
    path = Path(fspath(fname))
    if isinstance(data, NDArray):
        data = [data]
    try:
        if isinstance(data, Mapping):
            write_params(path, {name: each.view() for name, each in data.items()})
        else:
            write_params(path, [each.view() for each in data])
    except OSError as error:
        raise CallerError(Code.FILE_UNWRITABLE, f"{path}: {error.strerror}") from error
