"""Whole ONNX models give what onnxruntime gives, and depend on their input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from onnx_models import compare_with_onnxruntime, ops_of

from ranvier.backend.reference import Executor

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import transcribe


def test_basic_pitch_agrees_with_onnxruntime() -> None:
    path = transcribe.model_file()
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
