"""Changes of element type: engines round to nearest and saturate, `nn.cast` asks for more."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import i1, i32, i64
from xdsl.ir import BlockArgument
from xdsl.traits import IsTerminator

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.elementwise import full_tile
from ranvier.backend.neuron.lowering.elementwise_integer import INTEGERS
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.integer_math import IntegerMath
from ranvier.backend.neuron.lowering.pointwise import Operand, PointwiseLowering
from ranvier.backend.neuron.lowering.registry import HELD, register
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import element_of, is_float

WHOLE = 2.0**31
"""From here on every float is a whole number, and none but the smallest is an i32."""


def is_edge_cast(op: nn.CastOp) -> bool:
    """A cast of a program's input from i64 to i32, or of a result from i32 to i64.

    Whoever runs the program converts these, and checks that inputs fit.
    """
    source = element_of(op.operand)
    if (source, op.to) == (i64, i32):
        return isinstance(op.operand, BlockArgument)
    leaves = all(use.operation.has_trait(IsTerminator) for use in op.result.uses)
    return (source, op.to) == (i32, i64) and leaves


@register
class LowerCast(PointwiseLowering[nn.CastOp]):
    """A copy where rounding to nearest is meant; truncated or wrapped first where it is not."""

    ops = (nn.CastOp,)
    elements = (*HELD, i64)

    def why_unsupported(self, op: nn.CastOp, machine: Machine) -> Reason | None:
        source = element_of(op.operand)
        if i64 in (source, op.to) and not is_edge_cast(op):
            return Reason(
                Code.OP_ELEMENT_TYPE,
                f"i64 is held only at a program's edge, as i32; got {source} to {op.to} inside",
            )
        if op.saturate is not None:
            return Reason(
                Code.OP_ATTRIBUTE,
                f"stores round what is beyond the numbers of {op.to} to infinity, got saturate",
            )
        return None

    def apply(self, op: nn.CastOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        source, src = element_of(op.operand), full_tile(e, operands[0], out)
        math = IntegerMath(e, out)
        if op.to == i1:
            math.scalar(src, ("not_equal", 0), into=out)
        elif op.to in INTEGERS and is_float(source):
            truncate(math, src, out)
        elif op.to in INTEGERS and source in INTEGERS and source != op.to:
            math.wrapped(math.widened(src), out)
        else:
            math.copy(src, out)


def truncate(math: IntegerMath, src: OnChip, out: OnChip) -> None:
    """Without the fraction: toward zero, whatever the sign; then a store saturates."""
    bounded = math.scalar(src, ("max", -WHOLE), ("min", WHOLE))
    above = math.scalar(bounded, ("max", 0), ("mod", 1))
    below = math.scalar(bounded, ("min", 0), ("mod", -1))
    math.pair("subtract", math.pair("subtract", bounded, above), below, into=out)
