"""ONNX's own backend cases through importer and reference executor.

Operands that decide a shape are graph inputs in many cases; they become constants of the model, as
they do where a compiler of static shapes is asked for one call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import GraphProto, ModelProto, TensorProto, load, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx_models import Array, ops_of

from ranvier.backend.reference import Executor
from ranvier.importers.errors import ModelImportError
from ranvier.importers.registry import import_model

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
ELEMENTS = {TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}

# Positions of operands that decide the shape of a result, beside those of all reductions.
SECOND = (
    "Reshape Expand Tile Squeeze Unsqueeze TopK OneHot Split CumSum CumProd Upsample AffineGrid "
    "CenterCropPad Trilu"
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

IMPORTED = 1341
"""Cases that become `nn` ops alone, of 1476; a figure to raise."""


@pytest.mark.slow
def test_no_backend_case_is_computed_wrongly(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    for kind in KINDS:
        for case in load_model_tests(kind=kind):
            if "bernoulli" in case.name:  # random
                continue
            for model, inputs, expected in data_sets(case):
                if elements_of(model.graph) <= ELEMENTS and not domains_of(model) - {""}:
                    outcome = outcome_of(model, inputs, expected, case, tmp_path)
                    outcomes[outcome] += 1
                    wrong += [case.name] * (outcome == "wrong")
    assert not wrong
    assert outcomes["right"] >= IMPORTED


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


def outcome_of(
    model: ModelProto, inputs: list[Array], expected: list[Array], case: Any, folder: Path
) -> str:
    """`right`, `wrong`, `opaque` for what is right with the help of ONNX itself, or `refused`."""
    graph = model.graph
    initial = {tensor.name for tensor in graph.initializer}
    names = [info.name for info in graph.input if info.name not in initial]
    feeds = dict(zip(names, inputs, strict=False))
    for name in shape_operands(graph, set(feeds)):
        graph.initializer.append(numpy_helper.from_array(feeds.pop(name), name))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    try:
        module = import_model([path], shapes={name: array.shape for name, array in feeds.items()})
    except ModelImportError:
        return "refused"
    module.verify()
    results = Executor(module).run(feeds)
    for info, array in zip(graph.output, expected, strict=False):
        result = results[info.name]
        same = result.shape == array.shape and result.dtype == array.dtype
        if not same or not np.allclose(result, array, case.rtol, case.atol, equal_nan=True):
            return "wrong"
    return "opaque" if "nn.opaque" in ops_of(module) else "right"


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
