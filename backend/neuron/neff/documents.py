"""JSON of unknown origin: limits before parsing, and typed access after it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ranvier.backend.neuron.neff.errors import NeffError

MAX_BYTES = 16 << 20
MAX_DEPTH = 32
MAX_DIGITS = 19
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NOT_BRACKETS = re.compile(rb"[^\[\]{}]+")


def dump_document(value: object) -> bytes:
    """Canonical JSON: the same value gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


class Document:
    """A JSON object and where it stands, for messages. Raises its error for what does not fit."""

    def __init__(self, value: Mapping[str, Any], where: str, error: type[NeffError]) -> None:
        self.value = value
        self.where = where
        self.error = error

    def fail(self, text: str) -> NeffError:
        return self.error(f"{self.where}: {text}")

    def _get(self, key: str, kind: type[Any], name: str) -> Any:
        value = self.value.get(key)
        if type(value) is not kind:
            raise self.fail(f"'{key}' is no {name}")
        return value

    def text(self, key: str) -> str:
        return self._get(key, str, "string")

    def integer(self, key: str, low: int = 0, high: int = 2**63 - 1) -> int:
        """A number in a range."""
        value: int = self._get(key, int, "integer")
        if not low <= value <= high:
            raise self.fail(f"'{key}' is {value}, not from {low} to {high}")
        return value

    def integers(self, key: str, low: int = 0, high: int = 2**63 - 1) -> tuple[int, ...]:
        """A list of numbers in a range."""
        values: list[Any] = self._get(key, list, "list")
        if any(type(value) is not int or not low <= value <= high for value in values):
            raise self.fail(f"'{key}' holds something else than integers from {low} to {high}")
        return tuple(values)

    def texts(self, key: str) -> list[str]:
        values: list[Any] = self._get(key, list, "list")
        if any(type(value) is not str for value in values):
            raise self.fail(f"'{key}' holds something else than strings")
        return values

    def inner(self, key: str) -> Document:
        return Document(self._get(key, dict, "object"), f"{self.where} {key}", self.error)

    def list(self, key: str) -> Sequence[Document]:
        """The objects of a list."""
        values: list[Any] = self._get(key, list, "list")
        return [self._object(value, f"{key}[{index}]") for index, value in enumerate(values)]

    def entries(self) -> Iterator[tuple[str, Document]]:
        """Keys and the objects under them."""
        for key, value in self.value.items():
            yield key, self._object(value, key)

    def _object(self, value: object, where: str) -> Document:
        if not isinstance(value, dict):
            raise self.fail(f"{where} is no object")
        return Document(value, f"{self.where} {where}", self.error)


def load_document(data: bytes, where: str, error: type[NeffError]) -> Document:
    """The object in the bytes. Raises `error` for anything else, too large or too deep."""
    if len(data) > MAX_BYTES:
        raise error(f"{where}: {len(data)} bytes exceed {MAX_BYTES}")
    if _depth(data) > MAX_DEPTH:
        raise error(f"{where}: nests deeper than {MAX_DEPTH}")
    try:
        value = json.loads(
            data,
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_int=_short_integer,
        )
    except ValueError as problem:
        raise error(f"{where}: {problem}") from problem
    if not isinstance(value, dict):
        raise error(f"{where}: no object")
    return Document(value, where, error)


def _depth(data: bytes) -> int:
    depth = deepest = 0
    for bracket in _NOT_BRACKETS.sub(b"", _STRINGS.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object names a key twice")
    return result


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no number here")


def _short_integer(text: str) -> int:
    if len(text) > MAX_DIGITS + 1:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)
