"""Put a converted graph into a SavedModel: one signature new, the others as they were.

The new meta graph is one of TF1's form, whose signatures are subgraphs of one graph: TensorFlow 1
and 2 load it alike. Nodes of the original that other signatures need keep their names, unless a new
node has taken one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.importers.tensorflow.flatten import PLACEHOLDERS
from ranvier.importers.tensorflow.graph import attribute, tensor_named
from ranvier.importers.tensorflow.inline import VARIABLES
from ranvier.importers.tensorflow.protos import GraphDef, Message, MetaGraphDef, SavedModel
from ranvier.importers.tensorflow.saved_model import INIT_SIGNATURE, Source

ORIGINAL, NEW = "/uncompiled", "/compiled"
"""End the names of original and of new nodes where there are both."""
INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
"""Collections of TF1 that name what fills tables."""
GRADIENT = "_gradient_op_type"
"""Names the gradient that a function of the library computes for a node."""


def new_meta_graph(
    meta: Message, key: str, nodes: Iterable[Message], functions: Mapping[str, Message]
) -> Message:
    """The meta graph with these nodes for a signature, and what its other signatures need."""
    new = MetaGraphDef()
    new.CopyFrom(meta)
    new.ClearField("object_graph_def")
    added = {node.name: node for node in nodes}
    kept = needed_nodes(meta, key, added)
    graph = GraphDef()
    graph.versions.CopyFrom(meta.graph_def.versions)
    both = {name for name in kept if name in added and not is_shared(added[name])}
    own = new.signature_def[key]  # its inputs and outputs keep their names
    ends = {tensor_named(info.name).node for side in sides(own) for info in side.values()}
    known = {*kept, *added}
    taken = {name: free_name(name + ORIGINAL, known) for name in both & ends}
    moved = {name: free_name(name + NEW, known) for name in both - ends}
    graph.node.extend(renamed(node, moved) for node in added.values())
    for name, node in kept.items():
        if name not in added or name in both:
            graph.node.add().CopyFrom(renamed(node, taken))
    add_library(graph, meta.graph_def.library, functions)
    new.graph_def.CopyFrom(graph)
    for name, other in new.signature_def.items():
        if name not in (key, INIT_SIGNATURE):
            for info in (info for side in sides(other) for info in side.values()):
                info.name = rename_input(info.name, taken)
    drop_what_is_missing(new)
    return new


def sides(signature: Message) -> tuple[Mapping[str, Message], Mapping[str, Message]]:
    return signature.inputs, signature.outputs


def is_shared(node: Message) -> bool:
    """Whether original and new nodes use the same one: an input, or a table that is filled once."""
    return node.op in PLACEHOLDERS or "HashTable" in node.op


def drop_what_is_missing(new: Message) -> None:
    """The restoring of variables and the collections of a graph that has none of these left.

    What fills tables becomes a collection as in TF1: as a signature it would be one among others.
    """
    names = {node.name for node in new.graph_def.node}
    start = init_ops(new)
    new.signature_def.pop(INIT_SIGNATURE, None)
    if not any(node.op in VARIABLES for node in new.graph_def.node):
        new.ClearField("saver_def")
        new.ClearField("collection_def")
    for name in INIT_COLLECTIONS:
        new.collection_def.pop(name, None)
    if start and {tensor_named(name).node for name in start} <= names:
        new.collection_def[INIT_COLLECTIONS[0]].node_list.value.extend(start)


def init_ops(meta: Message) -> list[str]:
    """What fills the tables of a meta graph."""
    if INIT_SIGNATURE in meta.signature_def:
        return [info.name for info in meta.signature_def[INIT_SIGNATURE].outputs.values()]
    listed = [n for n in INIT_COLLECTIONS if n in meta.collection_def]
    return [text for name in listed for text in meta.collection_def[name].node_list.value]


def needed_nodes(meta: Message, key: str, added: Mapping[str, Message]) -> dict[str, Message]:
    """The nodes that other signatures, and the filling of their variables and tables, need."""
    by_name = {node.name: node for node in meta.graph_def.node}
    others = [
        meta.signature_def[name]
        for name in sorted(meta.signature_def)
        if name not in (key, INIT_SIGNATURE)
    ]
    if others and meta.collection_def:
        return by_name  # collections name nodes of all kinds
    ends = [side[name].name for s in others for side in sides(s) for name in sorted(side)]
    ends += [asset.tensor_info.name for asset in meta.asset_file_def]
    if others or any("HashTable" in node.op for node in added.values()):
        ends += init_ops(meta)
    kept = reached(by_name, [tensor_named(name).node for name in ends])
    if any(node.op in VARIABLES for node in kept.values()) or others:
        saver = meta.saver_def
        names = (saver.restore_op_name, saver.save_tensor_name, saver.filename_tensor_name)
        kept |= reached(by_name, [tensor_named(name).node for name in names])
    return kept


def reached(by_name: Mapping[str, Message], ends: Iterable[str]) -> dict[str, Message]:
    """Nodes by name, with all that they wait for."""
    pending, found = list(ends), dict[str, Message]()
    while pending:
        name = pending.pop()
        if name not in found and name in by_name:
            found[name] = by_name[name]
            pending += [text.removeprefix("^").partition(":")[0] for text in by_name[name].input]
    return found


def free_name(name: str, known: Collection[str]) -> str:
    while name in known:
        name += "_"
    return name


def renamed(node: Message, names: Mapping[str, str]) -> Message:
    """A node among others that get new names."""
    copy = type(node)()
    copy.CopyFrom(node)
    copy.name = names.get(node.name, node.name)
    inputs = [rename_input(text, names) for text in node.input]
    del copy.input[:]
    copy.input.extend(inputs)
    return copy


def rename_input(text: str, names: Mapping[str, str]) -> str:
    control = "^" if text.startswith("^") else ""
    name, separator, index = text.removeprefix("^").partition(":")
    return f"{control}{names.get(name, name)}{separator}{index}"


def add_library(graph: Message, original: Message, functions: Mapping[str, Message]) -> None:
    """The functions that nodes call, those that these call, and their gradients."""
    library: dict[str, Message] = {f.signature.name: f for f in original.function}
    library |= functions
    gradients = {g.registered_op_type: g for g in original.registered_gradients}
    gradients |= {g.function_name: g for g in original.gradient}
    found: dict[str, Message] = {}
    pending = list(graph.node)
    while pending:
        node = pending.pop()
        names = {node.op, attribute(node, GRADIENT).s.decode(errors="replace")}
        for value in node.attr.values():
            names |= {value.func.name, *(f.name for f in value.list.func)}
        names |= {gradients[name].gradient_func for name in names & gradients.keys()}
        for name in sorted(names & library.keys() - found.keys()):
            found[name] = library[name]
            pending += library[name].node_def
    graph.library.function.extend(found.values())
    graph.library.gradient.extend(g for g in original.gradient if g.gradient_func in found)
    graph.library.registered_gradients.extend(
        g for g in original.registered_gradients if g.gradient_func in found
    )


# -- Files ------------------------------------------------------------------------------------


@contextmanager
def complete_or_absent(folder: Path):
    """A folder to fill, which gets its name when all is written."""
    parent = folder.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=parent))
    except OSError as error:
        raise CallerError(Code.FILE_UNWRITABLE, f"{folder}: {error.strerror}") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_saved_model(source: Source, meta: Message, new: Message, folder: Path) -> None:
    """A SavedModel with one meta graph replaced. Raises CallerError if it cannot be written."""
    model = SavedModel(saved_model_schema_version=1)
    for old in source.model.meta_graphs:
        model.meta_graphs.add().CopyFrom(new if old is meta else old)
    if (size := model.ByteSize()) >= 1 << 31:
        raise CallerError(
            Code.MODEL_UNSUPPORTED,
            f"{source.name}: compiled it has {size} bytes, a SavedModel at most {(1 << 31) - 1}",
        )
    keeps_variables = new.HasField("saver_def") or len(model.meta_graphs) > 1
    with complete_or_absent(folder) as temporary:
        (temporary / "saved_model.pb").write_bytes(model.SerializeToString(deterministic=True))
        for name in ("variables", "assets"):
            original = source.folder / name
            if original.is_dir() and (name != "variables" or keeps_variables):
                shutil.copytree(original, temporary / name)
        (temporary / "variables").mkdir(exist_ok=True)
