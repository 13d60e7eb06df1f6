"""What is kept of PyTorch's operators is what placing their samples gives."""

from __future__ import annotations

import random

import pytest

from ranvier.passes.target import load_target
from ranvier.tools.pytorch_operators import add_first, calls_of, databank, support
from ranvier.tools.support import TARGETS, Support, known

DRAWN = 12


def test_a_draw_of_operators_is_listed_as_it_is_placed() -> None:
    targets = [load_target(name) for name in TARGETS]
    kept = known()["frameworks"]["PYTORCH"]
    proven: set[str] = set()
    for op, dtype in random.Random(0).sample(databank(), DRAWN):
        found = Support()
        for samples in calls_of(op, dtype):
            add_first(found, samples, targets)
        for kind, entry in found.operators.items():
            for target, reason in entry.why_host.items():
                if reason is None:
                    assert kept[kind][target] is None
                    proven.add(kind)
    assert len(proven) >= DRAWN


@pytest.mark.slow
def test_what_is_kept_is_what_placing_the_samples_gives() -> None:
    found = support([load_target(name) for name in TARGETS])
    assert known()["frameworks"]["PYTORCH"] == {
        kind: {"ops": entry.ops, **entry.why_host} for kind, entry in found.operators.items()
    }, "run python -m ranvier.tools.support > docs/ops.md"
