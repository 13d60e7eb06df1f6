"""The archive after the header: a deterministic ustar with a manifest first.

Only regular files, no dates, no owners, no extensions. Weight files start on a page of the file, so
that they are used where they are mapped; small filler members make room. Reading trusts nothing:
each tar header is generated again from the manifest and compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ranvier.backend.neuron.neff.documents import Document, dump_document, load_document
from ranvier.backend.neuron.neff.errors import NeffManifestError, NeffMemberError
from ranvier.backend.neuron.neff.header import FORMAT_MAJOR as FORMAT_MAJOR
from ranvier.backend.neuron.neff.header import FORMAT_MINOR as FORMAT_MINOR
from ranvier.backend.neuron.neff.header import HEADER_SIZE, Header
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.files import completed

BLOCK = 512
PAGE = 4096
"""Alignment of weight files in the file, bytes."""
MANIFEST = "manifest.json"
SCHEMA = "ranvier-neff"
MAX_MEMBERS = 1 << 16
MAX_MEMBER_BYTES = 8 << 30
"""What the size field of a ustar header holds."""
_NAMES = re.compile(
    r"neff\.json|info\.json|metrics\.json|\.align-\d{5}|debug_info/[a-z0-9_.-]{1,64}"
    r"|sg\d{2,4}/(def\.json|program\.bin|program\.mlir|weights-\d{5}\.bin)"
    r"|cpu\d{2,4}/(program\.json|weights-\d{5}\.bin)"
)


@dataclass(frozen=True)
class Member:
    """A file to be written: its size is known before its bytes."""

    name: str
    size: int
    chunks: Callable[[], Iterable[bytes | memoryview]]
    page_aligned: bool = False


@dataclass(frozen=True)
class Place:
    """A file in an archive: where its bytes are, from the start of the NEFF file."""

    name: str
    offset: int
    size: int
    sha256: str


def member_of(name: str, data: bytes) -> Member:
    """A file whose bytes are at hand."""
    return Member(name, len(data), lambda: (data,))


def ustar_header(name: str, size: int) -> bytes:
    """The 512 bytes before a regular file."""
    fields = (
        name.encode("ascii").ljust(100, b"\0"),
        b"0000644\0" + b"0000000\0" * 2,
        b"%011o\0" % size,
        b"%011o\0" % 0,
        b" " * 8,
        b"0",
        bytes(100),
        b"ustar\x0000",
        bytes(64),
        b"0000000\0" * 2,
        bytes(167),
    )
    header = b"".join(fields)
    checksum = b"%06o\0 " % sum(header)
    return header[:148] + checksum + header[156:]


def padding(size: int) -> int:
    """Bytes from a file's end to the next block."""
    return -size % BLOCK


def with_fillers(members: Sequence[Member], start: int) -> list[tuple[Member, int]]:
    """Members in the order of their names, each with the offset of its bytes in the file."""
    placed: list[tuple[Member, int]] = []
    position = start
    fillers = 0
    for member in sorted(members, key=lambda member: member.name):
        if member.page_aligned and (position + BLOCK) % PAGE:
            size = -(position + 2 * BLOCK) % PAGE
            filler = Member(f".align-{fillers:05}", size, lambda size=size: (bytes(size),))
            placed.append((filler, position + BLOCK))
            position += BLOCK + size
            fillers += 1
        placed.append((member, position + BLOCK))
        position += BLOCK + member.size + padding(member.size)
    return placed


def write_container(
    path: Path, members: Sequence[Member], manifest: dict[str, Any], header: dict[str, Any]
) -> None:
    """Write the file, complete or not at all. Raises CallerError if it cannot be written.

    `manifest` lacks the members and `header` the sizes and hashes: they are found on the way.
    """
    with completed(path) as temporary, temporary.open("w+b") as stream:
        _write(stream, members, manifest, header)


def _write(
    stream: IO[bytes], members: Sequence[Member], manifest: dict[str, Any], header: dict[str, Any]
) -> None:
    placed, reserved = _plan(members, manifest)
    stream.seek(HEADER_SIZE)
    stream.write(ustar_header(MANIFEST, reserved))
    stream.write(bytes(reserved))
    entries: list[Place] = []
    for member, offset in placed:
        stream.write(ustar_header(member.name, member.size))
        digest, written = hashlib.sha256(), 0
        for chunk in member.chunks():
            digest.update(chunk)
            written += stream.write(chunk)
        if written != member.size:
            raise CallerError(
                Code.WEIGHT_INVALID, f"{member.name}: {written} bytes, announced {member.size}"
            )
        stream.write(bytes(padding(written)))
        entries.append(Place(member.name, offset, written, digest.hexdigest()))
    stream.write(bytes(2 * BLOCK))
    size = stream.tell()
    text = _manifest_text(manifest, entries).ljust(reserved)
    stream.seek(HEADER_SIZE + BLOCK)
    stream.write(text)
    fields = Header(
        data_size=size - HEADER_SIZE,
        payload_sha256=_hash_from(stream, HEADER_SIZE),
        manifest_offset=HEADER_SIZE + BLOCK,
        manifest_size=reserved,
        manifest_sha256=hashlib.sha256(text).digest(),
        **header,
    )
    stream.seek(0)
    stream.write(fields.pack())


def _plan(
    members: Sequence[Member], manifest: dict[str, Any]
) -> tuple[list[tuple[Member, int]], int]:
    """Offsets, and the bytes of a manifest that lists them, in whole blocks."""
    reserved = BLOCK
    while True:
        placed = with_fillers(members, HEADER_SIZE + BLOCK + reserved)
        entries = [Place(member.name, offset, member.size, "0" * 64) for member, offset in placed]
        size = len(_manifest_text(manifest, entries))
        if size <= reserved:
            return placed, reserved
        reserved = size + padding(size)


def _manifest_text(manifest: dict[str, Any], entries: Sequence[Place]) -> bytes:
    table = [
        {
            "path": entry.name,
            "offset": entry.offset,
            "size": entry.size,
            "sha256": entry.sha256,
            "align": BLOCK if entry.offset % PAGE else PAGE,
        }
        for entry in entries
    ]
    return dump_document(
        {"schema": SCHEMA, "format": [FORMAT_MAJOR, FORMAT_MINOR], "members": table, **manifest}
    )


def _hash_from(stream: IO[bytes], start: int) -> bytes:
    stream.seek(start)
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.digest()


def read_manifest(data: memoryview, header: Header) -> Document:
    """The manifest. Raises NeffManifestError if it is not where and what the header says."""
    start, size = header.manifest_offset, header.manifest_size
    if start != HEADER_SIZE + BLOCK or size > len(data) - start or size % BLOCK:
        raise NeffManifestError(f"{size} bytes of manifest at {start} of {len(data)}")
    text = bytes(data[start : start + size])
    if hashlib.sha256(text).digest() != header.manifest_sha256:
        raise NeffManifestError("the manifest does not match its hash")
    manifest = load_document(text, MANIFEST, NeffManifestError)
    if manifest.text("schema") != SCHEMA:
        raise manifest.fail(f"schema {manifest.text('schema')!r}, not {SCHEMA!r}")
    if manifest.integers("format") != (FORMAT_MAJOR, header.format_minor):
        raise manifest.fail(f"format {manifest.value['format']} contradicts the header")
    return manifest


def read_members(data: memoryview, header: Header, manifest: Document) -> dict[str, Place]:
    """Where the files are. Raises NeffMemberError unless archive and manifest agree exactly."""
    table = manifest.list("members")
    if len(table) > MAX_MEMBERS:
        raise NeffMemberError(f"{len(table)} members exceed {MAX_MEMBERS}")
    places: dict[str, Place] = {}
    position = HEADER_SIZE
    position = _read_header(data, position, MANIFEST, header.manifest_size)
    for entry in table:
        place = Place(
            entry.text("path"),
            entry.integer("offset"),
            entry.integer("size", high=MAX_MEMBER_BYTES - 1),
            entry.text("sha256"),
        )
        if not _NAMES.fullmatch(place.name) or place.name in places:
            raise NeffMemberError(f"{place.name!r} is no name of a member, or stands there twice")
        if place.offset != position + BLOCK:
            raise NeffMemberError(f"{place.name}: listed at {place.offset}, is at {position}")
        position = _read_header(data, position, place.name, place.size)
        places[place.name] = place
    if len(data) - position != 2 * BLOCK or any(data[position:]):
        raise NeffMemberError("the archive does not end after its last listed member")
    return places


def _read_header(data: memoryview, position: int, name: str, size: int) -> int:
    """The position after a member, whose tar header must be the one that we would write."""
    end = position + BLOCK + size
    if end + padding(size) + 2 * BLOCK > len(data):
        raise NeffMemberError(f"{name}: {size} bytes at {position} leave the archive")
    if bytes(data[position : position + BLOCK]) != ustar_header(name, size):
        raise NeffMemberError(f"{name}: the archive has another member at {position}")
    if any(data[end : end + padding(size)]):
        raise NeffMemberError(f"{name}: bytes after its end")
    return end + padding(size)


def check_hash(data: memoryview, place: Place, error: type[Exception]) -> memoryview:
    """The bytes of a member. Raises the error if they do not match the manifest."""
    part = data[place.offset : place.offset + place.size]
    if hashlib.sha256(part).hexdigest() != place.sha256:
        raise error(f"{place.name} does not match its hash")
    return part
