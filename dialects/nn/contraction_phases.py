"""A transposed convolution is one convolution for each phase of its strides.

The elements `p, p + stride, …` of an axis see the same taps, those that are `p` modulo the stride,
and are a convolution of the operand with them, backwards. No zero is multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """Every `stride`-th result of an axis: a convolution with some of the taps, backwards."""

    start: int
    count: int
    last: int
    """Its last tap, which is first where taps run backwards."""
    taps: int
    step: int
    """From tap to tap."""
    dilation: int
    low: int
    """Padding before the operand; cropped where negative."""


def phases(size: int, taps: int, stride: int, dilation: int, cut: int, out: int) -> list[Phase]:
    """The phases of an axis of `size` elements whose result starts `cut` into what it grows to."""
    found: list[Phase] = []
    for start in range(min(stride, out)):
        whole, residue = divmod(start + cut, stride)
        seen = [k for k in range(taps) if (k * dilation - residue) % stride == 0]
        count = len(range(start, out, stride))
        if not seen:
            found.append(Phase(start, count, 0, 0, 1, 1, 0))
            continue
        step = seen[1] - seen[0] if len(seen) > 1 else stride
        low = (seen[-1] * dilation - residue) // stride - whole
        beyond = -low >= size  # every window lies past the operand
        number = 0 if beyond else len(seen)
        found.append(Phase(start, count, seen[-1], number, step, step * dilation // stride, low))
    return found
