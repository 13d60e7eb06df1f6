"""Trained and real-size models from file to outputs, against onnxruntime."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from ranvier import Program, compile
from ranvier.dialects import nn
from ranvier.dialects.interfaces import ReferenceSemantics

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests" / "models"), str(ROOT / "examples")]

import resnet50  # noqa: E402
import transcribe  # noqa: E402

AUDIO = "serving_default_input_2:0"
NOTES = "StatefulPartitionedCall:1"
Array = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def music() -> Program:
    shape = (1, transcribe.WINDOW, 1)
    return compile(transcribe.model_file(), shapes={AUDIO: shape}, fallback="error")


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "resnet50.onnx"
    resnet50.build_resnet50(path)
    return path


@pytest.fixture(scope="module")
def resnet(resnet_file: Path) -> Program:
    return compile(resnet_file, shapes={"x": (1, 3, 224, 224)}, fallback="error")


def image(seed: int, batch: int = 1) -> Array:
    return resnet50.images(np.random.default_rng(seed), batch, 224)


def relative_error(actual: Array, expected: Array) -> float:
    """Root mean square of the difference over the deviation of what is expected."""
    return float(np.sqrt(np.mean((actual - expected) ** 2)) / expected.std())


# bf16 keeps 8 bits: 2^-9 of each operand of 53 layers, which add up like noise to 3 % here.
# A wrong tap, channel order or missing bias gives an error near 1.
BF16_RESNET = 0.06


@pytest.mark.parametrize("chord", [("C4", "A4", "E5"), ("D4", "F#4", "B4"), ("G3", "D5"), ("A3",)])
def test_notes_that_are_played_are_heard(music: Program, chord: tuple[str, ...]) -> None:
    notes = sorted(transcribe.midi_number(name) for name in chord)
    outputs = music.run({AUDIO: transcribe.play(notes)})
    heard = [note for note, _ in transcribe.hear(outputs[NOTES][0])]
    assert heard == notes


def test_music_follows_onnxruntime(music: Program) -> None:
    session = onnxruntime.InferenceSession(transcribe.model_file())
    for notes in ([60, 69, 76], [55, 74]):
        sound = transcribe.play(notes)
        expected = dict(
            zip(
                [o.name for o in session.get_outputs()],
                session.run(None, {AUDIO: sound}),
                strict=True,
            )
        )
        actual = music.run({AUDIO: sound})
        for name, array in expected.items():
            # Outputs are probabilities. The network takes the logarithm of a spectrum, so bf16's
            # rounding of the sound, 48 dB below it, changes quiet bins; in f32 they agree to 1e-5.
            assert np.abs(actual[name] - array).max() < 0.3
            assert np.sqrt(np.mean((actual[name] - array) ** 2)) < 0.02


def test_resnet_follows_onnxruntime(resnet: Program, resnet_file: Path) -> None:
    session = onnxruntime.InferenceSession(resnet_file)
    outputs = []
    for seed in (1, 2):
        x = image(seed)
        (expected,) = session.run(None, {"x": x})
        actual = resnet.run({"x": x})["y"]
        assert relative_error(actual, expected) < BF16_RESNET
        outputs.append(actual)
    assert relative_error(outputs[0], outputs[1]) > 0.5, "two inputs give two outputs"


def test_resnet_in_f32_is_exact_to_rounding(resnet_file: Path) -> None:
    program = compile(resnet_file, shapes={"x": (1, 3, 224, 224)}, fast_math=("none",))
    x = image(3)
    (expected,) = onnxruntime.InferenceSession(resnet_file).run(None, {"x": x})
    # f32 sums of up to 4608 products in another order
    assert relative_error(program.run({"x": x})["y"], expected) < 1e-3


def test_all_of_resnet_runs_on_the_machine(resnet: Program) -> None:
    counts = resnet.operators
    assert counts["host"] == 0
    assert counts["segments"] == 1
    assert counts["before"] == counts["on_neuron"] == 175


def test_the_machine_counts_the_macs_of_the_model(resnet: Program) -> None:
    resnet.run({"x": image(1)})
    # 4.089 G of convolutions and the classifier: published for ResNet-50 v1.5
    assert resnet.runner.counters.macs == 4_089_184_256


def test_eight_images_are_one_image_eight_times(resnet: Program, resnet_file: Path) -> None:
    batch = compile(resnet_file, shapes={"x": (8, 3, 224, 224)}, fallback="error")
    x = image(4, 8)
    together = batch.run({"x": x})["y"]
    for index in (0, 7):
        alone = resnet.run({"x": x[index : index + 1]})["y"]
        # Tiles differ with the batch, so sums may round differently before they become bf16.
        assert relative_error(together[index], alone[0]) < 0.02


@pytest.mark.parametrize("cores", [2, 4])
def test_a_pipeline_gives_the_bits_of_one_core(
    resnet: Program, resnet_file: Path, cores: int
) -> None:
    pipeline = compile(resnet_file, shapes={"x": (1, 3, 224, 224)}, cores=cores)
    x = image(5)
    assert pipeline.run({"x": x})["y"].tobytes() == resnet.run({"x": x})["y"].tobytes()


def test_a_device_program_never_asks_the_reference_semantics(music: Program) -> None:
    sound = transcribe.play([60])
    expected = music.run({AUDIO: sound})[NOTES]
    with without_evaluate():
        assert music.run({AUDIO: sound})[NOTES].tobytes() == expected.tobytes()


@contextmanager
def without_evaluate() -> Iterator[None]:
    """Every `evaluate` of `nn` raises."""

    def refuse(self: object, *operands: Array) -> Array:
        raise AssertionError(f"{type(self).__name__}.evaluate was called")

    owners = {
        owner
        for op in nn.OPS
        if issubclass(op, ReferenceSemantics)
        for owner in op.__mro__
        if "evaluate" in vars(owner)
    }
    saved = {owner: vars(owner)["evaluate"] for owner in owners}
    try:
        for owner in owners:
            owner.evaluate = refuse
        yield
    finally:
        for owner, evaluate in saved.items():
            owner.evaluate = evaluate
