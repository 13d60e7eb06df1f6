"""Read a SavedModel: choose a meta graph and a signature, and find the values of its variables.

Which key of the checkpoint a variable has, the graph's own restore op says: it assigns results of
`RestoreV2`, whose operand lists the keys. That holds for TF1 and TF2 alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.importers.errors import ModelImportError
from ranvier.importers.tensorflow.checkpoint import Checkpoint
from ranvier.importers.tensorflow.graph import attribute
from ranvier.importers.tensorflow.inline import VARIABLES, Inliner, Place, Scope
from ranvier.importers.tensorflow.protos import GraphDef, Message, SavedModel
from ranvier.importers.tensorflow.tensors import REF

SERVE, DEFAULT_SIGNATURE = "serve", "serving_default"
INIT_SIGNATURE = "__saved_model_init_op"
TYPE_NAMES: Sequence[str] = (
    "INVALID FLOAT DOUBLE INT32 UINT8 INT16 INT8 STRING COMPLEX64 INT64 BOOL QINT8 QUINT8 QINT32 "
    "BFLOAT16 QINT16 QUINT16 UINT16 COMPLEX128 HALF RESOURCE VARIANT UINT32 UINT64"
).split()
"""Names of a `DataType`, by its number."""


@dataclass
class Source:
    """A parsed SavedModel."""

    folder: Path
    model: Message
    identity: str

    @property
    def name(self) -> str:
        return self.folder.name

    def fail(self, code: Code, text: str) -> NoReturn:
        raise ModelImportError(code, f"{self.folder.name}: {text}")


def read_saved_model(folder: Path) -> Source:
    """Parse `saved_model.pb`, or `saved_model.pbtxt`. Raises ModelImportError."""
    path = next(
        (p for name in ("pb", "pbtxt") if (p := folder / f"saved_model.{name}").exists()), None
    )
    if path is None:
        what = "a folder without saved_model.pb" if folder.is_dir() else "no folder"
        raise ModelImportError(Code.FILE_MISSING, f"{folder}: {what}")
    data = read_bytes(path)
    model = parsed(SavedModel(), data, f"{folder.name}/{path.name}", "SavedModel")
    source = Source(folder, model, sha256(data).hexdigest())
    if not model.meta_graphs:
        source.fail(Code.FILE_INVALID, f"{path.name} of {len(data)} bytes has no meta graph")
    return source


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelImportError(Code.FILE_MISSING, f"{path}: {error.strerror}") from error


def parsed(message: Message, data: bytes, place: str, kind: str) -> Message:
    """A message from its bytes or from its text. Raises ModelImportError."""
    try:
        if place.endswith(".pbtxt"):
            text = re.sub(r"(?<=: )DT_\w+", number_of_type, data.decode())
            return text_format.Parse(text, message, allow_unknown_field=True)
        message.ParseFromString(data)
    except (DecodeError, ValueError, text_format.ParseError) as error:
        raise ModelImportError(
            Code.FILE_INVALID,
            f"{place}: no {kind}, or a damaged one: {len(data)} bytes do not parse",
        ) from error
    return message


def number_of_type(name: re.Match[str]) -> str:
    """A `DataType` as our schema has it, where text has its name."""
    word = name[0].removeprefix("DT_")
    number = TYPE_NAMES.index(word.removesuffix("_REF")) + REF * word.endswith("_REF")
    return str(number)


def read_graph(path: Path) -> tuple[Message, str]:
    """A frozen graph and its identity. Raises ModelImportError if there are no nodes."""
    data = read_bytes(path)
    graph = parsed(GraphDef(), data, path.name, "GraphDef")
    if not graph.node:
        raise ModelImportError(
            Code.FILE_INVALID, f"{path.name}: no GraphDef: {len(data)} bytes without a node"
        )
    return graph, sha256(data).hexdigest()


# -- Choices ----------------------------------------------------------------------------------


def tag_sets(source: Source) -> list[list[str]]:
    return [list(meta.meta_info_def.tags) for meta in source.model.meta_graphs]


def meta_graph(source: Source, tags: Sequence[str] | None = None) -> Message:
    """The meta graph of these tags; without tags the one to serve, else the first.

    Raises CallerError if there are none of these tags.
    """
    sets = [set(tags) for tags in tag_sets(source)]
    if tags is None:
        return source.model.meta_graphs[sets.index({SERVE}) if {SERVE} in sets else 0]
    if set(tags) not in sets:
        known = "; ".join(", ".join(tags) or "none" for tags in tag_sets(source))
        raise CallerError(
            Code.OPTION_INVALID,
            f"{source.name}: no meta graph has the tags {', '.join(tags) or 'none'}; "
            f"tag sets: {known}",
        )
    return source.model.meta_graphs[sets.index(set(tags))]


def signature_keys(meta: Message) -> list[str]:
    """The signatures that compute something, by name."""
    return sorted(
        key for key, s in meta.signature_def.items() if s.outputs and key != INIT_SIGNATURE
    )


def signature(source: Source, meta: Message, key: str | None = None) -> tuple[str, Message]:
    """The signature of this key; without a key the default one, else the first.

    Raises CallerError for an unknown key, ModelImportError if there is nothing to choose.
    """
    keys = signature_keys(meta)
    if key is None:
        if not keys:
            source.fail(Code.MODEL_EMPTY, "the model has no signature with outputs")
        key = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in keys else keys[0]
    if key not in keys:
        raise CallerError(
            Code.OPTION_INVALID,
            f"{source.name}: no signature '{key}'; signatures: {', '.join(keys) or 'none'}",
        )
    chosen = meta.signature_def[key]
    for info in (*chosen.inputs.values(), *chosen.outputs.values()):
        if not info.name:
            source.fail(
                Code.MODEL_UNSUPPORTED, f"signature '{key}' has a tensor that is sparse or ragged"
            )
    return key, chosen


# -- Variables --------------------------------------------------------------------------------


class SavedVariables:
    """The values of a meta graph's variables, from the checkpoint beside it."""

    def __init__(self, source: Source, meta: Message) -> None:
        self.source = source
        self.meta = meta

    def value(self, node: Message, name: str) -> Array:
        """Of the variable of a node, by the node or by the name that sessions share."""
        shared = attribute(node, "shared_name").s.decode(errors="replace")
        key = self.keys.get(name) or self.keys.get(node.name) or self.keys.get(shared)
        if key is None:
            self.source.fail(
                Code.WEIGHT_MISSING, f"nothing restores variable '{name}', so it has no value"
            )
        try:
            return part_of(self.checkpoint.array(key[0]), key[1])
        except (VerifyException, ValueError) as error:
            self.source.fail(Code.WEIGHT_INVALID, f"variable '{name}': {error}")

    @cached_property
    def checkpoint(self) -> Checkpoint:
        try:
            return Checkpoint(self.source.folder / "variables" / "variables")
        except VerifyException as error:
            self.source.fail(Code.WEIGHT_MISSING, str(error))

    @cached_property
    def keys(self) -> Mapping[str, tuple[str, str]]:
        """Checkpoint keys, and which part of those tensors, by the names of variable nodes."""
        graph, restore = self.meta.graph_def, self.meta.saver_def.restore_op_name
        inliner = Inliner(graph, self.source.name)
        name = restore.partition(":")[0]
        if name not in inliner.root.nodes.by_name:
            return {}
        keys: dict[str, tuple[str, str]] = {}
        start = inliner.root.nodes.node(name)
        for scope, node in inliner.effects(inliner.root, [start]):
            if node.op in ("AssignVariableOp", "Assign"):
                target, value = inliner.inputs(scope, node)[:2]
                key = restored_key(inliner, value)
                if key is not None and target.node.op in VARIABLES:
                    keys[target.name] = key
                    keys.setdefault(attribute(target.node, "shared_name").s.decode(), key)
        return keys


def restored_key(inliner: Inliner, value: Place) -> tuple[str, str] | None:
    """The checkpoint key of a value that a checkpoint gives, and which part, or None."""
    while value.node.op == "Identity":
        value = inliner.inputs(value.scope, value.node)[0]
    if value.node.op != "RestoreV2":
        return None
    names, parts = (listed_strings(inliner, value.scope, value.node, place) for place in (1, 2))
    if value.position >= len(names):
        return None
    return names[value.position], parts[value.position] if value.position < len(parts) else ""


def listed_strings(inliner: Inliner, scope: Scope, node: Message, position: int) -> list[str]:
    """The keys, or the parts, that a `RestoreV2` reads."""
    names = inliner.inputs(scope, node)[position].node
    return [text.decode(errors="replace") for text in attribute(names, "value").tensor.string_val]


def part_of(array: Array, part: str) -> Array:
    """The part of a tensor such as `8 6 0,4:-`: its shape, then a start and a length, or all."""
    extents = part.rpartition(" ")[2].split(":") if part else []
    places: list[slice] = []
    for extent in extents:
        start, _, length = extent.partition(",")
        whole = extent == "-"
        places.append(slice(None) if whole else slice(int(start), int(start) + int(length)))
    return array[tuple(places)]
