"""The TensorFlow importer where TensorFlow is absent: frozen graphs and a trained SavedModel.

Expected values are NumPy formulae, or what the same network gives as an ONNX file.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranvier.backend.reference import Executor
from ranvier.dialects.diagnostics import Code, CodedError
from ranvier.importers.registry import import_model, recognise
from ranvier.importers.tensorflow.protos import GraphDef
from ranvier.importers.tensorflow.tensors import array_of, proto_of_array

RNG = np.random.default_rng(3)
FLOAT, INT = 1, 3


class Graph:
    """A frozen graph under construction."""

    def __init__(self) -> None:
        self.proto = GraphDef()

    def add(self, op: str, name: str, inputs: Sequence[str] = (), **attributes: Any) -> str:
        node = self.proto.node.add(op=op, name=name, input=inputs)
        for key, value in attributes.items():
            match value:
                case bool():
                    node.attr[key].b = value
                case int():
                    node.attr[key].i = value
                case str():
                    node.attr[key].s = value.encode()
                case list():
                    node.attr[key].list.i.extend(value)
                case float():
                    node.attr[key].f = value
        if op not in ("Const", "NoOp"):
            node.attr["T"].type = FLOAT
        return name

    def placeholder(self, name: str, shape: Sequence[int]) -> str:
        node = self.proto.node.add(op="Placeholder", name=name)
        node.attr["dtype"].type = FLOAT
        node.attr["shape"].shape.SetInParent()
        for size in shape:
            node.attr["shape"].shape.dim.add(size=size)
        return name

    def constant(self, name: str, array: Any) -> str:
        tensor = proto_of_array(np.asarray(array))
        node = self.proto.node.add(op="Const", name=name)
        node.attr["dtype"].type = tensor.dtype
        node.attr["value"].tensor.CopyFrom(tensor)
        return name

    def write(self, path: Path) -> Path:
        path.write_bytes(self.proto.SerializeToString())
        return path


def run(path: Path, shapes: dict[str, tuple[int, ...]], **feeds: np.ndarray) -> list[np.ndarray]:
    module = import_model([path], shapes=shapes)
    module.verify()
    return list(Executor(module).run({f"{name}:0": x for name, x in feeds.items()}).values())


def perceptron() -> tuple[Graph, np.ndarray, np.ndarray]:
    """A layer whose nodes are out of order: a graph is a set of nodes."""
    w, b = RNG.standard_normal((6, 4)).astype("f"), RNG.standard_normal(4).astype("f")
    graph = Graph()
    graph.add("Relu", "out/relu", ["add"])
    graph.add("BiasAdd", "add", ["product", "b"])
    graph.add("MatMul", "product", ["x", "w", "^nothing"])
    graph.add("NoOp", "nothing")
    graph.placeholder("x", (-1, 6))
    graph.constant("w", w)
    graph.constant("b", b)
    return graph, w, b


def test_a_frozen_graph_out_of_order(tmp_path: Path) -> None:
    graph, w, b = perceptron()
    path = graph.write(tmp_path / "model.bin")
    assert recognise(path) == "TENSORFLOW"
    x = RNG.standard_normal((8, 6)).astype("f")
    for name in ("x", "x:0"):
        (y,) = run(path, {name: (8, 6)}, x=x)
        np.testing.assert_allclose(y, np.maximum(x @ w + b, 0), rtol=1e-5, atol=1e-6)


def test_an_unknown_batch_is_asked_for(tmp_path: Path) -> None:
    path = perceptron()[0].write(tmp_path / "model.pb")
    refused(path, {}, Code.SHAPE_UNKNOWN, "'x:0'", "?x6", "--shape x:0=1x6")
    refused(path, {"x": (1, 7)}, Code.SHAPE_MISMATCH, "1x7", "?x6")
    refused(path, {"z": (1, 6)}, Code.INPUT_UNKNOWN, "'z'", "x:0")


def test_convolution_as_tensorflow_lays_it_out(tmp_path: Path) -> None:
    """SAME padding of an even size with stride 2: the odd element goes after."""
    graph, w = Graph(), RNG.standard_normal((3, 3, 2, 5)).astype("f")
    graph.placeholder("x", (1, 6, 6, 2))
    graph.constant("w", w)
    settings: dict[str, Any] = {"strides": [1, 2, 2, 1], "padding": "SAME"}
    graph.add("Conv2D", "y", ["x", "w"], data_format="NHWC", **settings)
    x = RNG.standard_normal((1, 6, 6, 2)).astype("f")
    (y,) = run(graph.write(tmp_path / "conv.pb"), {}, x=x)
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    expected = np.zeros((1, 3, 3, 5))
    for i, j in np.ndindex(3, 3):
        window = padded[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        expected[0, i, j] = np.tensordot(window, w, 3)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def loop_graph(limit: str) -> Graph:
    """`x * 2 ** limit` with Enter, Merge, Switch and Exit nodes."""
    graph = Graph()
    graph.placeholder("x", (3,))
    graph.constant("zero", np.int32(0))
    graph.constant("one", np.int32(1))
    graph.constant("five", np.int32(5))
    graph.add("Cast", "of_input", ["sum"])
    graph.proto.node[-1].attr["DstT"].type = INT
    graph.constant("axis", np.int32(0))
    graph.add("Sum", "sum", ["x", "axis"])
    for name, start in (("i", "zero"), ("v", "x")):
        graph.add("Enter", f"enter_{name}", [start], frame_name="frame")
        graph.add("Merge", f"merge_{name}", [f"enter_{name}", f"next_{name}"])
        graph.add("Switch", f"switch_{name}", [f"merge_{name}", "cond"])
        graph.add("Exit", f"exit_{name}", [f"switch_{name}"])
        graph.add("NextIteration", f"next_{name}", [f"body_{name}"])
    graph.add("Enter", "limit", [limit], frame_name="frame", is_constant=True)
    graph.add("Less", "less", ["merge_i", "limit"])
    graph.add("LoopCond", "cond", ["less"])
    graph.add("AddV2", "body_i", ["switch_i:1", "one"])
    graph.add("AddV2", "body_v", ["switch_v:1", "switch_v:1"])
    return graph


def test_a_loop_of_known_length_is_unrolled(tmp_path: Path) -> None:
    x = RNG.standard_normal(3).astype("f")
    results = run(loop_graph("five").write(tmp_path / "loop.pb"), {}, x=x)
    assert any(r.shape == (3,) and np.array_equal(r, x * 32) for r in results)


def test_a_loop_that_depends_on_an_input_is_refused(tmp_path: Path) -> None:
    path = loop_graph("of_input").write(tmp_path / "loop.pb")
    refused(path, {}, Code.NODE_NOT_STATIC, "how often", "input")


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    graph = Graph()
    graph.placeholder("x", (2, 2))
    graph.add("Fancy", "strange/op", ["x"])
    refused(graph.write(tmp_path / "a.pb"), {}, Code.OP_OPAQUE, "strange/op", "Fancy")
    graph.add("Relu", "after", ["strange/op"])
    graph.add("Stranger", "other", ["x"])
    graph.add("AddV2", "end", ["after", "other"])
    path = graph.write(tmp_path / "e.pb")
    refused(path, {}, Code.OP_OPAQUE, "'other' (Stranger)", "; e.pb: node 'strange/op' (Fancy)")
    graph = Graph()
    graph.add("Relu", "a", ["missing:3"])
    refused(graph.write(tmp_path / "b.pb"), {}, Code.NODE_INVALID, "'missing'")
    graph = Graph()
    graph.add("Relu", "end", ["a"])
    graph.add("Relu", "a", ["b"])
    graph.add("Relu", "b", ["a"])
    refused(graph.write(tmp_path / "c.pb"), {}, Code.NODE_INVALID, "cycle")
    (tmp_path / "d.pb").write_bytes(b"\n\xff\xff\xff\xff\xff")
    refused(tmp_path / "d.pb", {}, Code.FILE_INVALID, "d.pb")


@pytest.mark.parametrize("size", [0, 1, 7, 40, 200])
def test_damaged_saved_models_are_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "saved_model.pb").write_bytes((TRAINED / "saved_model.pb").read_bytes()[:size])
    with pytest.raises(CodedError):
        import_model([tmp_path], shapes={})


@pytest.mark.parametrize("dtype", ["f4", "f2", "i4", "i8", "u1", "?"])
def test_tensors_keep_their_values(dtype: str) -> None:
    for array in (np.arange(6).reshape(2, 3), np.ones((3, 4)), np.zeros((0, 2)), np.array(3)):
        array = array.astype(dtype)
        np.testing.assert_array_equal(array_of(proto_of_array(array)), array)
    same = np.broadcast_to(np.array(1, dtype), (1 << 20, 1 << 20))
    assert array_of(proto_of_array(same)).shape == same.shape


# -- A trained network ------------------------------------------------------------------------

PACKAGE = find_spec("basic_pitch")
assert PACKAGE is not None
assert PACKAGE.origin is not None
TRAINED = Path(PACKAGE.origin).parent / "saved_models" / "icassp_2022" / "nmp"
INPUT = {"serving_default_input_2": (1, 43844, 1)}


def test_a_trained_saved_model_is_its_onnx_twin() -> None:
    """Outputs are probabilities; 1e-4 is what f32 sums of 10^4 terms in another order leave."""
    audio = np.sin(np.arange(43844, dtype=np.float32) * 0.06).reshape(1, -1, 1)
    module = import_model([TRAINED], shapes=INPUT)
    name = "serving_default_input_2:0"
    twin = import_model([TRAINED.with_suffix(".onnx")], shapes={name: audio.shape})
    ours = Executor(module).run({"input_2": audio})
    theirs = Executor(twin).run({name: audio})
    assert sorted(ours) == ["contour", "note", "onset"]
    assert max(array.max() for array in ours.values()) > 0.3
    for array in ours.values():
        nearest = min(np.abs(array - t).max() for t in theirs.values() if t.shape == array.shape)
        assert nearest < 1e-4


def test_tensorflow_is_not_imported() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from ranvier.importers.registry import import_model\n"
        "import_model([Path(sys.argv[1])], shapes={'input_2': (1, 43844, 1)})\n"
        "assert 'tensorflow' not in sys.modules and 'onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, TRAINED], check=True)


def refused(path: Path, shapes: dict[str, tuple[int, ...]], code: Code, *words: str) -> None:
    with pytest.raises(CodedError) as caught:
        import_model([path], shapes=shapes, framework="TENSORFLOW")
    assert caught.value.code is code
    assert [word for word in words if word not in str(caught.value)] == []
