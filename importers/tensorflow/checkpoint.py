"""Read the variables of a checkpoint: an index of keys, and data files of raw bytes.

The index is a sorted string table in LevelDB's format whose values are BundleEntryProto. Data are
mapped, not read. A variable in slices has an entry of its own for each, under a key in bytes.
Compressed blocks are refused; TensorFlow writes none into a SavedModel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array
from ranvier.importers.tensorflow.protos import BundleEntryProto, BundleHeaderProto
from ranvier.importers.tensorflow.tensors import dtype_of_code, static_shape

WHOLE = -1
"""The length of a slice that has all of a dimension."""
_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = 5
"""After each block: its compression, and a checksum."""


class Checkpoint:
    """The tensors of `<prefix>.index` and `<prefix>.data-…`, by key."""

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self._shards: dict[int, Array] = {}
        self._entries: dict[bytes, Any] = {}
        index = prefix.with_name(prefix.name + ".index")
        if not index.is_file():
            raise VerifyException(f"no checkpoint {index.name}")
        try:
            self._read_index(index.read_bytes())
        except (IndexError, ValueError, DecodeError) as error:
            raise VerifyException(f"{index.name} is damaged: {error}") from error

    def _read_index(self, data: bytes) -> None:
        self._header: Any = BundleHeaderProto()
        for key, value in table_entries(data):
            if not key:
                self._header.ParseFromString(value)
            else:
                entry = BundleEntryProto()
                entry.ParseFromString(value)
                self._entries[key] = entry
        if self._header.endianness:
            raise VerifyException("a checkpoint of a big-endian machine is not readable")

    def array(self, key: str) -> Array:
        """A tensor, mapped or put together.

        Raises VerifyException if the files do not hold it, ValueError if its slices do not fit.
        """
        entry = self._entry(key.encode(), key)
        if not entry.slices:
            return self._stored(entry, key)
        parts = [
            (places_of(extents), self._stored(self._entry(slice_key(key, extents), key), key))
            for extents in map(extents_of, entry.slices)
        ]
        shape = static_shape(entry.shape) or ()
        if prod(shape) != sum(part.size for _, part in parts):
            raise VerifyException(f"the slices of '{key}' do not make up {shape}")
        whole = np.empty(shape, dtype_of_code(entry.dtype))
        for place, part in parts:
            whole[place] = part
        return whole

    def _entry(self, name: bytes, key: str) -> Any:
        if (entry := self._entries.get(name)) is None:
            raise VerifyException(f"the checkpoint has no '{key}'")
        return entry

    def _stored(self, entry: Any, key: str) -> Array:
        shape, dtype = static_shape(entry.shape), dtype_of_code(entry.dtype)
        if shape is None:
            raise VerifyException(f"'{key}' has no static shape")
        data = self._shard(entry.shard_id)
        length = prod(shape) * dtype.itemsize
        if entry.size != length or not 0 <= entry.offset <= len(data) - length:
            raise VerifyException(
                f"'{key}' needs {length} bytes at {entry.offset} of {len(data)}, and states "
                f"{entry.size}"
            )
        return data[entry.offset : entry.offset + length].view(dtype).reshape(shape)

    def _shard(self, number: int) -> Array:
        if number not in self._shards:
            count = self._header.num_shards or 1
            name = f"{self._prefix.name}.data-{number:05d}-of-{count:05d}"
            path = self._prefix.with_name(name)
            if not path.is_file():
                raise VerifyException(f"no checkpoint {name}")
            empty = path.stat().st_size == 0
            self._shards[number] = (
                np.empty(0, np.uint8) if empty else np.memmap(path, np.uint8, "r")
            )
        return self._shards[number]


def extents_of(part: Any) -> list[tuple[int, int]]:
    """Starts and lengths of a slice."""
    return [(extent.start, extent.length or WHOLE) for extent in part.extent]


def places_of(extents: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    return tuple(slice(s, None if size == WHOLE else s + size) for s, size in extents)


def slice_key(name: str, extents: Sequence[tuple[int, int]]) -> bytes:
    """The key of a slice: numbers and texts in TensorFlow's code, whose bytes sort as they do."""
    places = b"".join(ordered(number) for extent in extents for number in extent)
    return b"\x00" + name.encode() + b"\x00\x01" + unsigned(len(extents)) + places


def unsigned(number: int) -> bytes:
    size = (number.bit_length() + 7) // 8
    return bytes([size]) + number.to_bytes(size, "big")


def ordered(number: int) -> bytes:
    """A signed number: as many leading ones as bytes, but for the sign."""
    size = 1 + ((~number if number < 0 else number).bit_length()) // 7
    header = (0xFF00 >> size & 0xFF) << 8 * (size - 1)
    return (number % (1 << 8 * size) ^ header).to_bytes(size, "big")


def table_entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a sorted string table. Raises ValueError if it is none."""
    if len(data) < _FOOTER or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise ValueError("no table")
    footer = data[-_FOOTER:]
    _, place = varint(footer, 0)
    _, place = varint(footer, place)  # the first handle is that of the metaindex
    for _, handle in block_entries(block_at(data, footer, place)):
        yield from block_entries(block_at(data, handle, 0))


def block_at(data: bytes, handle: bytes, place: int) -> bytes:
    """The block that a handle, offset and size, points to."""
    offset, place = varint(handle, place)
    size, _ = varint(handle, place)
    if offset + size + _TRAILER > len(data):
        raise ValueError(f"a block of {size} bytes at {offset} lies beyond the file")
    if data[offset + size]:
        raise ValueError("a block is compressed")
    return data[offset : offset + size]


def block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Entries of a block; each key shares a prefix with the one before."""
    restarts = int.from_bytes(block[-4:], "little")
    end, place, key = len(block) - 4 - 4 * restarts, 0, b""
    while place < end:
        shared, place = varint(block, place)
        added, place = varint(block, place)
        size, place = varint(block, place)
        if shared > len(key) or place + added + size > end:
            raise ValueError("an entry lies beyond its block")
        key = key[:shared] + block[place : place + added]
        yield key, block[place + added : place + added + size]
        place += added + size


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits per byte, and the place after it."""
    value = shift = 0
    while shift < 64:
        byte = data[place]
        value, place, shift = value | (byte & 0x7F) << shift, place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError("a number is too long")
