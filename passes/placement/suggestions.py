"""Near misses for error messages."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`; did you mean 'axis'?` for the nearest known word, empty if none is near."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
