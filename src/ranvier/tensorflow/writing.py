"""Put a converted graph into a SavedModel: one signature new, the others as they were.

The new meta graph is one of TF1's form, whose signatures are subgraphs of one graph: TensorFlow 1
and 2 load it alike. Nodes of the original that other signatures need keep their names, unless a new
node has taken one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.importers.tensorflow.flatten import PLACEHOLDERS
from ranvier.importers.tensorflow.graph import tensor_named
from ranvier.importers.tensorflow.inline import VARIABLES
from ranvier.importers.tensorflow.protos import GraphDef, Message, MetaGraphDef, SavedModel
from ranvier.importers.tensorflow.saved_model import INIT_SIGNATURE, Source

ORIGINAL, NEW = "/uncompiled", "/compiled"
"""End the names of original and of new nodes where there are both."""


def new_meta_graph(
    meta: Message, key: str, nodes: Iterable[Message], functions: Mapping[str, Message]
) -> Message:
    """The meta graph with these nodes for a signature, and what its other signatures need."""
    new = MetaGraphDef()
    new.CopyFrom(meta)
    new.ClearField("object_graph_def")
    added = {node.name: node for node in nodes}
    kept = needed_nodes(meta, key)
    graph = GraphDef()
    graph.versions.CopyFrom(meta.graph_def.versions)
    both = {name for name in kept if name in added and added[name].op not in PLACEHOLDERS}
    taken = {name for name in both if added[name].op == "IdentityN"}  # outputs keep their names
    graph.node.extend(renamed(node, both - taken, NEW) for node in added.values())
    for name, node in kept.items():
        if name not in added or name in both:
            graph.node.add().CopyFrom(renamed(node, taken, ORIGINAL))
    library: dict[str, Message] = {f.signature.name: f for f in meta.graph_def.library.function}
    library |= functions
    graph.library.CopyFrom(meta.graph_def.library)
    del graph.library.function[:]
    graph.library.function.extend(reachable(graph.node, library))
    new.graph_def.CopyFrom(graph)
    if not any(node.op in VARIABLES for node in graph.node):
        new.ClearField("saver_def")
        new.ClearField("collection_def")
    if INIT_SIGNATURE in new.signature_def and not has_init(new):
        del new.signature_def[INIT_SIGNATURE]
    return new


def needed_nodes(meta: Message, key: str) -> dict[str, Message]:
    """The nodes that other signatures, and the restoring of their variables, need."""
    by_name = {node.name: node for node in meta.graph_def.node}
    others = [s for name, s in meta.signature_def.items() if name not in (key, INIT_SIGNATURE)]
    ends = [info.name for s in others for info in (*s.inputs.values(), *s.outputs.values())]
    kept = reached(by_name, [tensor_named(name).node for name in ends])
    if others and meta.collection_def:
        return by_name  # collections name nodes of all kinds
    if others and meta.saver_def.restore_op_name:
        saver = meta.saver_def
        names = (saver.restore_op_name, saver.save_tensor_name, saver.filename_tensor_name)
        kept |= reached(by_name, [tensor_named(name).node for name in names])
    ends = (
        [info.name for info in meta.signature_def[INIT_SIGNATURE].outputs.values()]
        if (INIT_SIGNATURE in meta.signature_def and others)
        else []
    )
    assets = [asset.tensor_info.name for asset in meta.asset_file_def]
    return kept | reached(by_name, [tensor_named(name).node for name in (*ends, *assets)])


def reached(by_name: Mapping[str, Message], ends: Iterable[str]) -> dict[str, Message]:
    """Nodes by name, with all that they wait for."""
    pending, found = list(ends), dict[str, Message]()
    while pending:
        name = pending.pop()
        if name not in found and name in by_name:
            found[name] = by_name[name]
            pending += [text.removeprefix("^").partition(":")[0] for text in by_name[name].input]
    return found


def renamed(node: Message, taken: set[str], end: str) -> Message:
    """A node among others whose names are taken and get another end."""
    copy = type(node)()
    copy.CopyFrom(node)
    if node.name in taken:
        copy.name = node.name + end
    inputs = [rename_input(text, taken, end) for text in node.input]
    del copy.input[:]
    copy.input.extend(inputs)
    return copy


def rename_input(text: str, taken: set[str], end: str) -> str:
    control = "^" if text.startswith("^") else ""
    name, separator, index = text.removeprefix("^").partition(":")
    return f"{control}{name}{end if name in taken else ''}{separator}{index}"


def reachable(nodes: Iterable[Message], library: Mapping[str, Message]) -> list[Message]:
    """The functions that nodes call, and those that these call."""
    found: dict[str, Message] = {}
    pending = list(nodes)
    while pending:
        node = pending.pop()
        names = {node.op}
        for value in node.attr.values():
            names |= {value.func.name, *(f.name for f in value.list.func)}
        for name in names & library.keys() - found.keys():
            found[name] = library[name]
            pending += library[name].node_def
    return list(found.values())


def has_init(meta: Message) -> bool:
    names = {node.name for node in meta.graph_def.node}
    infos = meta.signature_def[INIT_SIGNATURE].outputs.values()
    return all(tensor_named(info.name).node in names for info in infos)


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
        (temporary / "saved_model.pb").write_bytes(model.SerializeToString())
        for name in ("variables", "assets"):
            original = source.folder / name
            if original.is_dir() and (name != "variables" or keeps_variables):
                shutil.copytree(original, temporary / name)
        (temporary / "variables").mkdir(exist_ok=True)
