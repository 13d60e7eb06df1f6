"""Quantised models of ONNX against onnxruntime, and wholly on the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, helper
from onnx_models import Array, X, imported, model, node, ops_of

import ranvier
from ranvier.backend.reference import Executor

RANDOM = np.random.default_rng(3)


def integers(dtype: type[np.integer[Any]], *shape: int) -> Array:
    info = np.iinfo(dtype)
    low, high = max(info.min, -1000), min(info.max, 1000)
    return RANDOM.integers(low, high, shape, dtype, endpoint=True)


def float_(*values: float) -> Array:
    return np.squeeze(np.array(values, np.float32))


KERNEL, MATRIX = integers(np.int8, 4, 4, 3, 3), integers(np.int8, 6, 5)
IMAGE, ROWS = X * 2, X[0, 0] * 2
OF_IMAGE = {"s": float_(0.03), "z": np.uint8(120)}
OF_KERNEL = {
    "w": KERNEL,
    "ws": float_(0.01, 0.02, 0.03, 0.015),
    "wz": np.array([3, 0, -5, 9], "i1"),
}
OF_MATRIX = {"w": MATRIX, "ws": float_(0.01), "wz": np.int8(-3)}
OF_RESULT = {"rs": float_(0.4), "rz": np.uint8(90)}
BIAS = integers(np.int32, 4)

# Name of the case: nodes, x, constants, opset
CASES: dict[str, tuple[list[NodeProto], Array, dict[str, Any], int]] = {
    "a tensor there and back": (
        [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z")],
        IMAGE,
        OF_IMAGE,
        10,
    ),
    "without a zero point": ([node("QuantizeLinear", "x s")], np.abs(IMAGE), OF_IMAGE, 13),
    "per channel": (
        [
            node("QuantizeLinear", "x ws wz", "q"),
            node("DequantizeLinear", "q ws wz", axis=-3),
        ],
        IMAGE,
        OF_KERNEL,
        13,
    ),
    "16 bits": (
        [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z")],
        IMAGE,
        {"s": float_(0.0003), "z": np.int16(-500)},
        21,
    ),
    "a convolution between": (
        [
            node("QuantizeLinear", "x s z", "q"),
            node("DequantizeLinear", "q s z", "f"),
            node("DequantizeLinear", "w ws wz", "k", axis=0),
            node("DequantizeLinear", "b bs", "c", axis=0),
            node("Conv", "f k c", "o", pads=[1, 1, 0, 1]),
            node("Relu", "o", "p"),
            node("QuantizeLinear", "p rs rz", "r"),
            node("DequantizeLinear", "r rs rz"),
        ],
        IMAGE,
        OF_IMAGE | OF_KERNEL | OF_RESULT | {"b": BIAS, "bs": float_(0.001, 0.002, 0.001, 0.003)},
        13,
    ),
    "QLinearConv": (
        [
            node("QuantizeLinear", "x s z", "q"),
            node("QLinearConv", "q s z w ws wz rs rz b", pads=[1, 0, 1, 1], strides=[2, 1]),
        ],
        IMAGE,
        OF_IMAGE | OF_KERNEL | OF_RESULT | {"b": BIAS, "wz": np.zeros(4, np.int8)},
        13,
    ),
    "QLinearMatMul": (
        [node("QuantizeLinear", "x s z", "q"), node("QLinearMatMul", "q s z w ws wz rs rz")],
        ROWS,
        OF_IMAGE | OF_MATRIX | OF_RESULT,
        13,
    ),
    "MatMulInteger, quantised as it runs": (
        [node("DynamicQuantizeLinear", "x", "q s z"), node("MatMulInteger", "q w z wz")],
        ROWS,
        OF_MATRIX,
        13,
    ),
    "ConvInteger": (
        [node("QuantizeLinear", "x s z", "q"), node("ConvInteger", "q w z", pads=[1, 1, 1, 1])],
        IMAGE,
        OF_IMAGE | OF_KERNEL,
        13,
    ),
}

OTHER = {"os": float_(0.02), "oz": np.uint8(100)}
CHANNELS = {"w": integers(np.int8, 7, 6), "ws": float_(0.01), "wz": np.int8(0)}
QUANTIZED = [node("QuantizeLinear", "x s z", "q"), node("QuantizeLinear", "x os oz", "o")]
# Ops of onnxruntime itself: the node, x, more constants
OF_RUNTIME: dict[str, tuple[NodeProto, Array, dict[str, Any]]] = {
    "QLinearAdd": (node("QLinearAdd", "q s z o os oz rs rz"), IMAGE, {}),
    "QLinearMul": (node("QLinearMul", "q s z o os oz rs rz"), IMAGE, {}),
    "QLinearSigmoid": (node("QLinearSigmoid", "q s z os oz"), IMAGE, {}),
    "QLinearConcat": (node("QLinearConcat", "rs rz q s z o os oz", axis=-1), IMAGE, {}),
    "QLinearGlobalAveragePool": (
        node("QLinearGlobalAveragePool", "q s z os oz", channels_last=0),
        IMAGE,
        {},
    ),
    "QGemm": (
        node("QGemm", "q s z w ws wz b rs rz", transB=1, alpha=0.5),
        ROWS,
        CHANNELS | {"b": integers(np.int32, 7)},
    ),
    "QGemm to floats": (node("QGemm", "q s z w ws wz", transB=1), ROWS, CHANNELS),
}
for name, (one, x, more) in OF_RUNTIME.items():
    one.domain = "com.microsoft"
    CASES[name] = ([*QUANTIZED, one], x, OF_IMAGE | OTHER | OF_RESULT | more, 13)


def described(name: str) -> tuple[ModelProto, Array]:
    nodes, x, constants, opset = CASES[name]
    used = {operand for n in nodes for operand in n.input}
    for count, each in enumerate(nodes):
        each.name = str(count)
    known = {key: value for key, value in constants.items() if key in used}
    proto = model(nodes, {"x": x}, constants=known, opset=opset)
    proto.ir_version = 10  # that onnxruntime reads
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto, x


@pytest.mark.parametrize("name", CASES)
def test_quantised_ops_are_onnxruntimes(name: str, tmp_path: Path) -> None:
    proto, x = described(name)
    expected: Any
    # Without it, sums of pairs saturate at 16 bits on processors of AVX2
    exact = onnxruntime.SessionOptions()
    exact.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), exact)
    (expected,) = session.run(None, {"x": x})
    module = imported(proto, tmp_path)
    assert "nn.opaque" not in ops_of(module)
    result = Executor(module).run({"x": x})["y"]
    assert result.dtype == expected.dtype
    agree(result, expected)
    program = ranvier.compile(tmp_path / "model.onnx", fast_math=("none",), fallback="error")
    agree(program.run({"x": x})["y"], expected)


def agree(result: Array, expected: Array) -> None:
    """But for sums in another order, which may round a half the other way: a step of the result."""
    steps = np.abs(result.astype(np.float64) - expected)
    if result.dtype == np.float32:
        steps /= OF_RESULT["rs"]
    assert steps.max() < 1.001
    assert (steps > 1e-6).sum() <= max(1, 0.02 * steps.size)


@pytest.mark.parametrize("name", ["MatMulInteger, quantised as it runs", "QLinearConv"])
def test_narrow_products_of_integers_are_exact(name: str, tmp_path: Path) -> None:
    """Integers of 8 bits less a zero point are numbers of bf16."""
    proto, x = described(name)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    results: list[Array] = []
    for fast_math in ("all", "none"):
        program = ranvier.compile(tmp_path / "model.onnx", fast_math=(fast_math,), fallback="error")
        results.append(program.run({"x": x})["y"])
    np.testing.assert_array_equal(*results)


def test_scales_per_block_stay_onnx_nodes(tmp_path: Path) -> None:
    scales = np.full((2, 5), 0.1, np.float32)
    nodes = [node("DequantizeLinear", "q s", axis=0, block_size=3)]
    proto = model(nodes, {"q": MATRIX}, constants={"s": scales}, opset=21)
    assert ops_of(imported(proto, tmp_path)).count("nn.opaque") == 1
    result = Executor(imported(proto, tmp_path)).run({"q": MATRIX})["y"]
    np.testing.assert_allclose(result, MATRIX * np.float32(0.1), rtol=1e-6)
