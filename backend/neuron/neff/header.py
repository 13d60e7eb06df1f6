"""The 1024-byte header: the published fields, and an extension block in what they leave unused.

Published tools read the core counts from it. The major version is of a number space of its own, so
that real hardware answers "version mismatch" instead of misreading the program.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

from ranvier.backend.neuron.neff.errors import (
    NeffHeaderError,
    NeffMagicError,
    NeffSizeError,
    NeffVersionError,
)

HEADER_SIZE = 1024
FORMAT_MAJOR, FORMAT_MINOR = 1, 0
VERSION_BASE = 1000
"""The published major version is this plus FORMAT_MAJOR."""
PKG_VERSION = 1
"""An uncompressed tar, hashed with SHA-256."""
MAX_CORES = 64
KNOWN_FEATURES = 0
MAGIC = b"RANVIER\0"
EXTENSION_SIZE = 100

_PUBLISHED = struct.Struct("<QQQQQ128sI32s16s256sI64sQI")
_EXTENSION = struct.Struct("<8sIIIQQ32s32s368s")
_HASH_OFFSET = 624


@dataclass(frozen=True)
class Header:
    """The fields of a header that vary between files."""

    data_size: int
    """Bytes after the header."""
    payload_sha256: bytes
    build_version: str
    name: str
    cores: int
    """The largest number of stages of a segment."""
    requested_cores: int
    cores_per_segment: tuple[int, ...]
    manifest_offset: int
    """Bytes from the start of the file."""
    manifest_size: int
    manifest_sha256: bytes
    format_minor: int = FORMAT_MINOR
    feature_bits: int = 0

    @property
    def uuid(self) -> bytes:
        """A UUID of version 8 that follows from the payload, so that builds reproduce."""
        digest = bytearray(hashlib.sha256(b"ranvier-uuid" + self.payload_sha256).digest()[:16])
        digest[6] = digest[6] & 0x0F | 0x80
        digest[8] = digest[8] & 0x3F | 0x80
        return bytes(digest)

    def pack(self) -> bytes:
        """The 1024 bytes."""
        published = _PUBLISHED.pack(
            PKG_VERSION,
            HEADER_SIZE,
            self.data_size,
            VERSION_BASE + FORMAT_MAJOR,
            self.format_minor,
            self.build_version.encode("ascii"),
            self.cores,
            self.payload_sha256,
            self.uuid,
            self.name.encode(),
            self.requested_cores,
            bytes(min(cores, MAX_CORES) for cores in self.cores_per_segment[:64]),
            self.feature_bits,
            1,
        )
        extension = _EXTENSION.pack(
            MAGIC,
            EXTENSION_SIZE,
            FORMAT_MAJOR,
            self.format_minor,
            self.manifest_offset,
            self.manifest_size,
            self.manifest_sha256,
            bytes(32),
            bytes(368),
        )
        return sealed(published + extension)


def sealed(header: bytes) -> bytes:
    """A header with the hash of its bytes in its place."""
    end = _HASH_OFFSET + 32
    blank = header[:_HASH_OFFSET] + bytes(32) + header[end:HEADER_SIZE]
    return blank[:_HASH_OFFSET] + hashlib.sha256(blank).digest() + blank[end:]


def unpack_header(data: bytes, file_size: int) -> Header:
    """Check size, magic, header hash and version, in this order; then give the fields.

    Raises NeffSizeError, NeffMagicError, NeffHeaderError or NeffVersionError.
    """
    if len(data) < HEADER_SIZE:
        raise NeffSizeError(f"{file_size} bytes; a NEFF file has at least {HEADER_SIZE}")
    data = data[:HEADER_SIZE]
    published = _PUBLISHED.unpack_from(data)
    pkg_version, header_size, data_size = published[:3]
    if header_size != HEADER_SIZE or header_size + data_size != file_size:
        raise NeffSizeError(
            f"{file_size} bytes; the header says {header_size} of header and {data_size} of data"
        )
    extension = _EXTENSION.unpack_from(data, _PUBLISHED.size)
    if extension[0] != MAGIC:
        raise NeffMagicError(
            f"no NEFF file of ranvier (package version {pkg_version}, NEFF version "
            f"{published[3]}.{published[4]}); files for hardware do not run here"
        )
    if sealed(data) != data:
        raise NeffHeaderError("the header does not match its hash")
    _check_version(published, extension)
    return _fields(published, extension)


def _check_version(published: tuple[Any, ...], extension: tuple[Any, ...]) -> None:
    major, minor, features = extension[2], extension[3], published[12]
    if major != FORMAT_MAJOR:
        raise NeffVersionError(
            f"NEFF version mismatch supported: {VERSION_BASE + FORMAT_MAJOR}.{FORMAT_MINOR} "
            f"received: {published[3]}.{published[4]}"
        )
    if unknown := features & ~KNOWN_FEATURES:
        raise NeffVersionError(f"features: {unknown:#x} are not supported")
    if (published[3], published[4]) != (VERSION_BASE + major, minor):
        raise NeffHeaderError(
            f"version {published[3]}.{published[4]} of the header contradicts format "
            f"{major}.{minor}"
        )


def _fields(published: tuple[Any, ...], extension: tuple[Any, ...]) -> Header:
    """Raises NeffHeaderError for values that no writer gives."""
    pkg, _, size, _, minor, build, cores, sha, uuid, name, requested, per, bits, lnc = published
    _, extension_size, _, _, offset, manifest_size, manifest_sha, _, rest = extension
    if (pkg, lnc, extension_size, rest) != (PKG_VERSION, 1, EXTENSION_SIZE, bytes(368)):
        raise NeffHeaderError(
            f"package version {pkg}, core size {lnc}, extension of {extension_size} bytes"
        )
    if not 1 <= cores <= per[0] <= MAX_CORES or max(per) > MAX_CORES:
        raise NeffHeaderError(f"{cores} cores, {per[0]} of the first segment; 1 to {MAX_CORES}")
    header = Header(
        data_size=size,
        payload_sha256=sha,
        build_version=_text(build, "build version"),
        name=_text(name, "name"),
        cores=cores,
        requested_cores=requested,
        cores_per_segment=tuple(per.rstrip(b"\0")),
        manifest_offset=offset,
        manifest_size=manifest_size,
        manifest_sha256=manifest_sha,
        format_minor=minor,
        feature_bits=bits,
    )
    if uuid != header.uuid:
        raise NeffHeaderError("the identifier does not follow from the payload hash")
    return header


def _text(data: bytes, what: str) -> str:
    """Text up to the padding, without control characters."""
    try:
        text = data.rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise NeffHeaderError(f"the {what} is no UTF-8") from error
    if not text.isprintable():
        raise NeffHeaderError(f"the {what} {text!r} has control characters")
    return text
