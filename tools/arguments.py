"""Arguments that several commands share, and the models that they name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.tools.io_config import IoConfig, Shapes, apply_io_config, read_io_config

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

FRAMEWORKS = ("ONNX", "PYTORCH", "TENSORFLOW", "MXNET", "XLA")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, its framework and its shapes."""
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="model file")
    parser.add_argument(
        "--framework", choices=FRAMEWORKS, help="framework of the model (default: by content)"
    )
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=1x3x224x224",
        help="static shape of an input, repeatable; `NAME=scalar` for no dimensions",
    )
    parser.add_argument(
        "--io-config",
        metavar="JSON",
        help='inputs and outputs as {"inputs": {"x": [[1,3,224,224], "float32"]}, "outputs": '
        '["y"]}: text, a file or a file URI',
    )


def read_model(
    arguments: argparse.Namespace, paths: Sequence[Path], *, untyped: bool = False
) -> ModuleOp:
    """The module of one model, with the shapes and outputs that the arguments ask for.

    With `untyped`, ops whose results have no type that `nn` knows are in it too, with the types
    that their framework infers if it is installed.
    """
    from ranvier.importers.registry import import_model
    from ranvier.tools.framework_types import with_framework_types

    config = read_io_config(arguments.io_config) if arguments.io_config else IoConfig()
    shapes = config.shapes | shapes_of(arguments.shape)
    module = import_model(paths, framework=arguments.framework, shapes=shapes, untyped=untyped)
    if untyped:
        module = with_framework_types(module, paths, shapes)
    apply_io_config(module, config)
    return module


def shapes_of(texts: Sequence[str]) -> Shapes:
    """Static shapes by input name from `--shape`."""
    shapes: Shapes = {}
    for text in texts:
        name, separator, sizes = text.rpartition("=")
        try:
            shape = () if sizes == "scalar" else tuple(int(size) for size in sizes.split("x"))
        except ValueError:
            shape = (-1,)
        if not separator or not name or min(shape, default=0) < 0:
            raise CallerError(
                Code.OPTION_INVALID, f"--shape {text}: expected NAME=1x3x224x224 or NAME=scalar"
            )
        shapes[name] = shape
    return shapes
