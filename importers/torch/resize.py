"""Resampling of PyTorch: upsampling and grid_sample."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.importers.torch.call import Call, torch_op

MODES = {
    "linear": "linear",
    "bilinear": "linear",
    "trilinear": "linear",
    "bicubic": "cubic",
}
NAMES = [f"upsample_{kind}" for kind in ("linear1d", "bilinear2d", "trilinear3d", "bicubic2d")]
NEAREST = [f"upsample_nearest{rank}d" for rank in (1, 2, 3)]
EXACT = [f"_upsample_nearest_exact{rank}d" for rank in (1, 2, 3)]


def resized(call: Call, mode: str, coordinates: str, rounding: str | None) -> SSAValue:
    """The scales that are stated count where there are such, else the ratio of the sizes."""
    shape, result = call.shape(first(call)), call.result_shape
    scales = [m / n if n else 1.0 for n, m in zip(shape[2:], result[2:], strict=True)]
    if coordinates != "align_corners":
        scales = [own or scale for own, scale in zip(stated(call, scales), scales, strict=True)]
    return call.build(
        nn.ResizeOp(
            call.tensor(first(call)),
            shape=result,
            scales=[1.0, 1.0, *map(float, scales)],
            mode=mode,
            coordinates=coordinates,
            rounding=rounding,
            antialias=call.op.endswith("_aa"),
        )
    )


def first(call: Call) -> str:
    return next(iter(call.arguments))


def stated(call: Call, ratios: list[float]) -> list[float | None]:
    if "scale_factors" in call.arguments:
        factors = call["scale_factors"]
        return [None] * len(ratios) if factors is None else list(factors)
    names = ("scales",) if len(ratios) == 1 else ("scales_d", "scales_h", "scales_w")
    return [call.get(name) for name in names[-len(ratios) :]]


@torch_op(*NEAREST)
def import_nearest(call: Call) -> SSAValue:
    return resized(call, "nearest", "asymmetric", "floor")


@torch_op(*EXACT)
def import_nearest_exact(call: Call) -> SSAValue:
    return resized(call, "nearest", "half_pixel", "round_prefer_ceil")


@torch_op(*NAMES)
def import_upsample(call: Call) -> SSAValue:
    kind = call.op.removeprefix("upsample_").rstrip("123d")
    coordinates = "align_corners" if call["align_corners"] else "half_pixel"
    return resized(call, MODES[kind], coordinates, None)


@torch_op("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def import_grid_sampler(call: Call) -> SSAValue:
    modes, paddings = ("linear", "nearest", "cubic"), ("zeros", "border", "reflection")
    if call["interpolation_mode"] == 2 and call["padding_mode"] == 1:
        # nn clamps the place, as ONNX does; PyTorch clamps each of the taps around it.
        call.refuse("a cubic interpolation repeats the border")
    return call.build(
        nn.GridSampleOp(
            call.tensor("input"),
            call.tensor("grid"),
            mode=modes[call["interpolation_mode"]],
            padding=paddings[call["padding_mode"]],
            align_corners=bool(call["align_corners"]),
        )
    )
