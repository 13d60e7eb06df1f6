"""Import TensorFlow models into `nn`, without TensorFlow.

A SavedModel, of TF1 or TF2, or a frozen graph becomes one flat graph: `saved_model` chooses a
signature and finds the variables' values, `flatten` inlines calls. `importer` turns that into a
module on demand, from the outputs, with the handlers that the families enter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import Tensor as TensorType
from ranvier.importers.errors import ModelImportError
from ranvier.importers.tensorflow import (
    colour,
    constant,
    contraction,
    diagonal,
    elementwise,
    indexing,
    normalization,
    pooling,
    recurrent,
    reduction,
    resize,
    shape,
)
from ranvier.importers.tensorflow.graph import Tensor
from ranvier.importers.tensorflow.importer import GraphImporter
from ranvier.importers.tensorflow.model import InputTypes, Model, read_model
from ranvier.importers.tensorflow.values import Missing

MOST_NAMED = 20
"""Nodes that one error message lists."""

# These enter their handlers as they are loaded.
FAMILIES = (
    colour,
    constant,
    contraction,
    diagonal,
    elementwise,
    indexing,
    normalization,
    pooling,
    recurrent,
    reduction,
    resize,
    shape,
)


def import_tensorflow(
    paths: Sequence[Path], shapes: Mapping[str, Shape], *, untyped: bool = False
) -> ModuleOp:
    """The module of one SavedModel folder or frozen graph. Raises ModelImportError."""
    if len(paths) != 1:
        raise ModelImportError(
            Code.OPTION_INVALID,
            f"a TensorFlow model is one file or folder, got {len(paths)}: "
            f"{', '.join(path.name for path in paths)}",
        )
    return import_graph(read_model(paths[0]), shapes, untyped=untyped)


def import_graph(
    model: Model,
    shapes: Mapping[str, Shape],
    *,
    untyped: bool = False,
    types: Mapping[Tensor, TensorType] | None = None,
) -> ModuleOp:
    """The module of a model whose inputs have these shapes.

    Raises ModelImportError that tells of all nodes which have no place in `nn`. With `untyped` they
    have one, and their results no type but those in `types`.
    """
    inputs = InputTypes(model, shapes).resolve(tolerant=untyped)
    importer = GraphImporter(model.flat, inputs, types=types, tolerant=True, untyped=untyped)
    values = importer.evaluate(importer.root, model.outputs.values())
    if importer.refused and not untyped:
        raise _refusal(model.flat.place, list(dict.fromkeys(importer.refused.values())))
    outputs: dict[str, SSAValue] = {}
    for name, value in zip(model.outputs, values, strict=True):
        if isinstance(value, Missing) and value.value is not None:
            value = value.value
        if not isinstance(value, SSAValue):
            raise ModelImportError(
                Code.MODEL_UNSUPPORTED, f"{model.flat.place}: output '{name}' is no tensor"
            )
        outputs[name] = value
    return importer.finish(outputs, model.identity, model.name)


def _refusal(place: str, refused: Sequence[Missing]) -> ModelImportError:
    """The first nodes that have no place; what follows one has its reason, and is not told."""
    told = "; ".join(
        f"{place}: {missing.node}: {missing.reason}" for missing in refused[:MOST_NAMED]
    )
    more = f"; and {len(refused) - MOST_NAMED} more" if len(refused) > MOST_NAMED else ""
    return ModelImportError(refused[0].code, told + more)
