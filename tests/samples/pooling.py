"""Windows: odd paddings, strides under and over the kernel, dilations, whole images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32
from xdsl.ir import Attribute

from ranvier.dialects import nn
from samples import Array, Operand, Sample
from samples.oracles import by_onnx, framed

Shape = tuple[int, ...]


def window(
    kernel: Shape, strides: Sequence[int], padding: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    return {
        "kernel": kernel,
        "strides": tuple(strides) or (1,) * len(kernel),
        "padding": tuple(padding) or (0,) * 2 * len(kernel),
        "dilations": tuple(dilations) or (1,) * len(kernel),
    }


def pooled(x: Array, *, count_padding: bool | None = None, **properties: Shape) -> Array:
    attributes = {
        "kernel_shape": properties["kernel"],
        "strides": properties["strides"],
        "pads": properties["padding"],
        "dilations": properties["dilations"],
    }
    if count_padding is None:
        return by_onnx("MaxPool", x, **attributes)
    return by_onnx("AveragePool", x, count_include_pad=int(count_padding), **attributes)


def pools(
    x: Shape,
    kernel: Shape,
    *,
    strides: Sequence[int] = (),
    padding: Sequence[int] = (),
    dilations: Sequence[int] = (),
    element: Attribute = f32,
    host: tuple[str, ...] = (),
    slow: bool = False,
) -> list[Sample]:
    """The maximum, and both means where there is padding to count."""
    properties = window(kernel, strides, padding, dilations)
    operand = (Operand(x, element),)
    found = [Sample(nn.MaxPoolOp, operand, pooled, properties, host=host, slow=slow)]
    for count in (False, True) if padding else (len(x) % 2 == 0,):
        counted = {**properties, "count_padding": count}
        found.append(Sample(nn.AvgPoolOp, operand, pooled, counted, host=host, slow=slow))
    return found


def lp_pool(x: Shape, kernel: Shape, p: int, **where: Sequence[int]) -> Sample:
    properties = {"p": p, **window(kernel, *(where.get(key, ()) for key in WINDOW))}
    return Sample(nn.LpPoolOp, (Operand(x),), norm_of_windows, properties)


def norm_of_windows(
    x: Array, *, p: int, kernel: Shape, strides: Shape, padding: Shape, dilations: Shape
) -> Array:
    """The mean of powers, times their number."""
    rank = len(kernel)
    powers = framed(np.abs(x) ** p, padding[:rank], padding[rank:])
    none = (0,) * len(padding)
    mean = pooled(
        powers,
        count_padding=True,
        kernel=kernel,
        strides=strides,
        padding=none,
        dilations=dilations,
    )
    return (mean * np.prod(kernel)) ** (1 / p)


WINDOW = ("strides", "padding", "dilations")

SAMPLES = [
    *pools((2, 3, 9, 11), (3, 3), strides=(2, 2), padding=(1, 1, 1, 1)),
    *pools((1, 129, 6, 5), (2, 2), strides=(2, 2)),
    *pools((1, 3, 8, 7), (3, 2), strides=(1, 3), padding=(2, 0, 1, 1)),
    *pools((1, 2, 13, 9), (3, 3), dilations=(2, 3), padding=(1, 2, 3, 2)),
    *pools((8, 5, 7, 7), (7, 7)),
    *pools((1, 4, 6, 6), (1, 1), strides=(2, 3)),
    *pools((2, 3, 33), (3,), strides=(2,), padding=(1, 1)),
    *pools((1, 5, 16), (4,), dilations=(2,)),
    *pools((1, 3, 6, 6), (3, 3), padding=(1, 1, 1, 1), element=bf16),
    *pools((1, 3, 6, 6), (2, 2), element=f16),
    # Over one strip of the image on chip.
    *pools((1, 2, 131, 129), (3, 3), strides=(2, 2), padding=(1, 1, 1, 1), slow=True),
    # One row of windows has more elements than one instruction touches.
    *pools((1, 2, 7000), (16,)),
    # A window over more of the image than one strip holds.
    *pools((1, 2, 200, 190), (3, 4), dilations=(60, 50), slow=True),
    *pools((2, 3, 6, 5, 7), (6, 5, 7)),
    *pools((1, 65, 3, 6, 5), (1, 3, 3), padding=(0, 1, 1, 0, 1, 1), strides=(1, 2, 2)),
    # The only window lies in the margin: the mean that counts it is 0.
    replace(pools((1, 3, 1, 4), (1, 2), strides=(5, 1), padding=(2, 0, 0, 0))[2], fixed=True),
    *pools((1, 2, 5, 4, 6), (2, 2, 3), strides=(1, 2, 1), padding=(1, 0, 1, 0, 1, 1)),
    lp_pool((2, 3, 7, 6), (3, 2), 2, strides=(2, 1), padding=(1, 0, 0, 1)),
    lp_pool((1, 2, 9, 9), (2, 2), 1, dilations=(2, 3)),
    lp_pool((1, 2, 17), (3,), 3),
    lp_pool((1, 2, 4, 3, 5), (2, 2, 3), 2, padding=(1, 0, 1, 0, 0, 0)),
]
