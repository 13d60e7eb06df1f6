"""Ops over rows with statistics, in f32."""

from __future__ import annotations

from xdsl.dialects.builtin import f32

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.reduction import row_space
from ranvier.backend.neuron.lowering.registry import Lowering, register
from ranvier.backend.neuron.lowering.views import load, regions, store
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import shape_of


@register
class LowerSoftmax(Lowering[nn.SoftmaxOp]):
    """Rows on the partitions: minus the maximum, exponentials with their sum, times its inverse."""

    ops = (nn.SoftmaxOp,)

    def why_unsupported(self, op: nn.SoftmaxOp, machine: Machine) -> Reason | None:
        length = shape_of(op.operand)[op.get("axis")]
        # A row and its result are on chip together, 4 bytes an element each.
        if (limit := machine.sbuf_bytes // 12) < length:
            return Reason(Code.OP_SIZE, f"rows up to {limit} elements lower, got {length}")
        return None

    def lower(self, op: nn.SoftmaxOp, context: Context) -> None:
        e = context.e
        axis, length = int(op.get("axis")), shape_of(op.operand)[op.get("axis")]
        space = row_space((context.view(op.operand), context.define(op.result)), (axis,))
        source, target = space.views
        free = range(len(space.kept), len(source.shape))
        for region in regions(e, source.shape, space.partition, free, length):
            row = load(e, region, source)
            peak = e.sbuf(row.partitions, 1, f32)
            maximum: dict[str, object] = {"op": "max", "axes": 1, "negate": True}
            e.emit(nc.ReduceOp, fields=maximum, dst=peak.ref(), src=row.ref())
            powers, total = e.sbuf(row.partitions, length, f32), e.sbuf(row.partitions, 1, f32)
            e.emit(
                nc.ActivationOp,
                fields={"func": "exp", "scale": 1.0},
                dst=powers.ref(),
                src=row.ref(),
                bias=peak.ref(),
                sum=total.ref(),
            )
            inverse = e.sbuf(row.partitions, 1, f32)
            e.emit(nc.ReciprocalOp, dst=inverse.ref(), src=total.ref())
            out = (
                powers if target.element == f32 else e.sbuf(row.partitions, length, target.element)
            )
            e.emit(
                nc.TensorScalarOp,
                fields={"op0": "mult"},
                dst=out.ref(),
                src=powers.ref(),
                operand0=inverse.ref(),
            )
            store(e, region, target, out)
