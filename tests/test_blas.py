"""Which BLAS kernels the command line asks for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ranvier.tools.blas import choose_kernels

WIDE = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512dq avx512cd avx512bw avx512vl\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(WIDE, "SkylakeX"), (WIDE.replace(" avx512vl", ""), None), ("", None), (None, None)],
)
def test_avx512_kernels_where_all_of_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, expected: str | None
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "")  # so that what is set below is taken back
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    choose_kernels(path)
    assert os.environ.get("OPENBLAS_CORETYPE") == expected


def test_the_users_choice_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    (tmp_path / "cpuinfo").write_text(WIDE)
    choose_kernels(tmp_path / "cpuinfo")
    assert os.environ["OPENBLAS_CORETYPE"] == "Haswell"


def test_the_command_line_chooses_before_numpy_is_there() -> None:
    script = (
        "import sys, ranvier.tools.cli, ranvier.tools.blas\n"
        "def chosen(): raise SystemExit(40 + ('numpy' in sys.modules))\n"
        "ranvier.tools.cli.choose_kernels = chosen\n"
        "ranvier.tools.cli.main(['-V'])\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 40
