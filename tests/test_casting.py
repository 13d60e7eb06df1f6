"""Which cast mode the flags of neuron-cc ask for: precedence, exclusion, and both targets."""

from __future__ import annotations

import pytest

from ranvier.casting import CASTS, KEYWORDS, cast_mode, wants_fast_relayout
from ranvier.dialects.diagnostics import CallerError

INF1, INF2 = False, True
"""Whether the target multiplies f32."""


@pytest.mark.parametrize(
    ("fast_math", "fp32_cast", "mode"),
    [
        (["all"], None, "all"),
        (["fast-relayout"], None, "all"),
        (["no-fast-relayout"], None, "all"),
        (["fp32-cast-matmult", "no-fast-relayout"], None, "matmult"),
        (["fp32-cast-matmult-fp16"], None, "matmult-fp16"),
        (["all", "fp32-cast-all-fp16"], None, "all-fp16"),
        (["none", "fp32-cast-matmult"], None, "matmult"),
        (["none"], "all", "all"),
        (["fp32-cast-all"], "matmult-bf16", "matmult-bf16"),
        (["none", "fp32-cast-matmult"], "all-fp16", "all-fp16"),
    ],
)
@pytest.mark.parametrize("multiplies_f32", [INF1, INF2])
def test_the_specific_beats_the_general(
    fast_math: list[str], fp32_cast: str | None, mode: str, multiplies_f32: bool
) -> None:
    assert cast_mode(fast_math, fp32_cast, multiplies_f32) == mode


def test_none_casts_only_what_the_target_cannot_multiply() -> None:
    assert cast_mode(["none"], None, INF2) == "none"
    assert cast_mode(["none", "no-fast-relayout"], None, INF2) == "none"
    assert cast_mode(["none"], None, INF1) == "matmult-bf16"


@pytest.mark.parametrize("cast", CASTS)
def test_both_spellings_of_a_cast_agree(cast: str) -> None:
    assert cast_mode(["all"], cast, INF2) == cast_mode([f"fp32-cast-{cast}"], None, INF2) == cast


@pytest.mark.parametrize(
    ("fast_math", "fast"),
    [
        (["all"], True),
        (["none"], False),
        (["no-fast-relayout"], False),
        (["none", "fast-relayout"], True),
        (["all", "no-fast-relayout"], False),
        (["fp32-cast-matmult"], True),
    ],
)
def test_transposes_follow_their_own_keyword_first(fast_math: list[str], fast: bool) -> None:
    assert wants_fast_relayout(fast_math) is fast


@pytest.mark.parametrize(
    "fast_math",
    [
        ["all", "none"],
        ["fast-relayout", "no-fast-relayout"],
        ["fp32-cast-all", "fp32-cast-matmult"],
    ],
)
def test_keywords_of_one_group_exclude_each_other(fast_math: list[str]) -> None:
    with pytest.raises(CallerError, match="exclude each other"):
        cast_mode(fast_math, "all", INF2)


def test_a_keyword_may_be_repeated() -> None:
    assert cast_mode(["fp32-cast-matmult", "fp32-cast-matmult"], None, INF2) == "matmult"


def test_unknown_keywords_are_named_with_the_known_ones() -> None:
    with pytest.raises(CallerError, match=r"'fast'.*no-fast-relayout"):
        cast_mode(["fast"], None, INF2)
    assert len(KEYWORDS) == 9
