"""Pipelines of 1 to 16 NeuronCores: the bits of one core, and a header that says how many."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resnet50
from exported import Models

from ranvier import Program, compile

Array = np.ndarray[Any, np.dtype[Any]]
Model = tuple[Path, dict[str, Array]]

HEADER = struct.Struct("168xI304xI64B")
"""How the published TensorFlow plug-in reads the first 544 bytes of a NEFF."""


@pytest.fixture(scope="module", params=["resnet50", "bert_base"])
def model(
    request: pytest.FixtureRequest, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> Model:
    """A model file and inputs for it."""
    if request.param == "bert_base":
        return models.file("bert_base", "dynamo"), models.inputs("bert_base", 4)
    path = tmp_path_factory.mktemp("models") / "resnet50.onnx"
    resnet50.build_resnet50(path)
    return path, {"x": resnet50.images(np.random.default_rng(4), 1, 224)}


@pytest.fixture(scope="module")
def alone(model: Model) -> Program:
    """The model on one core."""
    return pipeline(model, 1)


def pipeline(model: Model, cores: int) -> Program:
    path, inputs = model
    shapes = {name: array.shape for name, array in inputs.items()}
    return compile(path, shapes=shapes, cores=cores, fallback="error")


def published_counts(program: Program, path: Path) -> tuple[int, int, int]:
    """Best, requested and least number of cores, as the plug-in takes them from the header."""
    program.save(path)
    with path.open("rb") as file:
        best, requested, *per_segment = HEADER.unpack(file.read(HEADER.size))
    return best, requested, max(per_segment)


def test_the_header_of_one_core_says_one(alone: Program, tmp_path: Path) -> None:
    assert HEADER.size == 544
    assert published_counts(alone, tmp_path / "alone.neff") == (1, 1, 1)


@pytest.mark.parametrize("cores", [2, 4, 8, 16])
def test_a_pipeline_gives_the_bits_of_one_core(
    model: Model, alone: Program, cores: int, tmp_path: Path
) -> None:
    program, inputs = pipeline(model, cores), model[1]
    (expected,), (actual,) = alone.run(inputs).values(), program.run(inputs).values()
    assert actual.tobytes() == expected.tobytes()
    assert program.operators == alone.operators
    assert published_counts(program, tmp_path / "pipeline.neff") == (cores, cores, cores)
