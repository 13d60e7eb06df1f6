"""Whole ONNX models give what onnxruntime gives, and depend on their input."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx_models import Array, compare_with_onnxruntime, ops_of

from ranvier.backend.reference import Executor
from ranvier.importers.registry import import_model
from ranvier.passes.pipelines import run_pipeline


def test_basic_pitch_agrees_with_onnxruntime() -> None:
    spec = importlib.util.find_spec("basic_pitch")
    if spec is None or spec.origin is None:
        pytest.skip("basic_pitch is not installed")
    path = Path(spec.origin).parent / "saved_models/icassp_2022/nmp.onnx"
    audio = np.random.default_rng(0).standard_normal((1, 43844, 1)).astype(np.float32)
    module = compare_with_onnxruntime(path, {"serving_default_input_2:0": audio}, 1e-4)
    assert "nn.opaque" not in ops_of(module)


def test_resnet50_agrees_with_onnxruntime(tmp_path: Path) -> None:
    path, script = tmp_path / "resnet50.onnx", Path(__file__).parent / "models" / "resnet50.py"
    subprocess.run([sys.executable, script, path], check=True)
    image = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    module = compare_with_onnxruntime(path, {"x": image}, 1e-2)
    outputs = [Executor(module).run({"x": x})["y"] for x in (image, image[..., ::-1] + 1)]
    assert np.abs(outputs[0] - outputs[1]).mean() > 0.1 * outputs[0].std()


# -- The zoo ----------------------------------------------------------------------------------

ZOO = Path(__file__).parent / "models" / "zoo.py"
EXPORTERS = ("ts", "dynamo")
FAILS_TO_EXPORT = {("gpt2", "ts"), ("t5_encoder", "dynamo")}
NAMES = (
    "efficientnet_lite0",
    "minilm",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "bert_base",
    "distilbert",
    "resnet18",
    "vgg16",
    "densenet121",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
    "unet",
    "gpt2",
    "t5_encoder",
    "lstm_lm",
    "gru_lm",
)
MODELS = [
    pytest.param(name, exporter, id=f"{name}-{exporter}", marks=pytest.mark.slow)
    for name in NAMES
    for exporter in EXPORTERS
    if (name, exporter) not in FAILS_TO_EXPORT
]


@pytest.mark.parametrize(("name", "exporter"), MODELS)
def test_models_of_both_exporters_need_no_opaque_op(
    name: str, exporter: str, tmp_path: Path
) -> None:
    """As imported and as legalized for the machine, which then lacks nothing of them."""
    path = exported(name, exporter, tmp_path)
    session = onnxruntime.InferenceSession(path)
    inputs = [drawn(session, seed) for seed in range(2)]
    expected = [session.run(None, given)[0] for given in inputs]
    scale = max(np.abs(outputs).max() for outputs in expected)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * scale
    module = import_model([path])
    module.verify()
    assert "nn.opaque" not in ops_of(module)
    for pipeline in ("", "fold-constants,simplify-shapes,fold-batch-norm,legalize{target=inf2}"):
        run_pipeline(module, pipeline)
        for given, outputs in zip(inputs, expected, strict=True):
            (result,) = Executor(module).run(given).values()
            np.testing.assert_allclose(result, outputs, rtol=1e-4, atol=2e-5 * scale)


def exported(name: str, exporter: str, folder: Path, *options: str) -> Path:
    """The model as a file; skips where its wheels are not installed."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    path = folder / f"{name}.onnx"
    command = [sys.executable, str(ZOO), name, str(path), "--exporter", exporter, *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in run.stderr:
        pytest.skip(run.stderr.strip().splitlines()[-1])
    assert run.returncode == 0, run.stderr[-2000:]
    return path


def drawn(session: onnxruntime.InferenceSession, seed: int) -> dict[str, Array]:
    """Images of noise and a colour; ids of a small vocabulary; a mask that ends early."""
    random, inputs = np.random.default_rng(seed), dict[str, Array]()
    for info in session.get_inputs():
        shape = tuple(info.shape)
        match info.name:
            case "ids":
                inputs["ids"] = random.integers(1, 1000, shape)
            case "mask":
                inputs["mask"] = np.broadcast_to(np.arange(shape[1]) < shape[1] - 3, shape) * 1
            case name:
                colour = random.standard_normal((*shape[:2], 1, 1))
                image = random.standard_normal(shape) + colour
                inputs[name] = image.astype("f2" if "16" in info.type else "f4")
    return inputs


@pytest.mark.slow
def test_a_model_in_half_precision_agrees_with_onnxruntime(tmp_path: Path) -> None:
    path = exported("mobilenet_v2", "ts", tmp_path, "--half")
    session = onnxruntime.InferenceSession(path)
    inputs = drawn(session, 0)
    (result,) = Executor(import_model([path])).run(inputs).values()
    assert result.dtype == np.float16
    np.testing.assert_allclose(
        result.astype(np.float32), session.run(None, inputs)[0].astype(np.float32), atol=2e-2
    )
