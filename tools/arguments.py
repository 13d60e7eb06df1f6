"""Arguments that several commands share, and the readers of their values."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from ranvier.dialects.diagnostics import CallerError, Code

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
        help='inputs as {"inputs": {"x": [[1,3,224,224], "float32"]}}: text, a file or a file URI',
    )


def shapes_of(arguments: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """Static shapes by input name from `--io-config` and `--shape`, which wins."""
    shapes = io_config_shapes(arguments.io_config) if arguments.io_config else {}
    for text in arguments.shape:
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


def io_config_shapes(text: str) -> dict[str, tuple[int, ...]]:
    """Shapes by input name of an io-config. Raises CallerError with the place of an error."""
    if not text.lstrip().startswith("{"):
        location = urlparse(text)
        path = Path(unquote(location.path) if location.scheme == "file" else text)
        if not path.is_file():
            raise CallerError(Code.FILE_MISSING, f"--io-config {path}: no such file")
        text = path.read_text()
    try:
        config: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise CallerError(
            Code.OPTION_INVALID,
            f"--io-config is no JSON at line {error.lineno} column {error.colno}: {error.msg}",
        ) from error
    inputs = config.get("inputs") if isinstance(config, Mapping) else None
    if not isinstance(inputs, Mapping):
        raise CallerError(Code.OPTION_INVALID, "--io-config has no object 'inputs'")
    shapes: dict[str, tuple[int, ...]] = {}
    for name, entry in inputs.items():
        sizes = entry[0] if isinstance(entry, list) and entry else None
        if not isinstance(sizes, list) or not all(type(s) is int and s >= 0 for s in sizes):
            raise CallerError(
                Code.SHAPE_UNKNOWN, f"--io-config input '{name}': every dimension is an integer"
            )
        shapes[str(name)] = tuple(sizes)
    return shapes
