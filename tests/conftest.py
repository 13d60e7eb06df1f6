"""Lets tests import the samples beside them, and registers the marker of expensive tests."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))


# A failure in CI is one on the next run too, and no deadline fails on a busy machine;
# `make test-full` explores further.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("exploring", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", 'slow: takes seconds; left out with -m "not slow"')
