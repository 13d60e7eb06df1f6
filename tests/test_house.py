"""Rules of the house that no linter knows: codes, generated pages, tests beside passes."""

from __future__ import annotations

import re
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from xdsl.universe import Universe

from ranvier.dialects.diagnostics import Code
from ranvier.tools import support
from ranvier.tools.errors_page import render
from ranvier.tools.universe import UNIVERSE

ROOT = Path(__file__).parent.parent
LIT_TESTS = ROOT / "lit_tests"


def test_the_page_of_errors_is_what_the_enum_gives() -> None:
    assert (ROOT / "docs/errors.md").read_text() == render(), (
        "run python -m ranvier.tools.errors_page > docs/errors.md"
    )


def test_the_page_of_operators_is_what_is_kept() -> None:
    assert (ROOT / "docs/ops.md").read_text() == support.render(support.known()), (
        "run python -m ranvier.tools.support > docs/ops.md"
    )


@pytest.mark.slow
def test_what_is_kept_of_operators_is_what_placing_their_examples_gives() -> None:
    assert support.derive() == support.known(), "run python -m ranvier.tools.support > docs/ops.md"


def test_every_code_has_a_number_of_its_own() -> None:
    assert [n for n, count in Counter(code.number for code in Code).items() if count > 1] == []
    assert [code for code in Code if not re.fullmatch(r"RV0\d{3}", code.number)] == []


def test_every_code_says_what_to_do() -> None:
    assert [code for code in Code if not code.advice or code.advice.endswith(".")] == []


PASSES = {name: factory() for name, factory in UNIVERSE.all_passes.items()}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_lives_where_its_name_says_and_has_a_lit_test(name: str) -> None:
    """`cast-bf16` is in `passes/cast_bf16.py`, tested by `lit_tests/passes/cast-bf16.mlir`."""
    module = PASSES[name].__module__.removeprefix("ranvier.")
    assert PASSES[name].name == name
    assert module.rpartition(".")[2] == name.replace("-", "_")
    folder = LIT_TESTS.joinpath(*module.split(".")[:-1])
    assert (folder / f"{name}.mlir").is_file()


def test_no_pass_takes_a_name_of_xdsl() -> None:
    installed = Counter(
        name for entry in entry_points(group="xdsl.universe") for name in entry.load().all_passes
    )
    assert [name for name in PASSES if installed[name] > 1] == []
    assert set(PASSES) <= set(Universe.get_multiverse().all_passes)


@pytest.mark.parametrize(
    "path", sorted(LIT_TESTS.rglob("*.mlir")), ids=lambda path: str(path.relative_to(LIT_TESTS))
)
def test_a_lit_test_runs_something_and_checks_it(path: Path) -> None:
    text = path.read_text()
    assert "// RUN:" in text
    assert "filecheck" in text or "RANVIER_ROUNDTRIP" in text
