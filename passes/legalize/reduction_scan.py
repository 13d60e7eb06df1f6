"""Scans of integers, which engines do not add in one step."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import element_of, is_float, shape_of
from ranvier.passes.legalize.decomposition import AnyDecomposition, Decomposition, Emitter


class ScanByDoubling(Decomposition[nn.CumSumOp | nn.CumProdOp]):
    """`cum_sum(x) -> y` with `y = x`, then `y = y + shift(y, s)` for `s = 1, 2, 4, …`"""

    def decompose(self, op: nn.CumSumOp | nn.CumProdOp, emit: Emitter) -> SSAValue | None:
        y, axis = op.operand, int(op.get("axis"))
        if is_float(element_of(y)):
            return None
        combine = nn.AddOp if isinstance(op, nn.CumSumOp) else nn.MulOp
        fill, size = float(op.neutral()), shape_of(y)[axis]
        if op.get("reverse"):
            y = emit(reversed_along(y, axis))
        if op.get("exclusive"):
            y = emit(shifted(y, axis, 1, fill))
        step = 1
        while step < size:
            y = emit(combine(y, emit(shifted(y, axis, step, fill))))
            step *= 2
        return emit(reversed_along(y, axis)) if op.get("reverse") else y


def reversed_along(x: SSAValue, axis: int) -> nn.SliceOp:
    shape = shape_of(x)
    starts = [size - 1 if d == axis else 0 for d, size in enumerate(shape)]
    steps = [-1 if d == axis else 1 for d in range(len(shape))]
    return nn.SliceOp(x, starts=starts, sizes=shape, steps=steps)


def shifted(x: SSAValue, axis: int, count: int, fill: float) -> nn.PadOp:
    """The elements `count` places on, `fill` before them."""
    low = [count if d == axis else 0 for d in range(len(shape_of(x)))]
    return nn.PadOp(x, low=low, high=[-amount for amount in low], mode="constant", value=fill)


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (ScanByDoubling(),)
