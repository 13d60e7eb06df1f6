"""Elementwise ops on tiles: rows of a table where one instruction does, handlers for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xdsl.dialects.builtin import f32, i1, i32, i64
from xdsl.ir import Attribute, BlockArgument, Operation
from xdsl.traits import IsTerminator

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.pointwise import (
    Chain,
    Immediate,
    Operand,
    PerPartition,
    PointwiseLowering,
    Step,
    chain_from,
    run_chain,
    run_step,
    sources_of,
)
from ranvier.backend.neuron.lowering.registry import FLOATS, HELD, register
from ranvier.backend.neuron.lowering.views import View, pointwise_space, regions
from ranvier.dialects import nc, nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nc.types import ui8
from ranvier.dialects.nn.types import element_of, is_float

MAX_WIDTH = 2048
"""Elements per partition of a tile: 8 KiB in f32, so that a chain of several tiles fits."""


def lower_pointwise(op: Operation, context: Context) -> None:
    """Start a chain at an op whose operands are all in device memory."""
    context.done.add(op)
    sources = sources_of(op, context, lambda view: view)
    assert sources is not None
    chain = chain_from(op.results[0], context, lambda view: view)
    chain = Chain((Step(op, sources), *chain.steps), chain.destination)
    views = chain.views
    shape, strides, partition = pointwise_space(views[-1].shape, [v.strides for v in views])
    seen = {
        id(view): View(view.buffer, shape, own, view.offset)
        for view, own in zip(views, strides, strict=True)
    }
    chain = chain.with_views(seen)
    first, rest = chain.steps[0], Chain(chain.steps[1:], chain.destination)
    free = range(partition + 1, len(shape))
    for region in regions(context.e, shape, partition, list(free), MAX_WIDTH):
        tile = run_step(context.e, region, None, first)
        run_chain(context.e, region, tile, rest)


def full_tile(e: Emitter, operand: Operand, like: OnChip, element: Attribute = f32) -> OnChip:
    """An operand spread over a whole tile; a number in `element`, others in their own type."""
    if isinstance(operand, OnChip):
        return operand
    if isinstance(operand, Immediate):
        out = e.sbuf(like.partitions, like.width, element)
        e.emit(nc.MemsetOp, fields={"value": operand.value}, dst=out.ref())
        return out
    column = operand.tile
    if like.width == 1:
        return column
    out = e.sbuf(like.partitions, like.width, column.element)
    e.emit(nc.CopyOp, dst=out.ref(), src=column.ref(0, ((0, like.width),)))
    return out


def scalar_step(
    e: Emitter, out: OnChip, src: OnChip, op: str, operand: Operand, *, reverse: bool = False
) -> None:
    """`out = src op operand` with a number or one element per partition, or reversed."""
    fields: dict[str, object] = {"op0": op, "reverse0": True if reverse else None}
    fields["engine"] = "pool" if op == "pow" else None
    if isinstance(operand, Immediate):
        fields["scalar0"] = operand.value
        e.emit(nc.TensorScalarOp, fields=fields, dst=out.ref(), src=src.ref())
    elif isinstance(operand, PerPartition):
        e.emit(
            nc.TensorScalarOp,
            fields=fields,
            dst=out.ref(),
            src=src.ref(),
            operand0=operand.tile.ref(),
        )


def arithmetic(e: Emitter, out: OnChip, op: str, lhs: Operand, rhs: Operand) -> None:
    """`out = lhs op rhs`, where broadcast operands use the tensor-scalar form."""
    if isinstance(lhs, OnChip) and isinstance(rhs, OnChip):
        fields: dict[str, object] = {"op": op, "engine": "pool" if op == "pow" else None}
        e.emit(nc.TensorTensorOp, fields=fields, dst=out.ref(), lhs=lhs.ref(), rhs=rhs.ref())
    elif isinstance(lhs, OnChip):
        scalar_step(e, out, lhs, op, rhs)
    elif isinstance(rhs, OnChip):
        scalar_step(e, out, rhs, op, lhs, reverse=True)
    else:
        scalar_step(e, out, full_tile(e, lhs, out), op, rhs)


def activate(e: Emitter, out: OnChip, src: Operand, func: str) -> None:
    """`out = func(src)` on the scalar engine."""
    tile = full_tile(e, src, out)
    e.emit(nc.ActivationOp, fields={"func": func, "scale": 1.0}, dst=out.ref(), src=tile.ref())


@register
class LowerUnary(PointwiseLowering[Operation]):
    """One function of the activation table."""

    FUNCS: ClassVar[dict[type[Operation], str]] = {
        nn.ReluOp: "relu",
        nn.AbsOp: "abs",
        nn.SigmoidOp: "sigmoid",
        nn.TanhOp: "tanh",
        nn.ExpOp: "exp",
        nn.LogOp: "log",
        nn.SqrtOp: "sqrt",
        nn.RsqrtOp: "rsqrt",
        nn.ErfOp: "erf",
        nn.SiluOp: "silu",
        nn.SoftplusOp: "softplus",
        nn.SinOp: "sin",
    }
    ops = tuple(FUNCS)

    def apply(self, op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        activate(e, out, operands[0], self.FUNCS[type(op)])


@register
class LowerGelu(PointwiseLowering[nn.GeluOp]):
    """Both forms are in the activation table."""

    ops = (nn.GeluOp,)

    def apply(self, op: nn.GeluOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        activate(e, out, operands[0], "gelu_tanh" if op.approximate.data == "tanh" else "gelu")


@register
class LowerNeg(PointwiseLowering[nn.NegOp]):
    """`x * -1`"""

    ops = (nn.NegOp,)

    def apply(self, op: nn.NegOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        scalar_step(e, out, full_tile(e, operands[0], out), "mult", Immediate(-1.0))


@register
class LowerReciprocal(PointwiseLowering[nn.ReciprocalOp]):
    """The precise reciprocal of the vector engine."""

    ops = (nn.ReciprocalOp,)

    def apply(
        self, op: nn.ReciprocalOp, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        e.emit(nc.ReciprocalOp, dst=out.ref(), src=full_tile(e, operands[0], out).ref())


@register
class LowerClamp(PointwiseLowering[nn.ClampOp]):
    """Two steps of one tensor-scalar instruction."""

    ops = (nn.ClampOp,)

    def apply(self, op: nn.ClampOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        bounds = [("max", op.get("low")), ("min", op.get("high"))]
        steps = [(alu, float(bound)) for alu, bound in bounds if bound is not None]
        src = full_tile(e, operands[0], out)
        if not steps:
            e.emit(nc.CopyOp, dst=out.ref(), src=src.ref())
            return
        fields: dict[str, object] = {}
        for index, (alu, bound) in enumerate(steps):
            fields |= {f"op{index}": alu, f"scalar{index}": bound}
        e.emit(nc.TensorScalarOp, fields=fields, dst=out.ref(), src=src.ref())


@register
class LowerHardSigmoid(PointwiseLowering[nn.HardSigmoidOp]):
    """`clip(alpha * x + beta, 0, 1)` in two instructions, f32 between them."""

    ops = (nn.HardSigmoidOp,)

    def apply(
        self, op: nn.HardSigmoidOp, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        hard_sigmoid(e, out, full_tile(e, operands[0], out), op.get("alpha"), op.get("beta"))


def hard_sigmoid(e: Emitter, out: OnChip, src: OnChip, alpha: float, beta: float) -> None:
    line = e.sbuf(out.partitions, out.width, f32)
    affine = {"op0": "mult", "scalar0": alpha, "op1": "add", "scalar1": beta}
    e.emit(nc.TensorScalarOp, fields=dict(affine), dst=line.ref(), src=src.ref())
    clip = {"op0": "max", "scalar0": 0.0, "op1": "min", "scalar1": 1.0}
    e.emit(nc.TensorScalarOp, fields=dict(clip), dst=out.ref(), src=line.ref())


@register
class LowerHardSwish(PointwiseLowering[nn.HardSwishOp]):
    """`x * clip(x / 6 + 1/2, 0, 1)`"""

    ops = (nn.HardSwishOp,)

    def apply(
        self, op: nn.HardSwishOp, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        src = full_tile(e, operands[0], out)
        gate = e.sbuf(out.partitions, out.width, f32)
        hard_sigmoid(e, gate, src, 1 / 6, 0.5)
        arithmetic(e, out, "mult", src, gate)


@register
class LowerLeakyRelu(PointwiseLowering[nn.LeakyReluOp]):
    """`max(x, alpha * x)` for slopes up to 1."""

    ops = (nn.LeakyReluOp,)

    def why_unsupported(self, op: nn.LeakyReluOp, machine: Machine) -> Reason | None:
        if not 0 <= op.get("alpha") <= 1:
            return Reason(Code.OP_ATTRIBUTE, f"slopes from 0 to 1 lower, got {op.get('alpha')}")
        return None

    def apply(
        self, op: nn.LeakyReluOp, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        src = full_tile(e, operands[0], out)
        slope = e.sbuf(out.partitions, out.width, f32)
        scalar_step(e, slope, src, "mult", Immediate(op.get("alpha")))
        arithmetic(e, out, "max", src, slope)


@register
class LowerNot(PointwiseLowering[nn.NotOp]):
    """`1 - x` on bytes of 0 and 1."""

    ops = (nn.NotOp,)
    elements = (i1,)

    def apply(self, op: nn.NotOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        src = full_tile(e, operands[0], out, out.element)
        scalar_step(e, out, src, "subtract", Immediate(1.0), reverse=True)


@register
class LowerBinary(PointwiseLowering[Operation]):
    """One operation of the arithmetic units, in f32."""

    ALU: ClassVar[dict[type[Operation], str]] = {
        nn.AddOp: "add",
        nn.SubOp: "subtract",
        nn.MulOp: "mult",
        nn.MaxOp: "max",
        nn.MinOp: "min",
        nn.EqualOp: "is_equal",
        nn.LessOp: "is_lt",
        nn.LessEqualOp: "is_le",
        nn.GreaterOp: "is_gt",
        nn.GreaterEqualOp: "is_ge",
    }
    ops = tuple(ALU)
    elements = (*FLOATS, i1)

    def why_unsupported(self, op: Operation, machine: Machine) -> Reason | None:
        if not is_float(element_of(op.operands[0])):
            return Reason(
                Code.OP_ELEMENT_TYPE, f"{op.name} runs on floats, got {element_of(op.operands[0])}"
            )
        return None

    def apply(self, op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        arithmetic(e, out, self.ALU[type(op)], *operands)


@register
class LowerPow(PointwiseLowering[nn.PowOp]):
    """The power of the general purpose engine."""

    ops = (nn.PowOp,)

    def why_unsupported(self, op: nn.PowOp, machine: Machine) -> Reason | None:
        if machine.pool_clock is None:
            return Reason(
                Code.OP_NO_LOWERING, f"{machine.name} has no engine that raises to powers"
            )
        return None

    def apply(self, op: nn.PowOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        arithmetic(e, out, "pow", *operands)


@register
class LowerLogical(PointwiseLowering[Operation]):
    """And, or on bytes of 0 and 1."""

    ALU: ClassVar[dict[type[Operation], str]] = {nn.AndOp: "logical_and", nn.OrOp: "logical_or"}
    ops = tuple(ALU)
    elements = (i1,)

    def apply(self, op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        arithmetic(e, out, self.ALU[type(op)], *operands)


@register
class LowerDiv(PointwiseLowering[nn.DivOp]):
    """`x * (1 / y)`: the vector engine divides by its precise reciprocal, kept in f32."""

    ops = (nn.DivOp,)

    def apply(self, op: nn.DivOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        numerator, denominator = operands
        match denominator:
            case Immediate(value) if value != 0:
                inverse: Operand = Immediate(1.0 / value)
            case PerPartition(tile):
                column = e.sbuf(tile.partitions, 1, f32)
                e.emit(nc.ReciprocalOp, dst=column.ref(), src=tile.ref())
                inverse = PerPartition(column)
            case _:
                tile = full_tile(e, denominator, out)
                inverse = e.sbuf(out.partitions, out.width, f32)
                e.emit(nc.ReciprocalOp, dst=inverse.ref(), src=tile.ref())
        arithmetic(e, out, "mult", numerator, inverse)


@register
class LowerSelect(PointwiseLowering[nn.SelectOp]):
    """Copy one side, then the other where the condition holds."""

    ops = (nn.SelectOp,)
    elements = HELD

    def apply(self, op: nn.SelectOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        condition, on_true, on_false = (
            full_tile(e, operand, out, ui8 if index == 0 else out.element)
            for index, operand in enumerate(operands)
        )
        e.emit(nc.CopyOp, dst=out.ref(), src=on_false.ref())
        e.emit(nc.CopyPredicatedOp, dst=out.ref(), src=on_true.ref(), predicate=condition.ref())


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
    """A copy that rounds on store; to truth values a comparison with 0."""

    ops = (nn.CastOp,)
    elements = (*HELD, i64)

    def why_unsupported(self, op: nn.CastOp, machine: Machine) -> Reason | None:
        source = element_of(op.operand)
        if i64 in (source, op.to):
            return (
                None
                if is_edge_cast(op)
                else Reason(
                    Code.OP_ELEMENT_TYPE,
                    f"i64 is held only at a program's edge, as i32; got {source} to {op.to} inside",
                )
            )
        if source not in (op.to, i1) and not is_float(op.to) and op.to != i1:
            return Reason(
                Code.OP_ELEMENT_TYPE,
                f"engines round to nearest and saturate, a cast of {source} to {op.to} truncates",
            )
        return None

    def apply(self, op: nn.CastOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        src = full_tile(e, operands[0], out)
        if op.to == i1:
            zero = {"op0": "is_equal", "scalar0": 0.0, "op1": "is_equal", "scalar1": 0.0}
            e.emit(nc.TensorScalarOp, fields=dict(zero), dst=out.ref(), src=src.ref())
            return
        e.emit(nc.CopyOp, dst=out.ref(), src=src.ref())
