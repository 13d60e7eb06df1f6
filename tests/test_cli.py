"""The command line as its reference has it: outputs, JSON keys, exit statuses, errors of a line."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save_model

RANVIER = [sys.executable, "-m", "ranvier.tools"]


def ranvier(*words: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RANVIER, *map(str, words)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small network with an input of unknown batch and names that files do not like."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal((8, 3, 3, 3), np.float32), "conv/w:0"),
        numpy_helper.from_array(random.standard_normal((8 * 36, 10), np.float32), "fc"),
    ]
    nodes = [
        helper.make_node("Conv", ["x:0", "conv/w:0"], ["c"], name="conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "fc"], ["out/é y:0"], name="matmul"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x:0", TensorProto.FLOAT, ["N", 3, 12, 12])],
        [helper.make_tensor_value_info("out/é y:0", TensorProto.FLOAT, ["N", 10])],
        weights,
    )
    path = tmp_path / "small.onnx"
    opsets = [helper.make_opsetid("", 17)]
    save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


SHAPE = ("--shape", "x:0=1x3x12x12")


@pytest.fixture
def neff(model: Path) -> Path:
    done = ranvier("compile", model, *SHAPE, "-o", "small.neff", cwd=model.parent)
    assert done.returncode == 0, done.stderr
    return model.with_suffix(".neff")


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_compile_reports_what_scripts_rely_on(model: Path) -> None:
    done = ranvier(
        "compile", model, *SHAPE, "--fallback", "error", "-o", "a.neff", "--json", cwd=model.parent
    )
    got = report(done)
    assert got["operators"] == {
        "before": 5,
        "after": 1,
        "on_neuron": 5,
        "host": 0,
        "segments": 1,
    }
    assert got["host_ops"] == []
    assert got["target"] == "inf2"
    assert got["cores"] == 1
    assert len(got["sha256"]) == 64
    assert (model.parent / got["neff"]).is_file()


def test_run_computes_what_numpy_computes(model: Path, neff: Path) -> None:
    x = np.random.default_rng(1).standard_normal((1, 3, 12, 12), np.float32)
    np.save(model.parent / "x.npy", x)
    done = ranvier(
        "run", neff, "--input", "x:0=x.npy", "--output-dir", "out", "--json", cwd=model.parent
    )
    got = report(done)
    output = got["outputs"]["out/é y:0"]
    assert output["shape"] == [1, 10]
    assert output["dtype"] == "float32"
    actual = np.load(model.parent / output["path"])
    expected = reference(x)
    # bf16 operands and results: 2^-8 of the largest terms
    assert np.abs(actual - expected).max() < 0.02 * np.abs(expected).max()
    assert got["executed"]["macs"] >= 8 * 27 * 144 + 8 * 36 * 10
    assert {"seconds", "simulated_us", "provider"} <= set(got)


def reference(x: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    random = np.random.default_rng(0)
    w = random.standard_normal((8, 3, 3, 3), np.float32)
    fc = random.standard_normal((8 * 36, 10), np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    conv = sum(
        np.einsum("nchw,oc->nohw", padded[:, :, r : r + 12, s : s + 12], w[:, :, r, s])
        for r in range(3)
        for s in range(3)
    )
    pooled = np.maximum(conv, 0).reshape(1, 8, 6, 2, 6, 2).max((3, 5))
    return pooled.reshape(1, -1) @ fc


def test_info_shows_inputs_outputs_and_sizes(neff: Path) -> None:
    got = report(ranvier("info", neff, "--json", cwd=neff.parent))
    keys = ("name", "shape", "dtype")
    described = [tuple(port[key] for key in keys) for port in got["inputs"] + got["outputs"]]
    assert described == [
        ("x:0", [1, 3, 12, 12], "float32"),
        ("out/é y:0", [1, 10], "float32"),
    ]
    assert got["sizes"]["file"] == neff.stat().st_size
    assert got["target"] == "inf2"
    assert got["operators"]["on_neuron"] == 5
    text = ranvier("info", neff, cwd=neff.parent)
    assert text.returncode == 0
    assert "x:0" in text.stdout


def test_a_neff_is_a_header_and_a_tar(neff: Path) -> None:
    data = neff.read_bytes()
    with tarfile.open(fileobj=BytesIO(data[1024:])) as tar:
        names = tar.getnames()
    assert names[0] == "manifest.json"
    assert {"neff.json", "info.json", "sg00/def.json", "sg00/program.bin"} <= set(names)


def test_the_same_model_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    settings = ({"PYTHONHASHSEED": "1", "OPENBLAS_NUM_THREADS": "1"}, {"PYTHONHASHSEED": "77"})
    files = []
    for folder, environment in zip((tmp_path, elsewhere), settings, strict=True):
        done = ranvier("compile", model, *SHAPE, "-o", "same.neff", cwd=folder, **environment)
        assert done.returncode == 0, done.stderr
        files.append((folder / "same.neff").read_bytes())
    assert files[0] == files[1]


def test_saved_passes_can_be_run_again(model: Path, neff: Path) -> None:
    temps = model.parent / "temps"
    done = ranvier(
        "compile", model, *SHAPE, "-o", "b.neff", "--save-temps", temps, cwd=model.parent
    )
    assert done.returncode == 0, done.stderr
    dumps = sorted(path.name for path in temps.glob("*.mlir"))
    assert dumps[0] == "00-import.mlir"
    assert dumps[-1].endswith("-schedule.mlir")
    opt = subprocess.run(
        [Path(sys.executable).with_name("ranvier-opt"), str(temps / dumps[0]), "-p", "cast-bf16"],
        capture_output=True,
        text=True,
        check=False,
        cwd=temps.parent.parent,
    )
    assert opt.returncode == 0, opt.stderr
    assert "bf16" in opt.stdout
    assert neff.read_bytes() == (model.parent / "b.neff").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("compile", "none.onnx"), "RV0101", "none.onnx"),
        (("compile", "small.onnx"), "RV0104", "--shape"),
        (("compile", "small.onnx", "--shape", "x=1x3x12x12"), "RV0109", "x:0"),
        (("compile", "small.onnx", "--shape", "x:0=1x4x12x12"), "RV0105", "12"),
        (("compile", "small.onnx", "--shape", "x:0=axb"), "RV0114", "NAME=1x3x224x224"),
        (("compile", "cut.onnx"), "RV0102", "cut.onnx"),
        (("compile", "small.onnx", *SHAPE, "--target", "tpu"), "RV0115", "inf2"),
        (("compile", "small.onnx", *SHAPE, "--neuroncore-pipeline-cores", "99"), "RV0114", "24"),
        (("compile", "small.onnx", *SHAPE, "-o", "no/such/x.neff"), "RV0103", "no/such"),
        (("compile", "small.onnx", "--io-config", '{"inputs": {'), "RV0114", "line 1"),
        (("run", "small.neff"), "RV0110", "x:0"),
        (("run", "small.neff", "--input", "y=x.npy"), "RV0109", "x:0"),
        (("run", "small.neff", "--input", "x:0=double.npy"), "RV0111", "float64"),
        (("run", "small.neff", "--input", "x:0=wide.npy"), "RV0112", "1x3x13x12"),
        (("run", "small.neff", "--input", "x:0=none.npy"), "RV0101", "none.npy"),
        (("run", "small.onnx"), "RV030", "small.onnx"),
        (("run", "short.neff"), "RV0301", "short.neff"),
        (("info", "flipped.neff"), "RV030", "flipped.neff"),
    ],
)
def test_bad_input_is_one_line_with_a_code(
    model: Path, neff: Path, words: tuple[str, ...], code: str, text: str
) -> None:
    folder = model.parent
    (folder / "cut.onnx").write_bytes(model.read_bytes()[:700])
    data = neff.read_bytes()
    (folder / "short.neff").write_bytes(data[:-512])
    (folder / "flipped.neff").write_bytes(data[:600] + bytes([data[600] ^ 1]) + data[601:])
    np.save(folder / "x.npy", np.zeros((1, 3, 12, 12), np.float32))
    np.save(folder / "double.npy", np.zeros((1, 3, 12, 12)))
    np.save(folder / "wide.npy", np.zeros((1, 3, 13, 12), np.float32))
    before = sorted(folder.iterdir())
    done = ranvier(*words, cwd=folder)
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    line = done.stderr.strip()
    assert "\n" not in line
    assert f"[{code}" in line
    assert text in line
    assert sorted(folder.iterdir()) == before, "nothing is left behind"


def test_usage_errors_are_status_2(tmp_path: Path) -> None:
    assert ranvier("compile", cwd=tmp_path).returncode == 2
    assert ranvier("frobnicate", cwd=tmp_path).returncode == 2
    assert ranvier(cwd=tmp_path).returncode == 2


def test_another_format_version_is_status_10(neff: Path) -> None:
    data = bytearray(neff.read_bytes())
    data[24:32] = (1002).to_bytes(8, "little")  # neff_version_major
    data[0x238:0x23C] = (2).to_bytes(4, "little")  # format_major
    data[0x270:0x290] = bytes(32)
    data[0x270:0x290] = hashlib.sha256(data[:1024]).digest()
    path = neff.with_name("future.neff")
    path.write_bytes(data)
    done = ranvier("run", path, cwd=neff.parent)
    assert done.returncode == 10
    assert "NEFF version mismatch supported" in done.stderr


def test_version_names_compiler_targets_and_format(tmp_path: Path) -> None:
    done = ranvier("-V", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("ranvier compiler version", "inf1, inf2", "NEFF format"):
        assert word in done.stdout


def test_a_model_without_a_lowering_says_why(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Det", ["x"], ["d"], name="det_1"),
            helper.make_node("Exp", ["d"], ["y"], name="exp_1"),
        ],
        "host",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    opsets = [helper.make_opsetid("", 17)]
    save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "d.onnx")
    got = report(ranvier("compile", "d.onnx", "-o", "d.neff", "--json", cwd=tmp_path))
    assert got["operators"]["host"] == 1
    (op,) = got["host_ops"]
    assert (op["op"], op["name"], op["code"]) == ("Det", "det_1", "RV0205")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((4, 3, 3), np.float32))
    run = report(
        ranvier("run", "d.neff", "--input", "x=x.npy", "--output-dir", ".", "--json", cwd=tmp_path)
    )
    x = np.load(tmp_path / "x.npy")
    actual = np.load(tmp_path / run["outputs"]["y"]["path"])
    # exp in bf16: 2^-8 of the operand, and of the result
    np.testing.assert_allclose(actual, np.exp(np.linalg.det(x)), rtol=3e-2)
    strict = ranvier("compile", "d.onnx", "-o", "e.neff", "--fallback", "error", cwd=tmp_path)
    assert strict.returncode == 1
    assert "det_1" in strict.stderr
    assert not (tmp_path / "e.neff").exists()


def test_equal_bytes_of_two_types_stay_two_weights(tmp_path: Path) -> None:
    """Zeros of i64 [4, 100] and of f32 [800] have the same bytes."""
    zeros = [
        numpy_helper.from_array(np.zeros((4, 100), np.int64), "ids"),
        numpy_helper.from_array(np.zeros(800, np.float32), "bias"),
        numpy_helper.from_array(np.arange(2400, dtype=np.float32).reshape(3, 800), "table"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="gather"),
        helper.make_node("Add", ["rows", "bias"], ["sum"], name="add"),
        helper.make_node("Add", ["sum", "x"], ["y"], name="shift"),
    ]
    graph = helper.make_graph(
        nodes,
        "zeros",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 100, 800])],
        zeros,
    )
    opsets = [helper.make_opsetid("", 17)]
    save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "z.onnx")
    done = ranvier("compile", "z.onnx", "-o", "z.neff", "--save-temps", "t", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    imported = ranvier("import", "z.onnx", "-o", "z.mlir", cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    opt = [Path(sys.executable).with_name("ranvier-opt"), "z.mlir", "--verify-execution"]
    passes = ["-p", "fold-constants,legalize"]
    subprocess.run([*opt, *passes], cwd=tmp_path, check=True, capture_output=True)
