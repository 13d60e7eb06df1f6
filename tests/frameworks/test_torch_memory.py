"""Tracing many models takes the memory of few."""

from __future__ import annotations

from pathlib import Path

from memory import MODEL, growth

TRACE = """
import torch
import ranvier.torch

def compile_one(weight):
    linear = torch.nn.Linear(*weight.shape).eval()
    linear.weight = torch.nn.Parameter(torch.from_numpy(weight))
    ranvier.torch.trace(linear, torch.zeros(1, len(weight)))
"""


def test_tracing_many_models_takes_the_memory_of_few(tmp_path: Path) -> None:
    """As `ranvier.compile` does: see `test_weights.py`."""
    assert growth(TRACE, tmp_path) < MODEL
