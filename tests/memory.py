"""Measures a process of its own that compiles one model after another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MODEL = 64
"""Megabytes of the weights of one model."""
MODELS = 6

_LOOP = f"""
import resource
import sys
import numpy as np

for seed in range({MODELS}):
    compile_one(np.random.default_rng(seed).standard_normal((4096, 4096), np.float32))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("peak", peak / (2**20 if sys.platform == "darwin" else 2**10))
"""


def growth(code: str, folder: Path) -> float:
    """Megabytes that the third to the last model add to the most memory that two have taken.

    `code` defines `compile_one(weight)` for a square matrix of floats, and runs in `folder`. What
    one compilation takes for a while is in the peak of the first; the second has garbage of the
    first beside it.
    """
    done = subprocess.run(
        [sys.executable, "-c", code + _LOOP], check=True, capture_output=True, text=True, cwd=folder
    )
    peaks = [float(line.split()[1]) for line in done.stdout.splitlines() if line[:4] == "peak"]
    assert len(peaks) == MODELS
    return peaks[-1] - peaks[1]
