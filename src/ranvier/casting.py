"""What `--fast-math` and `--fp32-cast` ask of `cast-bf16`, as the neuron-cc reference has it.

`--fast-math` is a list of keywords; one for casts, one for transposes, over `all` or `none`. An
explicit `--fp32-cast` beats the casts of `--fast-math`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ranvier.dialects.diagnostics import CallerError, Code

CASTS = ("all", "matmult", "matmult-fp16", "matmult-bf16", "all-fp16")
"""Values of `--fp32-cast`."""
KEYWORDS = (
    "all",
    "none",
    "fast-relayout",
    "no-fast-relayout",
    *(f"fp32-cast-{cast}" for cast in CASTS),
)
"""Values of `--fast-math`."""


def cast_mode(fast_math: Sequence[str], fp32_cast: str | None, multiplies_f32: bool) -> str:
    """The `mode` of `cast-bf16`. `none` becomes `matmult-bf16` where the target multiplies no f32.

    Raises CallerError for an unknown keyword and for two of one group.
    """
    for keyword in fast_math:
        if keyword not in KEYWORDS:
            raise CallerError(
                Code.OPTION_INVALID,
                f"unknown fast-math keyword '{keyword}'; one of {', '.join(KEYWORDS)}",
            )
    casts = [keyword for keyword in fast_math if keyword.startswith("fp32-cast-")]
    whole = [keyword for keyword in fast_math if keyword in ("all", "none")]
    relayout = [keyword for keyword in fast_math if keyword.endswith("fast-relayout")]
    for group in (casts, whole, relayout):
        if len(set(group)) > 1:
            raise CallerError(
                Code.OPTION_INVALID, f"fast-math keywords exclude each other: {', '.join(group)}"
            )
    if fp32_cast is not None:
        return fp32_cast
    if casts:
        return casts[0].removeprefix("fp32-cast-")
    if whole == ["none"]:
        return "none" if multiplies_f32 else "matmult-bf16"
    return "all"
