"""Recurrent layers of ONNX as onnxruntime runs them, in programs that do not grow with time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, helper
from onnx_models import Array, model, node
from samples.machine import compiled, ran

from ranvier.backend.neuron.neff.encode_program import program_of
from ranvier.backend.reference import Executor
from ranvier.dialects.interfaces import ReferenceSemantics
from ranvier.importers.registry import import_model

STEPS, BATCH, INPUTS, HIDDEN = 7, 3, 4, 5
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
BOTH = {"direction": "bidirectional"}

SETTINGS: list[tuple[str, str, dict[str, Any]]] = [
    ("RNN", "x w r b n h", {"direction": "reverse"}),
    ("RNN", "x w r b", {"activations": ["Relu", "Tanh"], "clip": 0.5, **BOTH}),
    (
        "RNN",
        "x w r",
        {"activations": ["LeakyRelu", "ScaledTanh"], "activation_alpha": [0.3, 0.7],
         "activation_beta": [0.9], **BOTH},
    ),
    ("GRU", "x w r b n h", {"linear_before_reset": 1, **BOTH}),
    ("GRU", "x w r b n", {"linear_before_reset": 0, "direction": "reverse"}),
    ("GRU", "x w r b", {"activations": ["HardSigmoid", "Softsign"], "clip": 0.8}),
    ("LSTM", "x w r b n h c p", BOTH),
    ("LSTM", "x w r b _ h c p", {"clip": 0.4, "direction": "reverse"}),
    ("LSTM", "x w r b _ h", {"input_forget": 1}),
    (
        "LSTM",
        "x w r b n",
        {"activations": ["Sigmoid", "Elu", "Affine"], "activation_alpha": [0.7, 0.5],
         "activation_beta": [0.1]},
    ),
]  # fmt: skip


def recurrent(op_type: str, operands: str, settings: dict[str, Any]) -> tuple[ModelProto, Array]:
    """One node with seeded weights, and what it takes."""
    random = np.random.default_rng(5)
    directions = 2 if settings.get("direction") == "bidirectional" else 1
    rows = GATES[op_type] * HIDDEN

    def draw(*shape: int) -> Array:
        return random.uniform(-0.6, 0.6, shape).astype(np.float32)

    constants = {
        "w": draw(directions, rows, INPUTS),
        "r": draw(directions, rows, HIDDEN),
        "b": draw(directions, 2 * rows),
        "n": np.array([4, 7, 1], np.int32),
        "h": draw(directions, BATCH, HIDDEN),
        "c": draw(directions, BATCH, HIDDEN),
        "p": draw(directions, 3 * HIDDEN),
    }
    x = random.standard_normal((STEPS, BATCH, INPUTS)).astype(np.float32)
    used = {name: array for name, array in constants.items() if name in operands.split()}
    outputs = ["y", "last", *(["cell"] if op_type == "LSTM" else [])]
    one = node(op_type, operands, " ".join(outputs), hidden_size=HIDDEN, **settings)
    return model([one], {"x": x}, constants=used, outputs=outputs), x


@pytest.mark.parametrize(("op_type", "operands", "settings"), SETTINGS)
def test_settings_mean_what_onnxruntime_makes_of_them(
    op_type: str, operands: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    proto, x = recurrent(op_type, operands, settings)
    path = tmp_path / "layer.onnx"
    proto.ir_version = 10  # that onnxruntime reads
    path.write_bytes(proto.SerializeToString())
    expected = onnxruntime.InferenceSession(path).run(None, {"x": x})
    module = import_model([path])
    for actual, wanted in zip(Executor(module).run({"x": x}).values(), expected, strict=True):
        # Five units and seven steps of f32, in another order of summation.
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)
    it = compiled(module, "inf2", "none")
    assert not it.refusals
    for actual, wanted in zip(ran(it.module, {"x": x}), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("op_type", "operands", "settings"), [each for each in SETTINGS if "n" in each[1].split()]
)
def test_lengths_may_be_an_input(
    op_type: str, operands: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """ONNX's own reference leaves lengths out of account."""
    proto, x = recurrent(op_type, operands, settings)
    place = next(i for i, init in enumerate(proto.graph.initializer) if init.name == "n")
    kept = proto.graph.initializer.pop(place)
    proto.graph.input.append(helper.make_tensor_value_info("n", kept.data_type, kept.dims))
    path = tmp_path / "layer.onnx"
    proto.ir_version = 10  # that onnxruntime reads
    path.write_bytes(proto.SerializeToString())
    module = import_model([path])
    for lengths in ([4, 7, 1], [7, 2, 7]):
        inputs = {"x": x, "n": np.array(lengths, np.int32)}
        expected: Any = onnxruntime.InferenceSession(path).run(None, inputs)
        for actual, wanted in zip(Executor(module).run(inputs).values(), expected, strict=True):
            # As with lengths that are constant.
            np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)
    assert not compiled(module, "inf2", "none").refusals


def language_model(kind: str, steps: int, tmp_path: Path) -> Path:
    """Two layers of 256 units over one-hot-free inputs, batch 1."""
    random = np.random.default_rng(1)
    width, rows = 256, GATES[kind] * 256

    def draw(*shape: int) -> Array:
        return random.uniform(-0.06, 0.06, shape).astype(np.float32)

    constants = {f"{name}{layer}": draw(1, rows, width) for name in "wr" for layer in range(2)}
    constants["axis"] = np.array([1])
    nodes = [
        node(kind, "x w0 r0", "h", hidden_size=width),
        node("Squeeze", "h axis", "flat"),
        node(kind, "flat w1 r1", "y", hidden_size=width),
    ]
    x = random.standard_normal((steps, 1, width)).astype(np.float32)
    for number, one in enumerate(nodes):
        one.name = str(number)
    proto = model(nodes, {"x": x}, constants=constants)
    path = tmp_path / f"{steps}.onnx"
    proto.ir_version = 10  # that onnxruntime reads
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_program_does_not_grow_with_the_steps(kind: str, tmp_path: Path) -> None:
    counts: list[int] = []
    for steps in (512, 8192):
        it = compiled(import_model([language_model(kind, steps, tmp_path)]), "inf2", "all")
        assert not it.refusals
        (program,) = map(program_of, it.programs)
        counts.append(sum(1 for _ in program.cores[0].instructions()))
    # Two layers. Longer loops are written twice over, so that loads overlap, and no more.
    assert max(counts) <= 110


def test_the_machine_multiplies_what_the_layers_need(tmp_path: Path) -> None:
    from ranvier.program import compile

    path = language_model("LSTM", 64, tmp_path)
    module = import_model([path])
    works = [op.work().macs for op in module.walk() if isinstance(op, ReferenceSemantics)]
    program = compile(path, fallback="error")
    given = {"x": np.random.default_rng(0).standard_normal((64, 1, 256)).astype(np.float32)}
    expected = onnxruntime.InferenceSession(path).run(None, given)[0]
    (actual,) = program.run(given).values()
    assert program.runner.counters.macs == sum(works) == 2 * 64 * 4 * 256 * (256 + 256)
    # bf16 keeps 8 bits; states of the LSTM do not amplify it over the steps.
    assert np.abs(actual - expected).max() < 2e-2 * np.abs(expected).max()
