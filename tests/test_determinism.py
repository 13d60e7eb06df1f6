"""Same input, same compiler, same flags: same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ranvier.dialects import nn
from ranvier.dialects.interfaces import HasPrecision

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import transcribe


def test_an_op_has_at_most_one_precision_policy() -> None:
    """Traits of a parent class add up with those of its children, in no fixed order."""
    for op in nn.OPS:
        policies = [trait for trait in op.traits.traits if isinstance(trait, HasPrecision)]
        assert len(policies) <= 1, f"{op.name} has {policies}"


@pytest.mark.parametrize("cores", [1, 3])
def test_hash_seed_threads_and_folder_leave_no_trace_in_a_file(tmp_path: Path, cores: int) -> None:
    digests: set[str] = set()
    for seed in ("1", "2", "3"):
        folder = tmp_path / seed
        folder.mkdir()
        words = ["compile", str(transcribe.model_file()), "-o", "out.neff"]
        words += ["--shape", f"serving_default_input_2:0=1x{transcribe.WINDOW}x1"]
        words += ["--neuroncore-pipeline-cores", str(cores)]
        subprocess.run(
            [sys.executable, "-m", "ranvier.tools", *words],
            cwd=folder,
            env=os.environ | {"PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": seed},
            check=True,
            capture_output=True,
        )
        digests.add(hashlib.sha256((folder / "out.neff").read_bytes()).hexdigest())
    assert len(digests) == 1
