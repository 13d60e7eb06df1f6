"""ONNX models that cannot be imported say what is wrong, where, and what would do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from onnx import NodeProto, TensorProto
from onnx_models import X, externalise, model, node, refused, symbolic

from ranvier.dialects.diagnostics import Code
from ranvier.importers.errors import ModelImportError
from ranvier.importers.registry import import_model

SYMBOLIC = {"a": ["batch", 3], "b": ["batch", 3]}
SHAPE_ERRORS: list[tuple[dict[str, tuple[int, ...]], Code, str]] = [
    ({}, Code.SHAPE_UNKNOWN, "--shape a=1x3"),
    ({"a": (2, 4)}, Code.SHAPE_MISMATCH, "batchx3"),
    ({"a": (2,)}, Code.SHAPE_MISMATCH, "batchx3"),
    ({"a": (2, 3), "b": (4, 3)}, Code.SHAPE_MISMATCH, "batch = 2"),
    ({"a": (-1, 3)}, Code.SHAPE_MISMATCH, "not negative"),
    ({"c": (2, 3)}, Code.INPUT_UNKNOWN, "inputs: a, b"),
]


@pytest.mark.parametrize(("shapes", "code", "text"), SHAPE_ERRORS)
def test_wrong_shapes_are_named(
    shapes: dict[str, tuple[int, ...]], code: Code, text: str, tmp_path: Path
) -> None:
    error = refused(symbolic(**SYMBOLIC), tmp_path, **shapes)
    assert error.code is code
    assert text in str(error)


GRAPH_ERRORS: dict[str, tuple[list[NodeProto], Code]] = {
    "operand 'z' is not defined": ([node("Add", "x z")], Code.NODE_INVALID),
    "unsorted or cyclic": ([node("Add", "x h"), node("Relu", "y", "h")], Code.NODE_INVALID),
    "'y' is defined twice": ([node("Relu", "x"), node("Abs", "x")], Code.NODE_INVALID),
    "output 'y' is not defined": ([node("Relu", "x", "h")], Code.NODE_INVALID),
    "axis 7 is not an axis of rank 4": ([node("Gather", "x x", axis=7)], Code.NODE_INVALID),
    "operand 1 's' is not a constant": (
        [node("Cast", "x", "s", to=TensorProto.INT64), node("Reshape", "x s")],
        Code.NODE_NOT_STATIC,
    ),
    "element type uint32 is not supported": (
        [node("Cast", "x", to=TensorProto.UINT32)],
        Code.NODE_INVALID,
    ),
    "nn has no Bernoulli, and element type uint16 is not supported": (
        [node("Bernoulli", "m", dtype=TensorProto.UINT16)],
        Code.MODEL_UNSUPPORTED,
    ),
    "element type uint16 is not supported": (
        [node("EyeLike", "m", dtype=TensorProto.UINT16)],
        Code.NODE_INVALID,
    ),
    "it takes 2 to 2 operands, got 1": ([node("Add", "x")], Code.NODE_INVALID),
    "attribute 'axis' is of kind INT, got STRING": (
        [node("Softmax", "x", axis="last")],
        Code.NODE_INVALID,
    ),
    "a block of at least 1, got rank 4 and 0": (
        [node("SpaceToDepth", "x", blocksize=0)],
        Code.NODE_INVALID,
    ),
    "training mode": (
        [node("BatchNormalization", "x x x x x", "y mean var")],
        Code.MODEL_UNSUPPORTED,
    ),
    "is of domain 'com.acme'": ([node("Warp", "x", domain="com.acme")], Code.MODEL_UNSUPPORTED),
    "its result 'y' is not known": ([node("NonZero", "x")], Code.SHAPE_UNKNOWN),
}


@pytest.mark.parametrize("text", GRAPH_ERRORS)
def test_wrong_graphs_are_named(text: str, tmp_path: Path) -> None:
    nodes, code = GRAPH_ERRORS[text]
    error = refused(model(nodes, {"x": X, "m": X[0, 0]}), tmp_path)
    assert error.code is code
    assert text in str(error)


def test_a_failing_node_is_named_with_type_and_opset(tmp_path: Path) -> None:
    proto = model([node("Conv", "x w")], {"x": X}, constants={"w": X[:, :3]})
    assert str(refused(proto, tmp_path)).startswith(
        "model.onnx: node 'the Conv' (Conv, opset 17): 4 channels in 1 groups do not fit"
    )


@pytest.mark.parametrize("opset", [0, 29])
def test_other_opsets_are_refused(opset: int, tmp_path: Path) -> None:
    error = refused(model([node("Relu", "x")], {"x": X}, opset=opset), tmp_path)
    assert error.code is Code.MODEL_UNSUPPORTED
    assert str(error).endswith(f"opset {opset} is not supported; supported: 1 to 28")


def test_a_model_without_outputs_is_refused(tmp_path: Path) -> None:
    error = refused(model([node("Relu", "x")], {"x": X}, outputs=()), tmp_path)
    assert error.code is Code.MODEL_EMPTY


@pytest.mark.parametrize(
    ("location", "text"),
    [("../w.bin", "outside the model's folder"), ("w.bin", "are missing"), ("model.onnx", "bytes")],
)
def test_bad_external_data_are_refused(location: str, text: str, tmp_path: Path) -> None:
    proto = model([node("MatMul", "x w")], {"x": X}, constants={"w": X})
    externalise(proto.graph.initializer[0], location=location)
    error = refused(proto, tmp_path)
    assert error.code is Code.FILE_INVALID
    assert text in str(error)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    whole = model([node("Relu", "x")], {"x": X}).SerializeToString()
    path = tmp_path / "model.onnx"
    for data in (b"", b"no model at all", whole[:-20]):
        path.write_bytes(data)
        with pytest.raises(ModelImportError) as caught:
            import_model([path])
        assert caught.value.code is Code.FILE_INVALID


@pytest.mark.parametrize(
    ("data", "framework", "code", "text"),
    [
        (None, None, Code.FILE_MISSING, "no such file"),
        (b"HloModule", None, Code.MODEL_UNSUPPORTED, "XLA are not readable; readable: ONNX"),
        (b"", "CAFFE", Code.OPTION_INVALID, "one of ONNX, PYTORCH, TENSORFLOW, MXNET, XLA"),
    ],
)
def test_other_frameworks_are_named(
    data: bytes | None, framework: str | None, code: Code, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ModelImportError) as caught:
        import_model([path], framework=framework)
    assert caught.value.code is code
    assert text in str(caught.value)


def test_a_framework_that_must_be_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("ranvier.importers.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "model.pt2"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelImportError, match=r"pip install 'ranvier\[torch\]'") as caught:
        import_model([path])
    assert caught.value.code is Code.PROVIDER_MISSING
