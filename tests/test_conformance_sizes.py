"""Elementwise ops and reductions at every size, on both targets; a seeded choice if not slow.

Generated from `tests/samples` like `test_conformance`, with the same oracles and bounds.
"""

from __future__ import annotations

import random

import pytest
from samples import Sample
from samples.machine import compiled, ran
from samples.modules import Case, result_elements
from samples.sizes import sized_samples
from test_conformance import FIRST, assert_all_close

SIZED = sized_samples()
IN_EVERY_RUN = {sample.id for sample in random.Random(11).sample(SIZED, 60)}


@pytest.mark.parametrize(("target", "mode"), [("inf2", "none"), ("inf1", "all")])
@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(
            sample, id=sample.id, marks=[] if sample.id in IN_EVERY_RUN else [pytest.mark.slow]
        )
        for sample in SIZED
    ],
)
def test_an_op_runs_at_every_size(sample: Sample, target: str, mode: str) -> None:
    case = Case(sample, rounded=mode == "all")
    it = compiled(case.module(), target, mode)
    assert not it.refusals
    actual = ran(it.module, case.inputs(FIRST))
    assert_all_close(actual, case.expected(FIRST), result_elements(it.module), it.narrow)
