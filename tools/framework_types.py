"""Import a model again with what its framework knows of the types that `nn` does not.

The framework is imported only for a model that has such types, if it is installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ranvier.dialects.diagnostics import CodedError
from ranvier.dialects.nn.types import UNKNOWN
from ranvier.tools.log import LOG

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    Shapes = Mapping[str, tuple[int, ...]]


def has_unknown_types(module: ModuleOp) -> bool:
    return any(result.type == UNKNOWN for op in module.walk() for result in op.results)


def with_framework_types(module: ModuleOp, paths: Sequence[Path], shapes: Shapes) -> ModuleOp:
    """The model with the types that its framework infers; as it is where that cannot help."""
    name = getattr(module.attributes.get("ranvier.framework"), "data", "")
    if name not in AGAIN or not has_unknown_types(module) or not find_spec(name.lower()):
        return module
    try:
        return AGAIN[name](paths, shapes)
    except CodedError as error:  # the framework does not take the model
        LOG.info("%s: %s", paths[0].name, error)
        return module


def tensorflow_again(paths: Sequence[Path], shapes: Shapes) -> ModuleOp:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from ranvier.importers.tensorflow import import_graph, read_model
    from ranvier.tensorflow.inference import types_of

    model = read_model(paths[0])
    return import_graph(model, shapes, untyped=True, types=types_of(model, shapes))


def mxnet_again(paths: Sequence[Path], shapes: Shapes) -> ModuleOp:
    from ranvier.importers.mxnet import import_mxnet
    from ranvier.mxnet.real import foreign

    return import_mxnet(paths, shapes, untyped=True, foreign=foreign)


AGAIN: Mapping[str, Callable[[Sequence[Path], Shapes], ModuleOp]] = {
    "TENSORFLOW": tensorflow_again,
    "MXNET": mxnet_again,
}
