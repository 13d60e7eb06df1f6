"""The activations of recurrent cells on a tile, by name."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects.builtin import f32

from ranvier.backend.neuron.lowering.elementwise import hard_sigmoid
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.dialects import nc
from ranvier.dialects.nn.recurrent import Activation


def apply_activation(e: Emitter, activation: Activation, out: OnChip, src: OnChip) -> None:
    """`out = activation(src)`; the two may be one tile."""
    handler = _HANDLERS.get(activation.name)
    if handler is not None:
        handler(e, out, src, *activation.parameters)
        return
    fields: dict[str, object] = {"func": activation.name, "scale": 1.0}
    e.emit(nc.ActivationOp, fields=fields, dst=out.ref(), src=src.ref())


def two_steps(
    e: Emitter, out: OnChip, src: OnChip, *steps: tuple[str, float], **fields: object
) -> None:
    """`out = (src op0 a) op1 b` with numbers."""
    for index, (alu, number) in enumerate(steps):
        fields |= {f"op{index}": alu, f"scalar{index}": number}
    e.emit(nc.TensorScalarOp, fields=fields, dst=out.ref(), src=src.ref())


def _with_other(
    e: Emitter, out: OnChip, src: OnChip, first: tuple[str, float], second: str, other: OnChip
) -> None:
    """`out = (src op0 a) op1 other`"""
    fields: dict[str, object] = {"op0": first[0], "scalar0": first[1], "op1": second}
    e.emit(nc.ScalarTensorTensorOp, fields=fields, dst=out.ref(), src=src.ref(), other=other.ref())


def _beside(e: Emitter, like: OnChip) -> OnChip:
    return e.sbuf(like.partitions, like.width, f32)


def _leaky_relu(e: Emitter, out: OnChip, src: OnChip, alpha: float) -> None:
    """`max(x, 0) + alpha * min(x, 0)`"""
    low = _beside(e, src)
    two_steps(e, low, src, ("min", 0.0), ("mult", alpha))
    _with_other(e, out, src, ("max", 0.0), "add", low)


def _elu(e: Emitter, out: OnChip, src: OnChip, alpha: float) -> None:
    """`max(x, 0) + alpha * (exp(min(x, 0)) - 1)`"""
    low = _beside(e, src)
    two_steps(e, low, src, ("min", 0.0))
    apply_activation(e, Activation("exp"), low, low)
    two_steps(e, low, low, ("subtract", 1.0), ("mult", alpha))
    _with_other(e, out, src, ("max", 0.0), "add", low)


def _thresholded_relu(e: Emitter, out: OnChip, src: OnChip, alpha: float) -> None:
    """`(x > alpha) * x`"""
    _with_other(e, out, src, ("is_gt", alpha), "mult", src)


def _softsign(e: Emitter, out: OnChip, src: OnChip) -> None:
    """`x * (1 / (1 + abs(x)))`"""
    size = _beside(e, src)
    apply_activation(e, Activation("abs"), size, src)
    two_steps(e, size, size, ("add", 1.0))
    inverse = _beside(e, src)
    e.emit(nc.ReciprocalOp, dst=inverse.ref(), src=size.ref())
    e.emit(
        nc.TensorTensorOp, fields={"op": "mult"}, dst=out.ref(), lhs=src.ref(), rhs=inverse.ref()
    )


def _affine(e: Emitter, out: OnChip, src: OnChip, alpha: float, beta: float) -> None:
    two_steps(e, out, src, ("mult", alpha), ("add", beta))


def _scaled_tanh(e: Emitter, out: OnChip, src: OnChip, alpha: float, beta: float) -> None:
    fields: dict[str, object] = {"func": "tanh", "scale": beta}
    e.emit(nc.ActivationOp, fields=fields, dst=out.ref(), src=src.ref())
    two_steps(e, out, out, ("mult", alpha))


_HANDLERS: dict[str, Callable[..., None]] = {
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "thresholded_relu": _thresholded_relu,
    "softsign": _softsign,
    "affine": _affine,
    "scaled_tanh": _scaled_tanh,
    "hard_sigmoid": hard_sigmoid,
}
"""Those that are not one function of the activation table."""
