"""What `--fast-math` and `--fp32-cast` ask of `cast-bf16`, as the neuron-cc reference has it.

`--fast-math` is a list of keywords: `all` or `none`, and over it one for casts and one for
transposes. An explicit `--fp32-cast` beats the casts of `--fast-math`, not its transposes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ranvier.dialects.diagnostics import CallerError, Code

CASTS = ("all", "matmult", "matmult-fp16", "matmult-bf16", "all-fp16")
"""Values of `--fp32-cast`."""
WHOLE = ("all", "none")
RELAYOUTS = ("fast-relayout", "no-fast-relayout")
KEYWORDS = (*WHOLE, *RELAYOUTS, *(f"fp32-cast-{cast}" for cast in CASTS))
"""Values of `--fast-math`."""


def cast_mode(fast_math: Sequence[str], fp32_cast: str | None, multiplies_f32: bool) -> str:
    """The `mode` of `cast-bf16`. `none` becomes `matmult-bf16` where the target multiplies no f32.

    Raises CallerError for an unknown keyword and for two of one group.
    """
    whole, _, cast = keywords_by_group(fast_math)
    if fp32_cast is not None:
        return fp32_cast
    if cast is not None:
        return cast.removeprefix("fp32-cast-")
    if whole == "none":
        return "none" if multiplies_f32 else "matmult-bf16"
    return "all"


def wants_fast_relayout(fast_math: Sequence[str]) -> bool:
    """Whether the array may transpose: unless `none` or `no-fast-relayout` forbids it."""
    whole, relayout, _ = keywords_by_group(fast_math)
    return whole != "none" if relayout is None else relayout == "fast-relayout"


def keywords_by_group(fast_math: Sequence[str]) -> tuple[str | None, str | None, str | None]:
    """The keyword for everything, for transposes, for casts; None where none is given."""
    for keyword in fast_math:
        if keyword not in KEYWORDS:
            raise CallerError(
                Code.OPTION_INVALID,
                f"unknown fast-math keyword '{keyword}'; one of {', '.join(KEYWORDS)}",
            )
    casts = [keyword for keyword in fast_math if keyword.startswith("fp32-cast-")]
    whole = [keyword for keyword in fast_math if keyword in WHOLE]
    relayouts = [keyword for keyword in fast_math if keyword in RELAYOUTS]
    for group in (whole, relayouts, casts):
        if len(set(group)) > 1:
            raise CallerError(
                Code.OPTION_INVALID, f"fast-math keywords exclude each other: {', '.join(group)}"
            )
    first = (next(iter(group), None) for group in (whole, relayouts, casts))
    whole_keyword, relayout, cast = first
    return whole_keyword, relayout, cast
