"""Ops of libraries that are not loaded: what a program says of them is enough to place it.

PyTorch reads no program with an op that it does not know. A stand-in has the schema that a call of
it shows, and no kernel; the types of its results stand in the program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from ranvier.dialects.diagnostics import Code
from ranvier.importers.errors import ModelImportError

TARGET = re.compile(r"torch\.ops\.(\w+)\.(\w+)\.(\w+)", re.ASCII)
NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
TYPES = {
    "as_tensor": "Tensor",
    "as_tensors": "Tensor[]",
    "as_optional_tensors": "Tensor?[]",
    "as_none": "Tensor?",
    "as_int": "int",
    "as_ints": "int[]",
    "as_float": "float",
    "as_floats": "float[]",
    "as_bool": "bool",
    "as_bools": "bool[]",
    "as_string": "str",
    "as_strings": "str[]",
    "as_scalar_type": "ScalarType",
    "as_device": "Device",
    "as_layout": "Layout",
    "as_memory_format": "MemoryFormat",
}
"""Types of arguments as programs write them, and as schemas do."""


class NoSuchOp(Exception):
    """An op whose library is not loaded was called."""


STANDING_IN: set[str] = set()
"""Names of the ops that cannot be run."""


def check_is_known(name: str) -> None:
    """Raises NoSuchOp for an op that is none."""
    if name in STANDING_IN:
        raise NoSuchOp(f"no library that is loaded has {name.removesuffix('.default')}")


def unknown_calls(path: Path) -> dict[str, Mapping[str, Any]]:
    """By name, `mylib::op.overload`, the first call of each op of no library that is loaded."""
    found: dict[str, Mapping[str, Any]] = {}
    with ZipFile(path) as archive:
        for name in archive.namelist():
            if "/models/" in name and name.endswith(".json"):
                for node in calls(program_in(archive.read(name))):
                    match = TARGET.fullmatch(str(node["target"]))
                    if match and not is_known(*match.groups()):
                        found.setdefault("{}::{}.{}".format(*match.groups()), node)
    return found


def program_in(data: bytes) -> Any:
    """The JSON of a member; None for what is none, of which PyTorch says what is wrong."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def calls(value: Any) -> Iterator[Mapping[str, Any]]:
    """The calls in a program, also those in graphs inside of it."""
    pending = [value]
    while pending:
        match pending.pop():
            case {"target": str(), "inputs": list(), "outputs": list()} as node:
                yield node
                pending += node["inputs"]
            case dict() as table:
                pending += table.values()
            case list() as items:
                pending += reversed(items)
            case _:
                pass


def is_known(namespace: str, name: str, overload: str) -> bool:
    packet = getattr(getattr(torch.ops, namespace), name, None)
    return getattr(packet, overload, None) is not None


@contextmanager
def stand_ins(path: Path, missing: Mapping[str, Mapping[str, Any]]) -> Generator[None]:
    """Ops that can be named, and not run. Raises ModelImportError for a call that is none."""
    libraries: list[Any] = []
    STANDING_IN.update(name.removesuffix(".default") for name in missing)
    try:
        for name, node in missing.items():
            try:
                libraries.append(torch.library.Library(name.partition("::")[0], "FRAGMENT"))
                define(libraries[-1], name, node)
            except (RuntimeError, LookupError, TypeError, ValueError) as error:
                text = str(error).strip().partition("\n")[0]
                raise ModelImportError(
                    Code.FILE_INVALID, f"{path.name}: a call of {name}: {text}"
                ) from error
        yield
    finally:
        STANDING_IN.clear()
        for library in libraries:
            library._destroy()


def define(library: Any, name: str, node: Mapping[str, Any]) -> None:
    """An op of the schema that a call shows."""
    op, _, overload = name.partition("::")[2].partition(".")
    full = op if overload == "default" else f"{op}.{overload}"
    library.define(f"{full}({arguments(node['inputs'])}) -> {results(node['outputs'])}")


def arguments(inputs: Sequence[Mapping[str, Any]]) -> str:
    texts: list[str] = []
    for number, entry in enumerate(inputs):
        name = entry["name"] if NAME.fullmatch(entry["name"]) else f"argument_{number}"
        if entry.get("kind") == 2 and "*" not in texts:
            texts.append("*")
        texts.append(f"{kind_of(entry['arg'])} {name}")
    return ", ".join(texts)


def results(outputs: Sequence[Mapping[str, Any]]) -> str:
    return "(" + ", ".join(map(kind_of, outputs)) + ")"


def kind_of(argument: Mapping[str, Any]) -> str:
    (kind,) = argument
    return TYPES.get(kind, "Any")
