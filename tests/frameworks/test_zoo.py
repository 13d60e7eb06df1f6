"""Every model of the zoo, by both exporters: no opaque op, nothing that the target lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import zoo
from exported import Array, Models
from onnx_models import ops_of

from ranvier.backend.reference import Executor
from ranvier.importers.registry import import_model
from ranvier.passes.pipelines import run_pipeline

EXPORTERS = ("ts", "dynamo")
FAILS_TO_EXPORT = {("gpt2", "ts"), ("t5_encoder", "dynamo")}
NAMES = (
    "efficientnet_lite0",
    "minilm",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "bert_base",
    "distilbert",
    "mobilenet_v3_large",
    "resnet18",
    "resnet50",
    "vgg16",
    "densenet121",
    "inception_v3",
    "inception_v3_normalized",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
    "unet",
    "unet_bilinear",
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
    models: Models, name: str, exporter: str
) -> None:
    """As imported and as legalized for the machine, which then lacks nothing of them."""
    path = models.file(name, exporter)
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
    path = tmp_path / "half.onnx"
    zoo.export("mobilenet_v2", path, "ts", half=True)
    session = onnxruntime.InferenceSession(path)
    inputs = drawn(session, 0)
    (result,) = Executor(import_model([path])).run(inputs).values()
    assert result.dtype == np.float16
    np.testing.assert_allclose(
        result.astype(np.float32), session.run(None, inputs)[0].astype(np.float32), atol=2e-2
    )
