"""Find out which framework wrote a model, and read it with that framework's importer.

A model is recognised by its content, never by its extension. Importers are loaded only when a
model needs them, so that nothing imports a framework before then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeAlias

from xdsl.dialects.builtin import ModuleOp

from ranvier.dialects.diagnostics import Code
from ranvier.importers.errors import ModelImportError

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


class Importer(Protocol):
    """Reads the files of one model."""

    def __call__(
        self, paths: Sequence[Path], shapes: Shapes, *, untyped: bool = False
    ) -> ModuleOp: ...


FRAMEWORKS = ("ONNX", "PYTORCH", "TENSORFLOW", "MXNET", "XLA")
IMPORTERS = {
    "ONNX": ("ranvier.importers.onnx", "import_onnx"),
    "MXNET": ("ranvier.importers.mxnet", "import_mxnet"),
    "TENSORFLOW": ("ranvier.importers.tensorflow", "import_tensorflow"),
    "PYTORCH": ("ranvier.importers.torch.file", "import_torch"),
}

# First bytes of files that are surely not ONNX, whose protobuf has no magic number of its own but
# begins with the number of its version; a graph of TensorFlow begins with a node.
_SIGNATURES = {
    b"PK\x03\x04": "PYTORCH",
    b"\x89HDF\r\n\x1a\n": "TENSORFLOW",
    b"ML\xefR": "XLA",
    b"module": "XLA",
    b"HloModule": "XLA",
    b"{": "MXNET",
    b"\x12\x01\0\0\0\0\0\0": "MXNET",
    b"\n": "TENSORFLOW",
}


def import_model(
    paths: Sequence[Path],
    *,
    framework: str | None = None,
    shapes: Shapes | None = None,
    untyped: bool = False,
) -> ModuleOp:
    """The `nn` module of a model, one or more files of any framework that has an importer.

    `framework` overrides recognition; `shapes` gives static shapes by input name. With `untyped`,
    ops whose results have no known type are imported too, as `nn.opaque` with results of
    `tensor<*xnone>`, and so is what reads those: such a module can be placed, not compiled. Raises
    ModelImportError with the file, the node and what would do.
    """
    if not paths:
        raise ModelImportError(Code.OPTION_INVALID, "no model file given")
    for path in paths:
        if not path.exists():
            raise ModelImportError(Code.FILE_MISSING, f"{path}: no such file")
    chosen = recognise(paths[0]) if framework is None else framework
    if chosen not in FRAMEWORKS:
        raise ModelImportError(
            Code.OPTION_INVALID, f"unknown framework '{chosen}'; one of {', '.join(FRAMEWORKS)}"
        )
    if chosen not in IMPORTERS:
        raise ModelImportError(
            Code.MODEL_UNSUPPORTED,
            f"{paths[0].name}: models of {chosen} are not readable; readable: "
            f"{', '.join(IMPORTERS)}",
        )
    module, name = IMPORTERS[chosen]
    try:
        importer: Importer = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("ranvier"):
            raise
        raise ModelImportError(
            Code.PROVIDER_MISSING,
            f"{paths[0].name}: models of {chosen} are read with the package '{error.name}', which "
            "is not installed: pip install 'ranvier[torch]'",
        ) from error
    return importer(paths, shapes or {}, untyped=untyped)


def recognise(path: Path) -> str:
    """The framework that wrote a file or folder; ONNX where nothing says otherwise."""
    if path.is_dir():
        if any((path / f"saved_model.{end}").exists() for end in ("pb", "pbtxt")):
            return "TENSORFLOW"
        raise ModelImportError(Code.FILE_INVALID, f"{path}: a folder without saved_model.pb")
    try:
        with path.open("rb") as stream:
            start = stream.read(16)
    except OSError as error:
        raise ModelImportError(Code.FILE_MISSING, f"{path}: {error.strerror}") from error
    return next((name for magic, name in _SIGNATURES.items() if start.startswith(magic)), "ONNX")
