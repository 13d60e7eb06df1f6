"""`--io-config`: the inputs and outputs that neuron-cc's users write down, checked.

A JSON object `{"inputs": {"x:0": [[1, 224, 224, 3], "float32"]}, "outputs": ["y:0"]}`: the text
itself, a file that holds it, or a `file://` URI. Shapes make a model static, element types are
compared with the model's, and `outputs` selects among its outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from ranvier.dialects.diagnostics import CallerError, Code

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

KEYS = ("inputs", "outputs")
EXAMPLE = '[[1, 3, 224, 224], "float32"]'

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class IoConfig:
    """What a valid io-config says."""

    shapes: Shapes = field(default_factory=Shapes)
    dtypes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Element types by input name."""
    outputs: tuple[str, ...] = ()
    """Names of outputs to keep; empty for all."""


def read_io_config(text: str) -> IoConfig:
    """The io-config in an argument. Raises CallerError with the place of an error."""
    where = "--io-config"
    if not text.lstrip().startswith("{"):
        location = urlparse(text)
        path = Path(unquote(location.path) if location.scheme == "file" else text)
        where = f"--io-config {path}"
        if not path.is_file():
            raise CallerError(Code.FILE_MISSING, f"{where}: no such file")
        text = path.read_text(errors="replace")
    try:
        config: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise invalid(
            f"{where} is no JSON at line {error.lineno} column {error.colno}: {error.msg}"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("inputs"), dict):
        raise invalid(f"{where} has no object 'inputs'")
    if unknown := sorted(set(config) - set(KEYS)):
        raise invalid(f"{where} has a key '{unknown[0]}'; it has {' and '.join(KEYS)} only")
    return IoConfig(*read_inputs(where, config["inputs"]), read_outputs(where, config))


def invalid(text: str) -> CallerError:
    return CallerError(Code.OPTION_INVALID, text)


def read_inputs(where: str, inputs: Mapping[str, Any]) -> tuple[Shapes, dict[str, str]]:
    """Shapes and element types by name."""
    shapes: Shapes = {}
    dtypes: dict[str, str] = {}
    for name, entry in inputs.items():
        match entry:
            case [list(sizes), str(dtype)]:
                dtypes[name] = dtype
            case [list(sizes)]:
                pass
            case _:
                raise invalid(f"{where} input '{name}': expected {EXAMPLE}")
        if not all(type(size) is int and size >= 0 for size in sizes):
            raise CallerError(
                Code.SHAPE_UNKNOWN, f"{where} input '{name}': every dimension is an integer"
            )
        shapes[name] = tuple(sizes)
    return shapes, dtypes


def read_outputs(where: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of outputs, each once."""
    outputs = config.get("outputs", [])
    if not isinstance(outputs, list) or not all(isinstance(name, str) for name in outputs):
        raise invalid(f"{where}: 'outputs' is a list of names")
    if len(set(outputs)) < len(outputs):
        raise invalid(f"{where}: 'outputs' names an output twice")
    return tuple(outputs)


def apply_io_config(module: ModuleOp, config: IoConfig) -> None:
    """Compare element types with the model's, and keep the outputs that are asked for.

    Raises CallerError for another element type and for a name that is no output.
    """
    from ranvier.backend.reference import input_names, main_of, output_names
    from ranvier.dialects.nn.types import dtype_of, element_of

    main = main_of(module)
    for name, argument in zip(input_names(main), main.args, strict=True):
        declared = str(dtype_of(element_of(argument)))
        if config.dtypes.get(name, declared) != declared:
            raise CallerError(
                Code.INPUT_TYPE,
                f"--io-config input '{name}' is {config.dtypes[name]}, the model declares "
                f"{declared}",
            )
    names = output_names(main)
    for name in config.outputs:
        if name not in names:
            raise invalid(f"--io-config: no output '{name}'; outputs: {', '.join(names)}")
    if config.outputs and config.outputs != tuple(names):
        keep_outputs(module, [names.index(name) for name in config.outputs])


def keep_outputs(module: ModuleOp, positions: Sequence[int]) -> None:
    """Return these outputs alone, in this order."""
    from xdsl.dialects.builtin import ArrayAttr, FunctionType
    from xdsl.dialects.func import ReturnOp

    from ranvier.backend.reference import main_of

    main = main_of(module)
    end = main.body.block.last_op
    assert isinstance(end, ReturnOp)
    values = [end.arguments[position] for position in positions]
    end.detach()
    end.erase()
    main.body.block.add_op(ReturnOp(*values))
    main.properties["function_type"] = FunctionType.from_lists(
        main.function_type.inputs.data, [value.type for value in values]
    )
    if main.res_attrs is not None:
        attributes = main.res_attrs.data
        main.properties["res_attrs"] = ArrayAttr([attributes[position] for position in positions])
