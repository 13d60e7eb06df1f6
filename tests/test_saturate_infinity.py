"""`--enable-saturate-infinity`: what would be infinite on the target is the largest finite number.

Oracle: IEEE 754. Without the option the same models give infinities and NaN.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import model_of
from command_line import ranvier as command
from onnx import TensorProto, helper, save_model
from onnx_models import Array

import ranvier


def product_with_zero(folder: Path) -> Path:
    """`exp(x) * 0`: NaN where the exponential overflows."""
    zero = np.zeros(4, np.float32)
    nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Mul", ["e", "zero"], ["y"])]
    path = folder / "product.onnx"
    save_model(model_of(nodes, {"x": zero}, {"zero": zero}), path)
    return path


HOT = np.array([1.0, 200.0, np.inf, -np.inf], np.float32)


@pytest.mark.parametrize("fast_math", [("none",), ("all",)])
@pytest.mark.parametrize("target", ["inf2", "inf1"])
def test_infinity_times_zero_is_finite(
    target: str, fast_math: tuple[str, ...], tmp_path: Path
) -> None:
    path = product_with_zero(tmp_path)
    plain = ranvier.compile(path, target=target, fast_math=fast_math).run({"x": HOT})
    assert np.isnan(plain["y"]).tolist() == [False, True, True, False]
    program = ranvier.compile(path, target=target, fast_math=fast_math, saturate_infinity=True)
    assert program.run({"x": HOT})["y"].tolist() == [0, 0, 0, 0]


def test_a_narrowing_cast_saturates(tmp_path: Path) -> None:
    """65520 is the first number that rounds to infinity in f16."""
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16)
    x = np.array([65519.0, 65520.0, -1e6, np.nan], np.float32)
    path = tmp_path / "cast.onnx"
    save_model(model_of([node], {"x": x}), path)
    exact: dict[str, Array] = ranvier.compile(path, fast_math=("none",)).run({"x": x})
    np.testing.assert_array_equal(exact["y"], np.array([65504, np.inf, -np.inf, np.nan]))
    program = ranvier.compile(path, fast_math=("none",), saturate_infinity=True)
    expected = np.array([65504, 65504, -65504, np.nan])
    np.testing.assert_array_equal(program.run({"x": x})["y"], expected)


def test_a_row_that_a_mask_hides_is_uniform(tmp_path: Path) -> None:
    """Softmax of a row of -inf is NaN; of equal finite numbers it is 1 / n."""
    mask = np.array([[0.0, -np.inf, 0.0], [-np.inf] * 3], np.float32)
    nodes = [
        helper.make_node("Add", ["x", "mask"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], axis=1),
    ]
    x = np.zeros((2, 3), np.float32)
    path = tmp_path / "masked.onnx"
    save_model(model_of(nodes, {"x": x}, {"mask": mask}), path)
    plain = ranvier.compile(path, fast_math=("none",)).run({"x": x})["y"]
    assert np.isnan(plain[1]).all()
    program = ranvier.compile(path, fast_math=("none",), saturate_infinity=True)
    expected = [[0.5, 0, 0.5], [1 / 3] * 3]
    np.testing.assert_allclose(program.run({"x": x})["y"], expected, atol=1e-6)


@pytest.mark.parametrize("fast_math", ["none", "all", "fp32-cast-all-fp16"])
def test_finite_masks_need_no_option(fast_math: str, tmp_path: Path) -> None:
    """The smallest f32 is -inf in bf16 and f16, of which 0 times is NaN."""
    nodes = [
        helper.make_node("Sub", ["one", "m"], ["off"]),
        helper.make_node("Mul", ["off", "smallest"], ["mask"]),
        helper.make_node("Add", ["x", "mask"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], axis=1),
    ]
    inputs = {
        "x": np.array([[1, 2, -1], [0.5, 0, 0]], np.float32),
        "m": np.array([[1, 0, 1], [0, 0, 0]], np.float32),
    }
    constants = {"one": np.float32(1), "smallest": np.finfo(np.float32).min}
    path = tmp_path / "masked.onnx"
    save_model(model_of(nodes, inputs, constants), path)
    result = ranvier.compile(path, fast_math=(fast_math,)).run(inputs)["y"]
    gate = 1 / (1 + np.exp(-2))
    # bf16 holds these operands exactly, and results to 2^-9.
    np.testing.assert_allclose(result, [[gate, 0, 1 - gate], [1 / 3] * 3], atol=2**-9)


@pytest.mark.parametrize("fast_math", [("none",), ("all",)])
def test_an_eviction_saturates(fast_math: tuple[str, ...], tmp_path: Path) -> None:
    """A sum of products beyond f32, which both modes accumulate and return in f32."""
    x, w = np.full((2, 64), 1e19, np.float32), np.full((64, 3), 1e19, np.float32)
    w[:, 1] = -1e19
    path = tmp_path / "product.onnx"
    save_model(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": x}, {"w": w}), path)
    assert np.isinf(ranvier.compile(path, fast_math=fast_math).run({"x": x})["y"]).all()
    program = ranvier.compile(path, fast_math=fast_math, saturate_infinity=True)
    bound = np.float32(3.4028234663852886e38)
    np.testing.assert_array_equal(program.run({"x": x})["y"], [[bound, -bound, bound]] * 2)


def test_the_command_takes_the_flag_and_writes_it_down(tmp_path: Path) -> None:
    path = product_with_zero(tmp_path)
    flag = "--enable-saturate-infinity"
    done = command("compile", path.name, flag, "-o", "p.neff", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ranvier.load(tmp_path / "p.neff").run({"x": HOT})["y"].tolist() == [0, 0, 0, 0]
    shown = command("compile", path.name, flag, "--print-pipeline", cwd=tmp_path)
    assert "saturate-infinity" in shown.stdout
    assert flag in command("info", "p.neff", "--json", cwd=tmp_path).stdout
