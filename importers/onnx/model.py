"""Read an ONNX file: the protobuf, its opsets, and static types for its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, TypeProto, ValueInfoProto, inliner
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.diagnostics import Code
from ranvier.dialects.nn.shapes import Shape, format_shape
from ranvier.dialects.nn.types import Tensor, tensor
from ranvier.importers.errors import ModelImportError
from ranvier.importers.onnx.node import normal_domain
from ranvier.importers.onnx.tensors import element_of_code

OLDEST_OPSET, NEWEST_OPSET = 1, 28


@dataclass
class Source:
    """A parsed model file."""

    path: Path
    model: ModelProto
    identity: str
    opsets: dict[str, int]

    def fail(self, code: Code, text: str) -> NoReturn:
        raise ModelImportError(code, f"{self.path.name}: {text}")


def read_source(path: Path) -> Source:
    """Parse a file and check that it is a model of a known opset."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelImportError(Code.FILE_MISSING, f"{path}: {error.strerror}") from error
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelImportError(
            Code.FILE_INVALID,
            f"{path.name}: no ONNX model, or a truncated one: {len(data)} bytes do not parse",
        ) from error
    source = Source(path, model, sha256(data).hexdigest(), {})
    if not model.HasField("graph"):
        source.fail(Code.FILE_INVALID, f"no ONNX model: {len(data)} bytes without a graph")
    check_names(source)
    source.opsets = {normal_domain(entry.domain): entry.version for entry in model.opset_import}
    check_opset(source)
    if not model.graph.output:
        source.fail(Code.MODEL_EMPTY, "the graph has no outputs")
    if model.functions:
        source.model = inliner.inline_local_functions(model)
    return source


def check_names(source: Source) -> None:
    """Protobuf gives bytes for strings that are not UTF-8."""
    opsets: list[object] = [entry.domain for entry in source.model.opset_import]
    for name in (*opsets, *names_in(source.model.graph)):
        if not isinstance(name, str):
            source.fail(Code.FILE_INVALID, f"a name is not UTF-8: {name!r}")


def names_in(graph: GraphProto) -> Iterator[object]:
    """All names of a graph and of those inside its nodes."""
    for info in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        yield info.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            if attribute.type == AttributeProto.GRAPH:
                yield from names_in(attribute.g)


def check_opset(source: Source) -> None:
    version = source.opsets.get("")
    if version is None and any(not normal_domain(n.domain) for n in source.model.graph.node):
        source.fail(Code.MODEL_UNSUPPORTED, "the model does not say which opset it uses")
    if version is not None and not OLDEST_OPSET <= version <= NEWEST_OPSET:
        source.fail(
            Code.MODEL_UNSUPPORTED,
            f"opset {version} is not supported; supported: {OLDEST_OPSET} to {NEWEST_OPSET}",
        )


# -- Inputs -----------------------------------------------------------------------------------


@dataclass
class InputTypes:
    """Static types of the graph's inputs, from what it declares and what the caller gives.

    A symbolic dimension that one input resolves is known to all others.
    """

    source: Source
    given: Mapping[str, Shape]
    symbols: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    def resolve(self, inputs: Sequence[ValueInfoProto]) -> dict[str, Tensor]:
        names = [info.name for info in inputs]
        for name in self.given:
            if name not in names:
                self.source.fail(
                    Code.INPUT_UNKNOWN,
                    f"a shape is given for '{name}', which is no input; inputs: {', '.join(names)}",
                )
        for info in inputs:
            if info.name in self.given:
                self._bind(info, self.given[info.name])
        return {info.name: self._type(info) for info in inputs}

    def _bind(self, info: ValueInfoProto, given: Shape) -> None:
        """Check a given shape against the declared one and learn its symbols."""
        declared = declared_shape(info.type)
        if min(given, default=0) < 0:
            self._mismatch(info, given, "sizes are not negative")
        if declared is None:
            return
        if len(declared) != len(given):
            self._mismatch(info, given, f"the model declares {describe(declared)}")
        for stated, size in zip(declared, given, strict=True):
            if isinstance(stated, int) and stated != size:
                self._mismatch(info, given, f"the model declares {describe(declared)}")
            if isinstance(stated, str) and stated:
                known, other = self.symbols.setdefault(stated, (size, info.name))
                if known != size:
                    self._mismatch(info, given, f"input '{other}' has {stated} = {known}")

    def _mismatch(self, info: ValueInfoProto, given: Shape, reason: str) -> NoReturn:
        self.source.fail(
            Code.SHAPE_MISMATCH, f"input '{info.name}' is given as {format_shape(given)}; {reason}"
        )

    def _type(self, info: ValueInfoProto) -> Tensor:
        if info.type.WhichOneof("value") != "tensor_type":
            kind = info.type.WhichOneof("value") or "nothing"
            self.source.fail(
                Code.MODEL_UNSUPPORTED, f"input '{info.name}' is of {kind}, not a tensor"
            )
        try:
            element = element_of_code(info.type.tensor_type.elem_type)
        except VerifyException as error:
            self.source.fail(Code.MODEL_UNSUPPORTED, f"input '{info.name}': {error}")
        return tensor(self._shape(info), element)

    def _shape(self, info: ValueInfoProto) -> Shape:
        if info.name in self.given:
            return tuple(self.given[info.name])
        declared = declared_shape(info.type)
        if declared is None:
            self.source.fail(
                Code.SHAPE_UNKNOWN,
                f"input '{info.name}' has no declared shape; give one, e.g. "
                f"--shape {info.name}=1x3x224x224",
            )
        sizes = [
            stated if isinstance(stated, int) else self.symbols.get(stated, (None, ""))[0]
            for stated in declared
        ]
        known = tuple(size for size in sizes if size is not None)
        if len(known) < len(sizes):
            example = format_shape([1 if size is None else size for size in sizes])
            self.source.fail(
                Code.SHAPE_UNKNOWN,
                f"input '{info.name}' is declared as {describe(declared)}, which is not static; "
                f"give its shape, e.g. --shape {info.name}={example}",
            )
        return known


def declared_shape(type: TypeProto) -> list[int | str] | None:
    """Sizes, or names of symbolic dimensions (maybe empty); None if not even the rank is known."""
    if not type.tensor_type.HasField("shape"):
        return None
    return [
        dim.dim_value
        if dim.WhichOneof("value") == "dim_value" and dim.dim_value >= 0
        else dim.dim_param
        for dim in type.tensor_type.shape.dim
    ]


def describe(declared: Sequence[int | str]) -> str:
    return "x".join(str(stated) or "?" for stated in declared) or "scalar"
