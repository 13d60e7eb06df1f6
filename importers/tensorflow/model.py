"""What of a file is the model: its inputs and outputs by name, and the graph between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from xdsl.ir import Attribute
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import Shape, format_shape
from ranvier.dialects.nn.types import Tensor as TensorType
from ranvier.dialects.nn.types import tensor as tensor_type
from ranvier.importers.errors import ModelImportError
from ranvier.importers.tensorflow.flatten import PLACEHOLDERS, FlatGraph, Variables, flatten
from ranvier.importers.tensorflow.graph import (
    BRANCHES,
    CALLS,
    CASES,
    LOOPS,
    Tensor,
    attribute,
    fail,
    tensor_named,
)
from ranvier.importers.tensorflow.outputs import RESULTS, length_of
from ranvier.importers.tensorflow.protos import Message
from ranvier.importers.tensorflow.saved_model import (
    SavedVariables,
    Source,
    meta_graph,
    read_graph,
    read_saved_model,
    signature,
)
from ranvier.importers.tensorflow.tensors import element_of_code, shape_of_proto

Declared = tuple[int, ...] | None
"""A shape, -1 where a size is unknown; None for an unknown rank."""


@dataclass(frozen=True)
class InputInfo:
    tensor: Tensor
    dtype: int
    """A `DataType`."""
    shape: Declared


@dataclass
class Model:
    """A flat graph with names for its ends."""

    name: str
    identity: str
    flat: FlatGraph
    inputs: Mapping[str, InputInfo]
    outputs: Mapping[str, Tensor]
    """What the flat graph computes, by the name of the output."""


class NoVariables(Variables):
    """A frozen graph has none."""

    def __init__(self, place: str) -> None:
        self.place = place

    def value(self, node: Message, name: str) -> Array:
        fail(
            self.place,
            Code.MODEL_UNSUPPORTED,
            f"node '{name}' is a variable; freeze the graph, or give the SavedModel",
        )


def read_model(path: Path) -> Model:
    """The model of a SavedModel folder, or of a frozen graph. Raises ModelImportError."""
    if path.is_dir():
        return model_of(read_saved_model(path))
    graph, identity = read_graph(path)
    return model_of_graph(graph, path.name, identity)


def model_of(
    source: Source, tags: Sequence[str] | None = None, signature_key: str | None = None
) -> Model:
    """One signature of a SavedModel."""
    meta = meta_graph(source, tags)
    _, chosen = signature(source, meta, signature_key)
    inputs = {
        name: InputInfo(tensor_named(info.name), info.dtype, shape_of_proto(info.tensor_shape))
        for name, info in sorted(chosen.inputs.items())
    }
    outputs = {name: tensor_named(info.name) for name, info in sorted(chosen.outputs.items())}
    flat = flatten(
        meta.graph_def,
        list(outputs.values()),
        inputs={info.tensor.node for info in inputs.values()},
        variables=SavedVariables(source, meta),
        place=source.name,
    )
    return Model(source.name, source.identity, flat, inputs, named_outputs(outputs, flat))


def named_outputs(names: Mapping[str, Tensor], flat: FlatGraph) -> dict[str, Tensor]:
    return dict(zip(names, flat.outputs, strict=True))


def model_of_graph(graph: Message, place: str, identity: str) -> Model:
    """All of a frozen graph: from its placeholders to the results that no node reads."""
    inputs = {
        f"{node.name}:0": InputInfo(
            Tensor(node.name, 0), attribute(node, "dtype").type, declared_shape(node)
        )
        for node in graph.node
        if node.op in ("Placeholder", "PlaceholderV2")
    }
    ends = unread_results(graph)
    if not ends:
        fail(place, Code.MODEL_EMPTY, "the graph has no result that its nodes do not read")
    flat = flatten(
        graph,
        ends,
        inputs={info.tensor.node for info in inputs.values()},
        variables=NoVariables(place),
        place=place,
    )
    outputs = named_outputs({str(end): end for end in ends}, flat)
    return Model(Path(place).stem, identity, flat, inputs, outputs)


def declared_shape(node: Message) -> Declared:
    return shape_of_proto(node.attr["shape"].shape) if "shape" in node.attr else None


_NO_RESULT = ("NoOp", "Assert", "Const", "Print", "PrintV2", *PLACEHOLDERS)
_LISTS = {
    "Split": "num_split",
    "SplitV": "num_split",
    "Unpack": "num",
    **dict.fromkeys(("IdentityN", *LOOPS), "T"),
    **dict.fromkeys((*CALLS, *BRANCHES, *CASES), "Tout"),
}


def unread_results(graph: Message) -> list[Tensor]:
    """The results of nodes that no other node reads."""
    read = {text.removeprefix("^").partition(":")[0] for node in graph.node for text in node.input}
    ends: list[Tensor] = []
    for node in graph.node:
        if node.name in read or node.op in _NO_RESULT:
            continue
        count = length_of(node.attr, _LISTS[node.op]) if node.op in _LISTS else 1
        if node.op.startswith("TopK"):
            count = len(RESULTS[node.op])
        ends += [Tensor(node.name, index) for index in range(count)]
    return ends


# -- Static shapes ----------------------------------------------------------------------------


@dataclass
class InputTypes:
    """Static types of a model's inputs, from what it declares and what the caller gives."""

    model: Model
    given: Mapping[str, Shape]

    def resolve(self, *, tolerant: bool = False) -> dict[Tensor, tuple[str, TensorType]]:
        """Name and type of each input, by its result in the graph.

        A tolerant caller does without the inputs whose elements `nn` does not have.
        """
        return {
            info.tensor: (name, tensor_type(shape, element))
            for name, shape in self.shapes().items()
            for info in (self.model.inputs[name],)
            if (element := self._element(name, info.dtype, tolerant)) is not None
        }

    def shapes(self) -> dict[str, Shape]:
        """Of each input, by its name."""
        names = {alias: name for name in self.model.inputs for alias in self._aliases(name)}
        names |= {name: name for name in self.model.inputs}  # may be another input's node too
        shapes: dict[str, Shape] = {}
        for alias, shape in self.given.items():
            if alias not in names:
                known = ", ".join(self.model.inputs) or "none"
                self._fail(
                    Code.INPUT_UNKNOWN,
                    f"a shape is given for '{alias}', which is no input; inputs: {known}",
                )
            shapes[names[alias]] = shape
        return {
            name: self._shape(name, info.shape, shapes.get(name))
            for name, info in self.model.inputs.items()
        }

    def _aliases(self, name: str) -> list[str]:
        """Names by which callers know an input beside that of the signature."""
        own = self.model.inputs[name].tensor
        return [str(own), own.node]

    def _element(self, name: str, dtype: int, tolerant: bool) -> Attribute | None:
        try:
            return element_of_code(dtype)
        except VerifyException as error:
            if tolerant:
                return None
            self._fail(Code.MODEL_UNSUPPORTED, f"input '{name}': {error}")

    def _shape(self, name: str, declared: Declared, given: Shape | None) -> Shape:
        text = describe(declared)
        if given is None:
            if declared is None or -1 in declared:
                sizes = (1, 224, 224, 3) if declared is None else [abs(size) for size in declared]
                self._fail(
                    Code.SHAPE_UNKNOWN,
                    f"input '{name}' is declared as {text}, which is not static; give its shape, "
                    f"e.g. --shape {name}={format_shape(sizes)}",
                )
            return declared
        fits = declared is None or (
            len(declared) == len(given)
            and all(d in (-1, size) for d, size in zip(declared, given, strict=True))
        )
        if not fits or min(given, default=0) < 0:
            self._fail(
                Code.SHAPE_MISMATCH,
                f"input '{name}' is given as {format_shape(given)}; the model declares {text}",
            )
        return tuple(given)

    def _fail(self, code: Code, text: str) -> NoReturn:
        raise ModelImportError(code, f"{self.model.flat.place}: {text}")


def describe(declared: Declared) -> str:
    if declared is None:
        return "of unknown rank"
    return "x".join("?" if size < 0 else str(size) for size in declared) or "scalar"
