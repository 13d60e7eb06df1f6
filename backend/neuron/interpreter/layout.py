"""How operands of different shapes walk the same elements together.

A layout is a list of (stride in bytes, count), outermost first; on chip the first is the partition
dimension. Operands of one instruction touch equally many elements but may cut them differently,
`784` here and `28 x 28` there. `align` cuts all of them at the same places, then joins what is
contiguous in every one, so that NumPy runs few long inner loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import TypeAlias

Layout: TypeAlias = tuple[tuple[int, int], ...]


def shape_of(layout: Layout) -> tuple[int, ...]:
    return tuple(count for _, count in layout)


def strides_of(layout: Layout) -> tuple[int, ...]:
    return tuple(stride for stride, _ in layout)


def size_of(layout: Layout) -> int:
    return prod(shape_of(layout))


def joined(layouts: Sequence[Layout]) -> list[Layout]:
    """Join neighbouring dimensions that are contiguous in every layout; the shapes are equal."""
    kept: list[list[tuple[int, int]]] = [[] for _ in layouts]
    for dims in zip(*layouts, strict=True):
        if dims[0][1] == 1:
            continue
        if kept[0] and all(
            done[-1][0] == stride * count for done, (stride, count) in zip(kept, dims, strict=True)
        ):
            for done, (stride, count) in zip(kept, dims, strict=True):
                done[-1] = (stride, done[-1][1] * count)
        else:
            for done, dim in zip(kept, dims, strict=True):
                done.append(dim)
    return [tuple(done) or ((0, 1),) for done in kept]


def align(*layouts: Layout) -> list[Layout] | None:
    """The layouts with one shape, or None where their cuts do not nest."""
    cuts = sorted({cut for layout in layouts for cut in _cuts(layout)})
    if any(large % small for small, large in pairwise(cuts)):
        return None
    return joined([_cut_at(layout, cuts) for layout in layouts])


def _cuts(layout: Layout) -> list[int]:
    """Elements of the innermost 0, 1, 2, … dimensions."""
    products = [1]
    for _, count in reversed(layout):
        products.append(products[-1] * count)
    return products


def _cut_at(layout: Layout, cuts: Sequence[int]) -> Layout:
    """The same walk with a dimension for each step between cuts."""
    dims: list[tuple[int, int]] = []
    inner = 1
    for stride, count in reversed(layout):
        outer = inner * count
        for small, large in pairwise(cuts):
            if inner <= small and large <= outer:
                dims.append((stride * (small // inner), large // small))
        inner = outer
    return tuple(reversed(dims)) or ((0, 1),)
