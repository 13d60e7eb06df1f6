"""Resampling: every mode and rounding, up and down, on and off the corners."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranvier.dialects import nn
from samples import Array, Operand, Sample, const
from samples.oracles import by_onnx

Shape = tuple[int, ...]


def resized(
    x: Array,
    *,
    shape: Shape,
    scales: tuple[float, ...],
    mode: str,
    coordinates: str,
    rounding: str = "round_prefer_floor",
    cubic_a: float = -0.75,
    antialias: bool = False,
    exclude_outside: bool = False,
    roi: tuple[float, ...] | None = None,
    outside: float = 0.0,
) -> Array:
    region = np.array(roi or (), np.float64)
    return by_onnx(
        "Resize",
        x,
        region,
        None,
        np.array(shape, np.int64),
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
        cubic_coeff_a=cubic_a,
        antialias=int(antialias),
        exclude_outside=int(exclude_outside),
        extrapolation_value=outside,
    )


def resize(x: Shape, shape: Shape, mode: str, coordinates: str, **kw: Any) -> Sample:
    scales = tuple(new / old for new, old in zip(shape, x, strict=True))
    properties = {"shape": shape, "scales": scales, "mode": mode, "coordinates": coordinates}
    return Sample(nn.ResizeOp, (Operand(x),), resized, {**properties, **kw})


def sampled(x: Array, grid: Array, *, mode: str, padding: str, align_corners: bool) -> Array:
    return by_onnx(
        "GridSample",
        x,
        grid,
        mode=mode,
        padding_mode=padding,
        align_corners=int(align_corners),
    )


def grid_sample(
    mode: str,
    padding: str,
    *,
    align_corners: bool,
    image: Shape = (2, 3, 5, 4),
    places: Shape = (3, 2),
    constant: bool = False,
) -> Sample:
    grid = Operand((image[0], *places, len(places)), low=-1.3, high=1.3)
    properties = {"mode": mode, "padding": padding, "align_corners": align_corners}
    operands = (Operand(image), const(grid) if constant else grid)
    return Sample(nn.GridSampleOp, operands, sampled, properties)


SAMPLES = [
    resize((1, 2, 4, 5), (1, 2, 8, 10), "nearest", "asymmetric", rounding="floor"),
    resize((1, 2, 5, 4), (1, 2, 7, 3), "nearest", "half_pixel", rounding="round_prefer_ceil"),
    resize((1, 2, 4, 5), (1, 2, 8, 15), "linear", "half_pixel"),
    resize((1, 2, 4, 5), (1, 2, 7, 9), "linear", "align_corners"),
    resize((1, 1, 9, 8), (1, 1, 5, 4), "linear", "half_pixel", antialias=True),
    resize((1, 1, 5, 6), (1, 1, 9, 7), "cubic", "pytorch_half_pixel", cubic_a=-0.5),
    resize((1, 1, 6, 5), (1, 1, 4, 7), "cubic", "half_pixel", exclude_outside=True),
    resize(
        (1, 1, 6, 5),
        (1, 1, 4, 7),
        "linear",
        "tf_crop_and_resize",
        roi=(0.0, 0.0, 0.2, 0.1, 1.0, 1.0, 1.2, 0.8),
        outside=0.5,
    ),
    resize((1, 2, 7), (1, 2, 10), "nearest", "half_pixel"),
    resize((1, 3, 7, 300), (1, 3, 5, 401), "nearest", "align_corners", rounding="ceil"),
    resize((1, 3, 129, 127), (1, 3, 65, 300), "linear", "half_pixel"),
    resize((2, 65, 8, 9), (2, 65, 16, 18), "linear", "pytorch_half_pixel"),
    resize((1, 2, 9, 7), (1, 2, 1, 14), "linear", "half_pixel_symmetric"),
    resize((1, 2, 3, 4, 5), (1, 2, 6, 3, 8), "linear", "half_pixel"),
    resize((1, 2, 3, 4, 5), (1, 2, 6, 4, 5), "cubic", "align_corners"),
    resize((2, 3), (5, 4), "linear", "asymmetric"),
    resize((1, 1, 16, 17), (1, 1, 7, 5), "cubic", "half_pixel", antialias=True),
    resize(
        (1, 2, 6, 5),
        (1, 2, 4, 7),
        "nearest",
        "tf_crop_and_resize",
        roi=(0.0, 0.0, 0.4, 0.6, 1.0, 1.0, 0.6, 1.4),
        outside=-1.5,
    ),
    grid_sample("linear", "zeros", align_corners=False),
    grid_sample("nearest", "border", align_corners=True),
    grid_sample("cubic", "reflection", align_corners=False),
    grid_sample("linear", "zeros", align_corners=True, constant=True),
    grid_sample("nearest", "reflection", align_corners=False, constant=True),
    grid_sample("cubic", "zeros", align_corners=False, constant=True),
    grid_sample(
        "linear",
        "border",
        align_corners=False,
        image=(1, 2, 3, 4, 5),
        places=(2, 3, 2),
        constant=True,
    ),
    grid_sample(
        "linear", "zeros", align_corners=False, image=(1, 65, 9, 15), places=(13, 17), constant=True
    ),
]
