"""Elementwise ops on tiles: rows of a table where one instruction does, handlers for the rest.

`elementwise_math` has the functions that take several instructions, `elementwise_integer` what ops
do on integers, `elementwise_cast` the changes of type.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from xdsl.dialects.builtin import f32, i1
from xdsl.ir import Attribute, Operation

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context, scalar_of
from ranvier.backend.neuron.lowering.elementwise_integer import (
    INTEGERS,
    apply_to_integers,
    scratch_of_integers,
)
from ranvier.backend.neuron.lowering.emitter import Emitter, OnChip
from ranvier.backend.neuron.lowering.pointwise import (
    MAX_SCRATCH,
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
from ranvier.backend.neuron.lowering.registry import FLOATS, HELD, lowerings, register
from ranvier.backend.neuron.lowering.tile_math import TileMath
from ranvier.backend.neuron.lowering.views import View, pointwise_space, regions
from ranvier.dialects import nc, nn
from ranvier.dialects.nc.types import ui8
from ranvier.dialects.nn.types import element_of, is_float, shape_of

OpT = TypeVar("OpT", bound=Operation)

MAX_WIDTH = 2048
"""Elements per partition of a tile: 8 KiB in f32, so that a chain of several tiles fits."""


def lower_pointwise(op: Operation, context: Context) -> None:
    """Start a chain at an op whose operands are all in device memory."""
    context.done.add(op)
    order = _order_of(op, context)

    def project(view: View) -> View:
        return view.transposed(order)

    sources = sources_of(op, context, project)
    assert sources is not None
    chain = chain_from(op.results[0], context, project, order)
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
    for region in regions(context.e, shape, partition, list(free), width_of(op, context.machine)):
        tile = run_step(context.e, region, None, first)
        run_chain(context.e, region, tile, rest)


def width_of(op: Operation, machine: Machine) -> int:
    """Elements per partition for a chain that starts with the op: half of SBUF holds its tiles."""
    lowering = lowerings()[type(op)]
    assert isinstance(lowering, PointwiseLowering)
    if (scratch := lowering.scratch(op, machine)) <= MAX_SCRATCH:
        return MAX_WIDTH
    return 1 << (machine.sbuf_bytes // 8 // (scratch + 4)).bit_length() - 1


def _order_of(op: Operation, context: Context) -> tuple[int, ...]:
    """The dimensions as they lie in the first operand of the result's size, so that it is read in
    order, and the result is written so."""
    shape = shape_of(op.results[0])
    for operand in op.operands:
        if shape_of(operand) == shape and scalar_of(operand) is None:
            view = context.view(operand)
            if not view.repeats:
                return view.order
    return tuple(range(len(shape)))


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
        fields: dict[str, object] = {"op": op}
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


class NumberLowering(PointwiseLowering[OpT], Generic[OpT]):
    """An op on floats, and on integers by the rules of `elementwise_integer`."""

    elements = (*FLOATS, *INTEGERS)

    def scratch(self, op: OpT, machine: Machine) -> int:
        floats = is_float(element_of(op.operands[0]))
        return self.scratch_of_floats if floats else scratch_of_integers(op, machine)

    scratch_of_floats: ClassVar[int] = MAX_SCRATCH

    def apply(self, op: OpT, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        if is_float(element_of(op.operands[0])):
            self.on_floats(op, e, operands, out)
        else:
            apply_to_integers(op, e, operands, out)

    @abstractmethod
    def on_floats(self, op: OpT, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        """Emit the op on one tile of floats."""


@register
class LowerUnary(PointwiseLowering[Operation]):
    """One function of the activation table."""

    FUNCS: ClassVar[dict[type[Operation], str]] = {
        nn.SigmoidOp: "sigmoid",
        nn.TanhOp: "tanh",
        nn.ExpOp: "exp",
        nn.LogOp: "log",
        nn.SqrtOp: "sqrt",
        nn.RsqrtOp: "rsqrt",
        nn.ErfOp: "erf",
        nn.SiluOp: "silu",
        nn.SoftplusOp: "softplus",
    }
    ops = tuple(FUNCS)

    def apply(self, op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        activate(e, out, operands[0], self.FUNCS[type(op)])


@register
class LowerUnaryNumber(NumberLowering[Operation]):
    """One function of the activation table, which has exact rules for integers."""

    FUNCS: ClassVar[dict[type[Operation], str]] = {
        nn.ReluOp: "relu",
        nn.AbsOp: "abs",
        nn.SignOp: "sign",
    }
    ops = tuple(FUNCS)

    def on_floats(
        self, op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        activate(e, out, operands[0], self.FUNCS[type(op)])


@register
class LowerGelu(PointwiseLowering[nn.GeluOp]):
    """Both forms are in the activation table."""

    ops = (nn.GeluOp,)

    def apply(self, op: nn.GeluOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        activate(e, out, operands[0], "gelu_tanh" if op.approximate.data == "tanh" else "gelu")


@register
class LowerNeg(NumberLowering[nn.NegOp]):
    """`x * -1`"""

    ops = (nn.NegOp,)

    def on_floats(self, op: nn.NegOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
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
class LowerClamp(NumberLowering[nn.ClampOp]):
    """Two steps of one tensor-scalar instruction."""

    ops = (nn.ClampOp,)

    def on_floats(
        self, op: nn.ClampOp, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        math, src = TileMath(e, out), full_tile(e, operands[0], out)
        bounds = [("max", op.get("low")), ("min", op.get("high"))]
        steps = [(alu, float(bound)) for alu, bound in bounds if bound is not None]
        if steps:
            math.scalar(src, *steps, into=out)
        else:
            math.copy(src, out)


@register
class LowerBinary(NumberLowering[Operation]):
    """One operation of the arithmetic units, in f32."""

    ALU: ClassVar[dict[type[Operation], str]] = {
        nn.AddOp: "add",
        nn.SubOp: "subtract",
        nn.MulOp: "mult",
        nn.MaxOp: "max",
        nn.MinOp: "min",
        nn.ModOp: "mod",
    }
    ops = tuple(ALU)

    def on_floats(
        self, op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        arithmetic(e, out, self.ALU[type(op)], *operands)


@register
class LowerComparison(NumberLowering[Operation]):
    """One comparison of the arithmetic units, in f32; truth values compare as 0 and 1."""

    ALU: ClassVar[dict[type[Operation], str]] = {
        nn.EqualOp: "is_equal",
        nn.LessOp: "is_lt",
        nn.LessEqualOp: "is_le",
        nn.GreaterOp: "is_gt",
        nn.GreaterEqualOp: "is_ge",
    }
    ops = tuple(ALU)
    elements = (*FLOATS, *INTEGERS, i1)

    def apply(self, op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        if element_of(op.operands[0]) == i1:
            self.on_floats(op, e, operands, out)
        else:
            super().apply(op, e, operands, out)

    def on_floats(
        self, op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip
    ) -> None:
        arithmetic(e, out, self.ALU[type(op)], *operands)


@register
class LowerBitwise(PointwiseLowering[Operation]):
    """And, or, exclusive or: of bit patterns, and of bytes of 0 and 1."""

    ALU: ClassVar[dict[type[Operation], str]] = {
        nn.AndOp: "logical_and",
        nn.OrOp: "logical_or",
        nn.XorOp: "logical_xor",
    }
    ops = tuple(ALU)
    elements = (*INTEGERS, i1)

    def apply(self, op: Operation, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        if element_of(op.operands[0]) == i1:
            arithmetic(e, out, self.ALU[type(op)], *operands)
        else:
            apply_to_integers(op, e, operands, out)


@register
class LowerShift(PointwiseLowering[nn.ShiftLeftOp | nn.ShiftRightOp]):
    """By as many bits as the second operand says."""

    ops = (nn.ShiftLeftOp, nn.ShiftRightOp)
    elements = INTEGERS

    def apply(
        self,
        op: nn.ShiftLeftOp | nn.ShiftRightOp,
        e: Emitter,
        operands: Sequence[Operand],
        out: OnChip,
    ) -> None:
        apply_to_integers(op, e, operands, out)


@register
class LowerNot(PointwiseLowering[nn.NotOp]):
    """`x == 0` of bytes of 0 and 1."""

    ops = (nn.NotOp,)
    elements = (i1,)

    def apply(self, op: nn.NotOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
        scalar_step(e, out, full_tile(e, operands[0], out, ui8), "is_equal", Immediate(0.0))


@register
class LowerDiv(NumberLowering[nn.DivOp]):
    """`x * (1 / y)`: the vector engine divides by its precise reciprocal, kept in f32."""

    ops = (nn.DivOp,)

    def on_floats(self, op: nn.DivOp, e: Emitter, operands: Sequence[Operand], out: OnChip) -> None:
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
