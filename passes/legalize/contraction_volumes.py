"""Convolutions over three dimensions by convolutions of planes, whose channels hold their depth.

Each result plane reads a few planes of the operand. Those are brought together as channels, so that
one product sums over them too: nothing is rounded between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.contraction_phases import Phase, phases
from ranvier.dialects.nn.types import element_of, shape_of, tensor
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
    slice_along,
)

Shape = tuple[int, ...]
NEXT = (0, 2, 1, 3, 4)
"""Exchanges channels and depth."""


class ConvOfPlanes(Decomposition[nn.ConvOp]):
    """`conv(x of NxCxDxHxW, w of OxCxTxRxS) -> conv(planes of (N*D')x(C*T)xHxW, w as Ox(C*T)xRxS)`

    Plane `z` holds the `T` planes of `x` that element `z` of the result's depth reads.
    """

    def decompose(self, op: nn.ConvOp, emit: Emitter) -> SSAValue | None:
        w, out = shape_of(op.weight), shape_of(op.result)
        if len(w) != 5:
            return None
        padding, dilations = ints(op.padding), ints(op.dilations)
        reads = Reads(padding[0], w[2], dilations[0], out[2], ints(op.strides)[0])
        weight = emit(nn.ReshapeOp(op.weight, shape=(w[0], w[1] * w[2], *w[3:])))
        conv = nn.ConvOp(
            _planes(op.operand, reads, emit),
            weight,
            *op.operands[2:],
            strides=ints(op.strides)[1:],
            padding=(*padding[1:3], *padding[4:]),
            dilations=dilations[1:],
            groups=op.groups,
            result_types=[tensor((out[0] * out[2], out[1], *out[3:]), element_of(op.result))],
        )
        apart = emit(nn.ReshapeOp(emit(conv), shape=(out[0], out[2], out[1], *out[3:])))
        return emit(nn.TransposeOp(apart, permutation=NEXT))


class ConvTransposeOfPlanes(Decomposition[nn.ConvTransposeOp]):
    """`conv_transpose(x of NxCxDxHxW, w) -> interleave(conv_transpose(planes, w') for each phase)`

    A phase is every `stride`-th plane of the result, with the taps along the depth that it sees.
    """

    def decompose(self, op: nn.ConvTransposeOp, emit: Emitter) -> SSAValue | None:
        x, w, out = shape_of(op.operand), shape_of(op.weight), shape_of(op.result)
        if len(w) != 5:
            return None
        stride, dilation, cut = ints(op.strides)[0], ints(op.dilations)[0], ints(op.padding)[0]
        parts = [
            _padded_to(self._phase(op, phase, emit), -(-out[2] // stride), emit)
            for phase in phases(x[2], w[2], stride, dilation, cut, out[2])
        ]
        if stride == 1:
            return emit(nn.TransposeOp(parts[0], permutation=NEXT))
        spread = [
            emit(nn.ReshapeOp(part, shape=(*shape_of(part)[:2], 1, *shape_of(part)[2:])))
            for part in parts
        ]
        mixed = emit(nn.ConcatOp(*spread, axis=2))
        n, count, several, *rest = shape_of(mixed)
        whole = emit(nn.ReshapeOp(mixed, shape=(n, count * several, *rest)))
        kept = emit(slice_along(whole, 1, 0, out[2]))
        return emit(nn.TransposeOp(kept, permutation=NEXT))

    def _phase(self, op: nn.ConvTransposeOp, phase: Phase, emit: Emitter) -> SSAValue:
        """The planes of a phase, `NxD'xOxHxW`."""
        w, out, element = shape_of(op.weight), shape_of(op.result), element_of(op.result)
        shape = (out[0], phase.count, out[1], *out[3:])
        if not phase.taps:
            return _spread_bias(op.bias, shape, op.result, emit)
        reads = Reads(phase.low, phase.taps, phase.dilation, phase.count, 1)
        taps = slice_along(op.weight, 2, phase.last, phase.taps, -phase.step)
        turned = emit(nn.TransposeOp(emit(taps), permutation=NEXT))
        weight = emit(nn.ReshapeOp(turned, shape=(w[0] * phase.taps, w[1], *w[3:])))
        cut = ints(op.padding)
        part = nn.ConvTransposeOp(
            _planes(op.operand, reads, emit),
            weight,
            *op.operands[2:],
            strides=ints(op.strides)[1:],
            padding=(*cut[1:3], *cut[4:]),
            dilations=ints(op.dilations)[1:],
            groups=op.groups,
            result_types=[tensor((prod(shape[:2]), *shape[2:]), element)],
        )
        return emit(nn.ReshapeOp(emit(part), shape=shape))


@dataclass(frozen=True)
class Reads:
    """Element `z` of `count` reads the planes `z*step + t*dilation - low`, `t` below `taps`."""

    low: int
    taps: int
    dilation: int
    count: int
    step: int

    @property
    def reach(self) -> int:
        return (self.count - 1) * self.step + (self.taps - 1) * self.dilation + 1


def _planes(x: SSAValue, reads: Reads, emit: Emitter) -> SSAValue:
    """`NxCxDxHxW -> (N*count)x(C*taps)xHxW`: the planes that each result plane reads."""
    n, channels, depth, *plane = shape_of(x)
    margins = (reads.low, reads.reach - reads.low - depth)
    if any(margins):
        low, high = ((0, 0, margin, 0, 0) for margin in margins)
        x = emit(nn.PadOp(x, low=low, high=high, mode="constant", value=0.0))
    parts: list[SSAValue] = []
    for tap in range(reads.taps):
        part = emit(slice_along(x, 2, tap * reads.dilation, reads.count, reads.step))
        turned = emit(nn.TransposeOp(part, permutation=NEXT))
        parts.append(emit(nn.ReshapeOp(turned, shape=(n, reads.count, channels, 1, *plane))))
    together = emit(nn.ConcatOp(*parts, axis=3)) if len(parts) > 1 else parts[0]
    shape = (n * reads.count, channels * reads.taps, *plane)
    return emit(nn.ReshapeOp(together, shape=shape))


def _padded_to(x: SSAValue, count: int, emit: Emitter) -> SSAValue:
    """Planes `NxD'x…` with more of them at the end, which nobody reads."""
    missing = count - shape_of(x)[1]
    if not missing:
        return x
    margins: dict[str, Any] = {"low": (0,) * 5, "high": (0, missing, 0, 0, 0)}
    return emit(nn.PadOp(x, mode="constant", value=0.0, **margins))


def _spread_bias(
    bias: SSAValue | None, shape: Sequence[int], like: SSAValue, emit: Emitter
) -> SSAValue:
    """The bias of each channel, or zero, in every element of `NxDxOxHxW`."""
    if bias is None:
        return emit(nn.BroadcastOp(emit.scalar(0.0, like), shape=shape))
    if element_of(bias) != element_of(like):
        bias = emit(nn.CastOp(bias, element_of(like)))
    column = emit(nn.ReshapeOp(bias, shape=(1, 1, *shape_of(bias), 1, 1)))
    return emit(nn.BroadcastOp(column, shape=shape))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (ConvOfPlanes(), ConvTransposeOfPlanes())
