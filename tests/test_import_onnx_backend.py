"""ONNX's own backend cases through importer and reference executor, and on the machine."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from onnx_backend import Case, cases
from onnx_models import ops_of

import ranvier
from ranvier.backend.reference import Executor
from ranvier.dialects.diagnostics import CodedError
from ranvier.importers.errors import ModelImportError
from ranvier.importers.registry import import_model

IMPORTED = 1341
"""Cases that become `nn` ops alone, of 1476; a figure to raise."""


EVERY = 23
"""Of so many cases CI compiles one."""


@pytest.mark.slow
def test_no_backend_case_is_imported_wrongly(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    for case in cases():
        outcome = outcome_of(case, tmp_path)
        outcomes[outcome] += 1
        wrong += [case.name] * (outcome == "wrong")
    assert not wrong
    assert outcomes["right"] >= IMPORTED


def outcome_of(case: Case, folder: Path) -> str:
    """`right`, `wrong`, `opaque` for what is right with the help of ONNX itself, or `refused`."""
    try:
        module = import_model([case.write(folder)], shapes=case.shapes)
    except ModelImportError:
        return "refused"
    module.verify()
    if not case.agrees(Executor(module).run(case.feeds)):
        return "wrong"
    return "opaque" if "nn.opaque" in ops_of(module) else "right"


def test_a_sample_of_backend_cases_is_right_on_the_machine(tmp_path: Path) -> None:
    compile_and_run(list(islice(cases(), 0, None, EVERY)), tmp_path)


@pytest.mark.slow
def test_every_backend_case_is_right_on_the_machine(tmp_path: Path) -> None:
    compile_and_run(list(cases()), tmp_path)


IMAGES = re.compile(
    "test_(basic_)?(conv|averagepool|maxpool|globalaverage|globalmax|lppool|resize|upsample|gridsample|lrn|"
    "instancenorm|group_norm|AvgPool|MaxPool|Conv)"
)
INDICES = "with_argmax"
"""Of maxima: `nn` has no such result."""


@pytest.mark.slow
def test_image_cases_leave_nothing_to_the_host(tmp_path: Path) -> None:
    host: list[str] = []
    chosen = [case for case in cases() if IMAGES.match(case.name) and INDICES not in case.name]
    for case in chosen:
        program = ranvier.compile(case.write(tmp_path), shapes=case.shapes, fast_math=("none",))
        assert case.agrees(program.run(case.feeds), atol=1e-5), case.name
        host += [case.name] * (program.operators["host"] > 0)
    assert len(chosen) > 150
    assert not host


def compile_and_run(chosen: list[Case], folder: Path) -> None:
    """Each case is computed right or refused with a code, and few are refused."""
    wrong: list[str] = []
    refused: list[str] = []
    for case in chosen:
        try:
            program = ranvier.compile(case.write(folder), shapes=case.shapes, fast_math=("none",))
        except CodedError:
            refused.append(case.name)
            continue
        # f32 sums in another order, which the suite's own 1e-7 does not allow
        if not case.agrees(program.run(case.feeds), atol=1e-5):
            wrong.append(case.name)
    assert not wrong
    assert len(refused) <= len(chosen) // 20, refused
