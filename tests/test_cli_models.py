"""The operator list, programs in Python, and models with unusual names, sizes and values."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from command_line import W, X, model_of, ranvier
from onnx import ModelProto, helper, save_model

from ranvier import compile, load
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.passes.errors import PassError
from ranvier.passes.target import load_target
from ranvier.tools.onnx_operators import forms_on

# -- list-operators ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forms() -> dict[str, ModelProto]:
    return forms_on(load_target("inf2"))


@pytest.mark.slow
def test_each_listed_operator_compiles_without_the_host(
    forms: dict[str, ModelProto], tmp_path: Path
) -> None:
    path = tmp_path / "example.onnx"
    for name, model in forms.items():
        save_model(model, path)
        program = compile(path, fallback="error")
        assert program.operators["host"] == 0, name
    assert {"Conv", "MatMul", "Relu", "Softmax", "Reshape", "Equal", "Mish"} <= set(forms)
    assert not {"Det", "Unique", "SequenceMap", "RandomNormal"} & set(forms)


@pytest.mark.slow
def test_list_operators_prints_one_a_line_sorted(
    forms: dict[str, ModelProto], tmp_path: Path
) -> None:
    done = ranvier("list-operators", "--framework", "ONNX", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == sorted(forms)


def test_list_operators_says_what_is_listed(tmp_path: Path) -> None:
    assert ranvier("list-operators", cwd=tmp_path).returncode == 2
    done = ranvier("list-operators", "--framework", "XLA", cwd=tmp_path)
    assert done.returncode == 1
    listed = done.stderr.partition("listed are those of: ")[2]
    assert {"MXNET", "ONNX"} <= set(re.findall(r"\w+", listed))


# -- Python, and unusual models ---------------------------------------------------------------


def saved(model: ModelProto, folder: Path) -> Path:
    save_model(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_a_program_tells_what_became_of_the_model(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="det"),
        helper.make_node("Exp", ["d"], ["y"], name="exp"),
    ]
    path = saved(model_of(nodes, {"x": np.zeros((4, 3, 3), np.float32)}), tmp_path)
    compile(path, cores="auto", rules=None).save(tmp_path / "m.neff")
    program = load(tmp_path / "m.neff")
    assert [(op.op, op.name, op.code) for op in program.host_ops] == [("Det", "det", "RV0205")]
    assert program.operators["host"] == 1
    profile = program.profile()
    assert profile["makespan_us"] == pytest.approx(program.neff.simulated_us, abs=1e-3)
    assert {"bound", "pe_utilisation", "macs_on_machine", "engines", "dma", "cores"} <= set(profile)
    placed = compile(path, rules="host nn.exp")
    assert [(op.name, op.reason) for op in placed.host_ops][1:] == [("exp", "rule line 1")]
    with pytest.raises(PassError, match="host"):
        compile(path, fallback="error")


@pytest.mark.parametrize("shape", [(), (0, 3), (1,)], ids=["scalar", "empty", "one"])
def test_tensors_of_any_size_run(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = np.full(shape, 2, np.float32)
    program = compile(saved(model_of([helper.make_node("Neg", ["x"], ["y"])], {"x": x}), tmp_path))
    y = program.run({"x": x})["y"]
    assert y.shape == shape
    assert (y == -2).all()


def test_an_array_that_is_not_contiguous_is_read_in_its_order(tmp_path: Path) -> None:
    path = saved(model_of([helper.make_node("Neg", ["x"], ["y"])], {"x": X}), tmp_path)
    turned = np.asfortranarray(np.arange(32, dtype=np.float32).reshape(4, 8))
    np.testing.assert_array_equal(compile(path).run({"x": turned})["y"], -turned)
    strided = np.arange(64, dtype=np.float32).reshape(4, 16)[:, ::2]
    np.testing.assert_array_equal(compile(path).run({"x": strided})["y"], -strided)


@pytest.mark.parametrize("name", ["a/b", "a:b", "a b", "é ü", "a\\b", '"a"'])
def test_nodes_and_tensors_have_any_name(name: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", [f"{name}x", f"{name}w"], [f"{name}h"], name=name),
        helper.make_node("Neg", [f"{name}h"], [f"{name}y"], name=name),  # the name a second time
    ]
    model = model_of(nodes, {f"{name}x": X}, {f"{name}w": W}, [f"{name}y"])
    compile(saved(model, tmp_path)).save(tmp_path / "m.neff")
    program = load(tmp_path / "m.neff")
    assert program.operators["before"] == 2
    y = program.run({f"{name}x": X})[f"{name}y"]
    np.testing.assert_allclose(y, -(X @ W), atol=0.1)


@pytest.mark.parametrize("worst", [2**31, -(2**31) - 1, 2**62])
def test_an_id_beyond_32_bits_is_refused_at_run(worst: int, tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((16, 4), np.float32)
    ids = np.array([1, 2], np.int64)
    model = model_of([helper.make_node("Gather", ["t", "ids"], ["y"])], {"ids": ids}, {"t": table})
    program = compile(saved(model, tmp_path), fallback="error")
    with pytest.raises(CallerError) as caught:
        program.run({"ids": np.array([1, worst], np.int64)})
    assert caught.value.code is Code.INPUT_RANGE
    np.testing.assert_allclose(program.run({"ids": ids})["y"], table[ids], atol=0.02)


def test_models_that_say_too_little_are_refused(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Neg", ["x"], ["y"])], {"x": X})
    model.opset_import[0].version = 999
    save_model(model, tmp_path / "opset.onnx")
    model = model_of([helper.make_node("Neg", ["x"], ["y"])], {"x": X}, outputs=[])
    save_model(model, tmp_path / "silent.onnx")
    for name, code in (("opset.onnx", "RV0106"), ("silent.onnx", "RV0119")):
        done = ranvier("compile", name, cwd=tmp_path)
        assert done.returncode == 1
        assert f"[{code}]" in done.stderr
