"""Movements at the sizes where tiles begin and end, of every element type."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from xdsl.dialects.builtin import bf16, f16, f32, i1, i32, i64

from samples import Sample, mostly_slow
from samples.shape import broadcast, concat, cut, pad, reshape, transpose, trilu

SIZES = (1, 3, 127, 128, 129, 513)
BATCH = 8


def movements(n: int) -> Iterator[Sample]:
    e = cycle((f32, bf16, f16, i32, i1, i64))
    yield reshape((BATCH, n, 3), (n, BATCH * 3), next(e))
    yield transpose((n, BATCH), (1, 0), next(e))
    yield transpose((BATCH, 3, n, 2), (2, 0, 3, 1), next(e))
    yield broadcast((n, 1), (BATCH, n, 5), next(e))
    yield broadcast((1, n), (3, n), next(e))
    yield cut((n, BATCH), (n - 1, 1), (n, 3), (-1, 2), next(e))
    yield cut((BATCH, n), (0, 0), (BATCH, (n + 2) // 3), (1, 3), next(e))
    yield concat([(n, 3), (n, 5), (n, 1)], 1, next(e))
    yield concat([(n, BATCH), (2, BATCH)], 0, next(e))
    yield pad((BATCH, n), (1, 2), (0, 3), next(e), value=1.0)
    yield pad((n, 3), (n, 0), (0, 1), next(e), mode="wrap")
    yield pad((BATCH, n), (0, 2), (1, 1), next(e), mode="edge")
    yield pad((3, n), (1, n - 1), (-1, n // 2), next(e), mode="reflect")
    yield trilu((n, BATCH), 1, upper=True, element=next(e))
    yield trilu((2, n, n), -1, upper=False, element=next(e))


SAMPLES = mostly_slow([s for n in SIZES for s in movements(n)], count=12, seed=4)
