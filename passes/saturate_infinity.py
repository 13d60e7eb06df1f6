"""Bound what the target computes to finite numbers, so that infinities do not become NaN.

Before: `%1 = nn.exp %0` in a device segment.
After:  `%2 = nn.clamp %1 {low = -3.4e38, high = 3.4e38}` takes its place, with the bounds of its
        element type. NaN stays NaN.

What a segment takes from outside is bounded as well, and so are constants that hold infinities:
`fold-constants` computes those. Ops whose trait says that finite operands give finite results are
left alone. Runs after `segment`: host ops have the infinities of IEEE 754.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from ml_dtypes import finfo
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint, Rewriter

from ranvier.dialects import graph, nn
from ranvier.dialects.diagnostics import CallerError
from ranvier.dialects.interfaces import Array, KeepsFinite
from ranvier.dialects.nn.materialize import Weights
from ranvier.dialects.nn.types import dtype_of, element_of, is_float
from ranvier.passes.analysis.operators import segments_of


@dataclass(frozen=True)
class SaturateInfinityPass(ModulePass):
    """Bound what device segments compute to the finite numbers of its types."""

    name = "saturate-infinity"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        saturate_infinity(op)


def saturate_infinity(module: ModuleOp) -> None:
    """Insert a clamp behind every value of a device segment that may be infinite."""
    weights = Weights(module)
    for segment in segments_of(module):
        if segment.on_host:
            continue
        for op in list(segment.block.ops):
            if may_overflow(op, weights):
                for result in op.results:
                    clamp(result, InsertPoint.after(op))
        for argument in segment.block.args:
            clamp(argument, InsertPoint.at_start(segment.block))


def may_overflow(op: Operation, weights: Weights) -> bool:
    """Whether an op on finite operands may give infinities; of a constant, whether it holds any."""
    match op:
        case graph.YieldOp():
            return False
        case nn.ConstantOp():
            return holds_infinity(op.array())
        case nn.LoadWeightOp():
            with suppress(CallerError):  # without its bytes it may hold anything
                return holds_infinity(weights.array(op.symbol))
            return True
        case _:
            return not op.has_trait(KeepsFinite)


def holds_infinity(array: Array) -> bool:
    return array.dtype.kind not in "biu" and bool(np.isinf(array).any())


def clamp(value: SSAValue, point: InsertPoint) -> None:
    """Let everything that reads a float read it bounded."""
    if not is_float(element := element_of(value)) or not value.uses:
        return
    largest = float(finfo(dtype_of(element)).max)
    bounded = nn.ClampOp(value, low=-largest, high=largest)
    if isinstance(value.owner, Operation):
        bounded.location = value.owner.location
    bounded.result.name_hint = value.name_hint
    Rewriter.insert_op(bounded, point)
    value.replace_uses_with_if(bounded.result, lambda use: use.operation is not bounded)
