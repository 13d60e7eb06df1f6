"""Small ONNX models, and how tests import and check them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from xdsl.dialects.builtin import ModuleOp

from ranvier.backend.reference import Executor
from ranvier.importers.errors import ModelImportError
from ranvier.importers.registry import import_model

Array = np.ndarray[Any, np.dtype[Any]]
X = np.random.default_rng(0).standard_normal((2, 4, 6, 6)).astype(np.float32)
POSITIVE = np.abs(X) + np.float32(0.5)


def node(op_type: str, inputs: str, outputs: str = "y", **attributes: Any) -> NodeProto:
    """A node named after its type; `_` leaves an operand or a result out."""
    names = (["" if name == "_" else name for name in text.split()] for text in (inputs, outputs))
    return helper.make_node(op_type, *names, name=f"the {op_type}", **attributes)


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Array],
    *,
    opset: int = 17,
    constants: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = ("y",),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in inputs.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def imported(proto: onnx.ModelProto, folder: Path, **shapes: tuple[int, ...]) -> ModuleOp:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    module = import_model([path], shapes=shapes)
    module.verify()
    return module


def check(proto: onnx.ModelProto, inputs: Mapping[str, Array], folder: Path) -> list[str]:
    """Compare with ONNX's reference and return the names of the ops of `@main`."""
    module = imported(proto, folder)
    results = Executor(module).run(dict(inputs))
    expected: Any = ReferenceEvaluator(proto).run(None, dict(inputs))
    for info, array in zip(proto.graph.output, expected, strict=True):
        assert results[info.name].dtype == array.dtype
        np.testing.assert_allclose(
            results[info.name].astype(np.float64), array.astype(np.float64), rtol=1e-4, atol=1e-5
        )
        assert results[info.name].shape == array.shape
    return ops_of(module)


def ops_of(module: ModuleOp) -> list[str]:
    main = next(op for op in module.body.block.ops if op.name == "func.func")
    return [op.name for op in main.regions[0].block.ops if op.name != "func.return"]


def refused(proto: onnx.ModelProto, folder: Path, **shapes: tuple[int, ...]) -> ModelImportError:
    with pytest.raises(ModelImportError) as caught:
        imported(proto, folder, **shapes)
    assert "\n" not in str(caught.value)
    return caught.value


def externalise(tensor: TensorProto, **entries: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def symbolic(**shapes: list[str | int | None]) -> onnx.ModelProto:
    proto = model([node("Add", " ".join(shapes))], {})
    proto.graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    return proto


def compare_with_onnxruntime(path: Path, inputs: dict[str, Array], tolerance: float) -> ModuleOp:
    module = import_model([path], shapes={name: array.shape for name, array in inputs.items()})
    module.verify()
    session = onnxruntime.InferenceSession(path)
    results = Executor(module).run(inputs)
    for info, expected in zip(session.get_outputs(), session.run(None, inputs), strict=True):
        assert np.abs(results[info.name] - expected).max() < tolerance
    return module
