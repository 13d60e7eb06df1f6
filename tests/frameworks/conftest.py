"""Puts the zoo and the examples on the path, and makes each model once per session.

These tests need torch and its company, so pytest finds them only where they are named:
`make frameworks` does that in an environment of its own.
"""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDERS = (HERE, HERE.parent, HERE.parent / "models", HERE.parent.parent / "examples")
sys.path[:0] = map(str, FOLDERS)

import zoo  # noqa: E402
from exported import Models  # noqa: E402

zoo.declare_torchvision()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("zoo"))
