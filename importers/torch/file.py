"""Models of PyTorch in files: TorchScript, and exported programs.

Both are zip archives. Nothing in them is unpickled beyond tensors, and no expression of symbolic
sizes is evaluated: programs with such sizes are refused before PyTorch reads them. PyTorch itself
must be installed.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree
from xdsl.dialects.builtin import ModuleOp

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.shapes import Shape
from ranvier.importers.errors import ModelImportError
from ranvier.importers.torch import import_graph, import_program
from ranvier.importers.torch.model import Imported
from ranvier.importers.torch.unknown import stand_ins, unknown_calls

UNKNOWN_OP = re.compile(r"Unknown builtin op: ([\w:]+)")
SYMBOLIC = b'"expr_str"'
"""Where the JSON of an exported program has a size that is no number."""


def import_torch(
    paths: Sequence[Path], shapes: Mapping[str, Shape], *, untyped: bool = False
) -> ModuleOp:
    """The module of one file that `torch.export.save` or `torch.jit.save` wrote.

    TorchScript states no types: `shapes` gives those of its inputs, which are of f32. Raises
    ModelImportError.
    """
    if len(paths) != 1:
        raise ModelImportError(
            Code.OPTION_INVALID,
            f"a model of PyTorch is one file, got {len(paths)}: "
            f"{', '.join(path.name for path in paths)}",
        )
    (path,) = paths
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own formats
        if is_exported(path):
            imported = import_exported_file(path, shapes, untyped=untyped)
        else:
            imported = import_script_file(path, shapes, untyped=untyped)
    for node, reason in () if untyped else imported.foreign.items():
        raise ModelImportError(
            Code.NODE_NOT_STATIC,
            f"{path.name}: '{node}': {reason.text}; ranvier.torch.trace leaves such ops to PyTorch",
        )
    return imported.module


def is_exported(path: Path) -> bool:
    """Whether a file is an exported program; else it is TorchScript. Raises ModelImportError."""
    try:
        with ZipFile(path) as archive:
            members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            graphs = [info for name, info in members.items() if name.startswith("models/")]
            if graphs and any(info.compress_type != ZIP_STORED for info in graphs):
                raise invalid(path, "its graph is compressed, which PyTorch does not do")
            if any(SYMBOLIC in archive.read(info) for info in graphs):
                raise ModelImportError(
                    Code.SHAPE_UNKNOWN,
                    f"{path.name}: it has sizes that are no numbers: dynamic dimensions, which "
                    "export without dynamic_shapes fixes, or results that are as long as their "
                    "values say, as those of nonzero, which ranvier.torch.trace leaves to PyTorch",
                )
    except (BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise invalid(path, str(error)) from error
    if not graphs and "constants.pkl" not in members:
        raise invalid(
            path,
            "it has no graph, as pickled modules and state dicts; write the model with "
            "torch.export.save or torch.jit.save",
        )
    return bool(graphs)


def invalid(path: Path, reason: str) -> ModelImportError:
    return ModelImportError(Code.FILE_INVALID, f"{path.name}: {reason}")


def import_exported_file(path: Path, shapes: Mapping[str, Shape], *, untyped: bool) -> Imported:
    missing = unknown_calls(path)
    if missing and not untyped:
        raise no_library(path, next(iter(missing)))
    with stand_ins(path, missing):
        return import_read_file(path, load_exported(path), shapes, untyped=untyped)


def no_library(path: Path, op: str) -> ModelImportError:
    return ModelImportError(
        Code.PROVIDER_MISSING,
        f"{path.name}: the op {op.removesuffix('.default')} is of no library that is loaded; use "
        "ranvier.torch.trace where it is",
    )


def import_read_file(
    path: Path, exported: ExportedProgram, shapes: Mapping[str, Shape], *, untyped: bool
) -> Imported:
    inputs = {
        node.name: tuple(node.meta["val"].shape)
        for node in exported.graph.find_nodes(op="placeholder")
        if node.name in exported.graph_signature.user_inputs
        and isinstance(node.meta.get("val"), torch.Tensor)
    }
    check_names(path, shapes, list(inputs))
    for name, shape in shapes.items():
        if tuple(shape) != inputs[name]:
            raise ModelImportError(
                Code.SHAPE_MISMATCH,
                f"{path.name}: input '{name}' was exported as {list(inputs[name])}, got "
                f"{list(shape)}",
            )
    return import_program(exported, name=path.name, untyped=untyped)


def load_exported(path: Path) -> ExportedProgram:
    """Raises ModelImportError for a damaged file, and for objects other than tensors in it.

    Classes of other packages that the model takes or returns, which the file names, are lists: only
    their tensors matter, and no package is imported because a file says so.
    """
    load: Any = torch.load

    def tensors_only(*args: Any, **kwargs: Any) -> Any:
        return load(*args, **{**kwargs, "weights_only": True})

    try:
        with patch.object(torch, "load", tensors_only), structures_as_lists(), quiet():
            return torch.export.load(path)
    except Exception as error:  # of many kinds, for a file that may hold anything
        raise invalid(path, f"torch.export.load: {first_line(error)}") from error


@contextmanager
def structures_as_lists() -> Generator[None]:
    """Let PyTorch read structures of classes that nobody has registered in this process."""
    trees: Any = pytree
    protocols: dict[int, Any] = trees._SUPPORTED_PROTOCOLS
    known: Mapping[str, type] = trees.SERIALIZED_TYPE_TO_PYTHON_TYPE

    def plain(schema: Any) -> Any:
        children = [plain(child) for child in schema["children_spec"]]
        if schema["type"] is None or schema["type"] in known:
            return {**schema, "children_spec": children}
        return {"type": "builtins.list", "context": "null", "children_spec": children}

    def reader(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda schema: read(plain(schema))

    plainly = {
        number: protocol._replace(json_to_treespec=reader(protocol.json_to_treespec))
        for number, protocol in protocols.items()
    }
    trees.treespec_loads.cache_clear()
    try:
        with patch.dict(protocols, plainly):
            yield
    finally:
        trees.treespec_loads.cache_clear()


@contextmanager
def quiet() -> Generator[None]:
    """Without the tracebacks that PyTorch logs before it raises an error."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def import_script_file(path: Path, shapes: Mapping[str, Shape], *, untyped: bool) -> Imported:
    try:
        script: Any = torch.jit.load(path, map_location="cpu")
        graph: Any = script.inlined_graph
    except Exception as error:  # of many kinds too: the reader is C++, the file is not trusted
        if unknown := UNKNOWN_OP.search(str(error)):
            raise no_library(path, unknown[1]) from error
        raise invalid(path, f"torch.jit.load: {first_line(error)}") from error
    names = [value.debugName().partition(".")[0] for value in list(graph.inputs())[1:]]
    check_names(path, shapes, names)
    if missing := [name for name in names if name not in shapes]:
        raise ModelImportError(
            Code.SHAPE_UNKNOWN,
            f"{path.name}: TorchScript states no shape of its input '{missing[0]}'; give it with "
            f"--shape {missing[0]}=1x3x224x224",
        )
    examples = [torch.empty(shapes[name], device="meta") for name in names]
    return import_graph(script.eval(), examples, name=path.name, untyped=untyped)


def check_names(path: Path, shapes: Mapping[str, Shape], names: Sequence[str]) -> None:
    """Raises ModelImportError for a shape of what is no input."""
    for name in shapes:
        if name not in names:
            raise ModelImportError(
                Code.INPUT_UNKNOWN, f"{path.name}: no input '{name}'; inputs: {', '.join(names)}"
            )


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
