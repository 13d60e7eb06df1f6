"""ONNX's own backend cases: models with inputs and outputs, ready to be compiled for static shapes.

Operands that decide a shape are graph inputs in many cases; they become constants of the model, as
they do where a compiler of static shapes is asked for one call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, load, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx_models import Array

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
ELEMENTS = {TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}

# Positions of operands that decide the shape of a result, beside those of all reductions.
SECOND = (
    "Reshape Expand Tile Squeeze Unsqueeze TopK OneHot Split CumSum CumProd Upsample AffineGrid "
    "CenterCropPad Trilu Compress"
)
SHAPE_OPERANDS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(SECOND.split(), (1,)),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (1, 2, 3),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Col2Im": (1, 2),
}


@dataclass(frozen=True)
class Case:
    """One call of a model, with its shape operands fixed, and what it should give."""

    name: str
    model: ModelProto
    feeds: dict[str, Array]
    expected: dict[str, Array]
    rtol: float
    atol: float

    def write(self, folder: Path) -> Path:
        path = folder / "model.onnx"
        path.write_bytes(self.model.SerializeToString())
        return path

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.feeds.items()}

    def agrees(self, results: dict[str, Array], atol: float | None = None) -> bool:
        return all(
            results[name].shape == array.shape
            and results[name].dtype == array.dtype
            and np.allclose(results[name], array, self.rtol, atol or self.atol, equal_nan=True)
            for name, array in self.expected.items()
        )


def cases() -> Iterator[Case]:
    """The cases of plain tensors of f32, i64, i32 and truth values; random ones are left out."""
    for kind in KINDS:
        for case in load_model_tests(kind=kind):
            if "bernoulli" in case.name:
                continue
            for model, inputs, outputs in data_sets(case):
                if elements_of(model.graph) <= ELEMENTS and not domains_of(model) - {""}:
                    yield fixed(case, model, inputs, outputs)


def fixed(case: Any, model: ModelProto, inputs: list[Array], outputs: list[Array]) -> Case:
    """The case with the operands that decide shapes as constants of the model."""
    graph = model.graph
    initial = {tensor.name for tensor in graph.initializer}
    names = [info.name for info in graph.input if info.name not in initial]
    feeds = dict(zip(names, inputs, strict=False))
    for name in shape_operands(graph, set(feeds)):
        graph.initializer.append(numpy_helper.from_array(feeds.pop(name), name))
    expected = {info.name: array for info, array in zip(graph.output, outputs, strict=False)}
    return Case(case.name, model, feeds, expected, case.rtol, case.atol)


def data_sets(case: Any) -> Iterator[tuple[ModelProto, list[Array], list[Array]]]:
    """Models with inputs and outputs; those that hold no plain tensors are left out."""
    if case.model is not None:
        for inputs, outputs in case.data_sets:
            if all(isinstance(value, np.ndarray | np.generic) for value in (*inputs, *outputs)):
                model = ModelProto()
                model.CopyFrom(case.model)
                yield model, list(map(np.asarray, inputs)), list(map(np.asarray, outputs))
        return
    for folder in sorted(Path(case.model_dir).glob("test_data_set_*")):
        model = load(Path(case.model_dir) / "model.onnx")
        yield model, tensors(folder, "input"), tensors(folder, "output")


def tensors(folder: Path, kind: str) -> list[Array]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    protos = (
        TensorProto.FromString((folder / f"{kind}_{i}.pb").read_bytes()) for i in range(count)
    )
    return [numpy_helper.to_array(proto) for proto in protos]


def elements_of(graph: GraphProto) -> set[int]:
    return {info.type.tensor_type.elem_type for info in (*graph.input, *graph.output)}


def domains_of(model: ModelProto) -> set[str]:
    return {node.domain for node in model.graph.node}


def shape_operands(graph: GraphProto, inputs: set[str]) -> set[str]:
    """The graph inputs that a shape depends on."""
    producers = {name: node for node in graph.node for name in node.output}
    pending = [
        node.input[position]
        for node in graph.node
        for position in ((1,) if node.op_type.startswith("Reduce") else ())
        + SHAPE_OPERANDS.get(node.op_type, ())
        if position < len(node.input)
    ]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            node = producers.get(name)
            pending += node.input if node is not None and node.op_type != "Shape" else ()
    return seen & inputs
