"""PyTorch's own samples of its ops through importer, compiler and machine, against eager."""

from __future__ import annotations

import random

import pytest
from opinfo import OPS, Tally, tally

MACHINE = 0.7
"""The share of tried ops that run on the machine at least."""

CI_OPS, CI_SAMPLES = 60, 2


def check(outcome: Tally, ops: int) -> None:
    """Nothing is wrong, and what maps to `nn` runs on the machine."""
    tried = outcome.tried()
    assert not outcome.wrong
    assert len(tried) >= ops
    assert len(outcome.on_machine()) >= MACHINE * len(tried)


def test_a_draw_of_ops_is_right_on_the_machine(tallies: list[Tally]) -> None:
    drawn = random.Random(0).sample(OPS, CI_OPS)
    tallies.append(tally(drawn, CI_SAMPLES))
    check(tallies[-1], CI_OPS // 3)


@pytest.mark.slow
def test_all_ops_are_right_on_the_machine(tallies: list[Tally]) -> None:
    tallies.append(tally(OPS))
    check(tallies[-1], 300)
