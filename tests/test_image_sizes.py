"""Convolution, pooling, resampling at the sizes where tiles end: 1, odd, 127 to 129, 513; batch 8.

Every op with every size in every place that matters, on both machines. A few drawn from a seed run
always, the others where slow tests do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from samples import Sample
from samples.contraction import conv, conv_transpose
from samples.machine import compiled, ran
from samples.modules import Case, result_elements
from samples.normalization import group_norm, lrn, rms_norm
from samples.pooling import lp_pool, pools
from samples.pooling_resize import grid_sample, resize
from test_conformance import FIRST, assert_all_close
from xdsl.dialects.builtin import bf16

SIZES = (1, 3, 127, 128, 129, 513)
ALWAYS = 16


def convolutions() -> Iterator[Sample]:
    """Channels and filters of every size; images as small as the kernel, long, wide, eight."""
    for i, channels in enumerate(SIZES):
        filters = SIZES[-1 - i]
        yield conv((1, channels, 5, 7), (filters, channels, 3, 3), padding=(1, 1, 1, 1))
        yield conv((8, channels, 3, 1), (filters, channels, 3, 1), bias=False)
        yield conv((1, channels, 1, 1), (filters, channels, 1, 1))
        yield conv((1, channels, 9, 5), (5, channels, 9, 5))  # as large as the image
        yield conv((1, channels, 7, 6), (3, channels, 1, 3), padding=(0, 2, 0, 0), strides=(3, 2))
        yield conv((1, 3, channels + 1, 4), (5, 3, 2, 3), strides=(2, 1), dilations=(1, 1))
        yield conv((1, 65, 3, channels), (5, 65, 3, 1))
        yield conv((2, 5, channels), (7, 5, 1), element=bf16)
        yield conv((1, 3, 3, channels, 2), (4, 3, 2, 1, 2))
        if channels > 1:  # depthwise, with a multiplier, and groups of odd sizes
            yield conv((1, channels, 5, 4), (channels, 1, 3, 2), groups=channels)
            yield conv((8, channels, 3, 5), (2 * channels, 1, 3, 3), groups=channels, bias=False)
        if channels % 3 == 0:
            yield conv(
                (1, channels, 4, 5), (6, channels // 3, 3, 3), groups=3, padding=(1, 0, 0, 2)
            )
        yield conv((1, channels, 4, 5), (filters, channels, 2, 3), constant=False)


def transposed() -> Iterator[Sample]:
    for i, channels in enumerate(SIZES):
        filters = SIZES[-1 - i]
        yield conv_transpose((1, channels, 4, 3), (channels, filters, 2, 2), strides=(2, 2))
        yield conv_transpose((8, channels, 1, 1), (channels, 5, 3, 3), strides=(2, 3))
        same = {"strides": (2, 2), "padding": (1, 1, 1, 1)}
        yield conv_transpose((1, 5, channels, 3), (5, 3, 4, 4), **same)
        yield conv_transpose((1, channels, 5), (channels, 3, 3), strides=(2,), padding=(1, 0))
        yield conv_transpose((1, 3, 2, channels, 2), (3, 2, 2, 3, 1), strides=(2, 1, 2))
        if channels > 1:
            yield conv_transpose((1, channels, 3, 4), (channels, 1, 3, 3), groups=channels)


def windows() -> Iterator[Sample]:
    for size in SIZES:
        where = {"strides": (2, 2), "padding": (1, 1, 1, 1)}
        yield from pools((1, size, 7, 5), (3, 3), **where)
        yield from pools((8, 3, size, 3), (1, 2), strides=(1, 2))
        yield from pools((1, 2, 5, size), (5, size))  # the whole image
        yield from pools((1, size, 9), (3,), strides=(2,))
        yield from pools((1, 3, 2, size, 3), (2, 1, 2))
        yield lp_pool((1, size, 5, 4), (2, 3), 2)
        yield lrn(2, size, 5, size=5, alpha=1e-2, beta=0.75, bias=1.0)
        yield group_norm(2, 3 * size, 5, groups=3)
        yield rms_norm(3, size, 5, axis=1)


def resamplings() -> Iterator[Sample]:
    for size in SIZES:
        yield resize((1, size, 3, 5), (1, size, 6, 10), "nearest", "asymmetric", rounding="floor")
        yield resize((1, 3, 5, size), (1, 3, 9, 3), "nearest", "half_pixel")
        yield resize((8, 2, size, 4), (8, 2, 7, 9), "linear", "half_pixel")
        yield resize((1, 2, size, 3), (1, 2, 2 * size, 6), "linear", "align_corners")
        yield resize((1, 2, 7), (1, 2, size), "cubic", "align_corners")
        yield resize((1, 1, size, 5), (1, 1, 3, 2), "linear", "half_pixel", antialias=True)
        image = {"image": (1, size, 3, 4), "places": (5, 2)}
        yield grid_sample("linear", "zeros", align_corners=False, constant=True, **image)
        yield grid_sample("linear", "border", align_corners=True, places=(3, size))


SAMPLES = [*convolutions(), *transposed(), *windows(), *resamplings()]
CHOSEN = set(random.Random(4).sample(range(len(SAMPLES)), ALWAYS))
CASES = [
    pytest.param(sample, id=sample.id, marks=[] if i in CHOSEN else [pytest.mark.slow])
    for i, sample in enumerate(SAMPLES)
]


@pytest.mark.parametrize(("target", "mode"), [("inf2", "none"), ("inf2", "all"), ("inf1", "all")])
@pytest.mark.parametrize("sample", CASES)
def test_every_size_runs_on_the_machine(sample: Sample, target: str, mode: str) -> None:
    case = Case(sample, rounded=mode == "all")
    it = compiled(case.module(), target, mode)
    assert not it.refusals
    actual = ran(it.module, case.inputs(FIRST))
    assert_all_close(actual, case.expected(FIRST), result_elements(it.module), it.narrow)
