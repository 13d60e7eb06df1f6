"""The kernels of NumPy's BLAS, chosen before NumPy loads it.

OpenBLAS knows processors by name. One that is newer than it gets kernels of half the vector width,
even where it has AVX-512; products then take twice the time. `OPENBLAS_CORETYPE` in the environment
decides, and a value that the user has set stays.
"""

from __future__ import annotations

import os
from pathlib import Path

from ranvier.backend.processor import CPUINFO, features

AVX512 = frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})
"""What the kernels for Skylake-X need."""


def choose_kernels(cpuinfo: Path = CPUINFO) -> None:
    """Ask for AVX-512 kernels where every feature that they need is there."""
    if AVX512 <= features(cpuinfo):
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
