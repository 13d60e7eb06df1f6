"""The photo example: a trained classifier says what people see, and what fp32 says."""

from __future__ import annotations

from pathlib import Path

import classify
import pytest

from ranvier import compile

Verdicts = dict[str, classify.Verdict]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    path = tmp_path_factory.mktemp("photos") / "efficientnet_lite0.onnx"
    network = classify.load_network()
    classify.export(network, path)
    program = compile(path, fallback="error")
    return {name: classify.classify(program, network, name) for name in classify.PHOTOS}


@pytest.mark.parametrize(("photo", "label"), [("coffee", "espresso"), ("camera", "tripod")])
def test_clear_photos_are_recognised(verdicts: Verdicts, photo: str, label: str) -> None:
    ((first, chance),) = classify.best(verdicts[photo].compiled, 1)
    assert first == label
    assert chance > 0.9


def test_the_cat_is_a_striped_cat(verdicts: Verdicts) -> None:
    labels = {label for label, _ in classify.best(verdicts["chelsea"].compiled, 2)}
    assert labels == {"Egyptian cat", "tiger cat"}


@pytest.mark.parametrize("photo", classify.PHOTOS)
def test_the_first_choice_is_that_of_fp32(verdicts: Verdicts, photo: str) -> None:
    verdict = verdicts[photo]
    assert verdict.agrees
    # bf16's 8 bits in 49 layers move up to 0.01 between classes that are close.
    assert verdict.compiled == pytest.approx(verdict.exact, abs=0.02)


def test_the_picture_is_drawn(verdicts: Verdicts, tmp_path: Path) -> None:
    classify.draw(list(verdicts.values()), tmp_path / "photos.png")
    assert (tmp_path / "photos.png").read_bytes().startswith(b"\x89PNG")
