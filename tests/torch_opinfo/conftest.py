"""Puts the samples on the path, and prints what became of them.

These tests need torch and expecttest, so pytest finds them only where the folder is named.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from opinfo import Tally

TALLIES: list[Tally] = []


@pytest.fixture
def tallies() -> list[Tally]:
    """Tallies to print at the end."""
    return TALLIES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for tally in TALLIES:
        for line in tally.lines():
            terminalreporter.write_line(line)
