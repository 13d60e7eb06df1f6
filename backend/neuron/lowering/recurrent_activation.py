"""The activations of recurrent cells on a tile, by name."""

from __future__ import annotations

from collections.abc import Callable

from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.tile_math import TileMath
from ranvier.dialects.nn.recurrent import Activation


def apply_activation(e: Emitter, activation: Activation, out: OnChip, src: OnChip) -> None:
    """`out = activation(src)`; the two may be one tile."""
    t = TileMath(e, src)
    if (handler := _HANDLERS.get(activation.name)) is not None:
        handler(t, out, src, *activation.parameters)
    else:
        t.function(activation.name, src, into=out)


def _leaky_relu(t: TileMath, out: OnChip, x: OnChip, alpha: float) -> None:
    """`max(x, 0) + alpha * min(x, 0)`"""
    low = t.scalar(x, ("min", 0), ("mult", alpha))
    t.fused(x, ("max", 0), "add", low, into=out)


def _elu(t: TileMath, out: OnChip, x: OnChip, alpha: float) -> None:
    """`max(x, 0) + alpha * (exp(min(x, 0)) - 1)`"""
    power = t.function("exp", t.scalar(x, ("min", 0)))
    t.fused(x, ("max", 0), "add", t.scalar(power, ("subtract", 1), ("mult", alpha)), into=out)


def _thresholded_relu(t: TileMath, out: OnChip, x: OnChip, alpha: float) -> None:
    """`(x > alpha) * x`"""
    t.fused(x, ("is_gt", alpha), "mult", x, into=out)


def _softsign(t: TileMath, out: OnChip, x: OnChip) -> None:
    """`x * (1 / (1 + abs(x)))`"""
    t.pair("mult", x, t.reciprocal(t.scalar(t.function("abs", x), ("add", 1))), into=out)


def _affine(t: TileMath, out: OnChip, x: OnChip, alpha: float, beta: float) -> None:
    t.scalar(x, ("mult", alpha), ("add", beta), into=out)


def _scaled_tanh(t: TileMath, out: OnChip, x: OnChip, alpha: float, beta: float) -> None:
    t.scalar(t.function("tanh", x, scale=beta), ("mult", alpha), into=out)


def _hard_sigmoid(t: TileMath, out: OnChip, x: OnChip, alpha: float, beta: float) -> None:
    line = t.scalar(x, ("mult", alpha), ("add", beta))
    t.scalar(line, ("max", 0), ("min", 1), into=out)


_HANDLERS: dict[str, Callable[..., None]] = {
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "thresholded_relu": _thresholded_relu,
    "softsign": _softsign,
    "affine": _affine,
    "scaled_tanh": _scaled_tanh,
    "hard_sigmoid": _hard_sigmoid,
}
"""Those that are not one function of the activation table."""
