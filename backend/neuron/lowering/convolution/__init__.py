"""Convolution as an implicit matrix product: the array sums over channels and taps.

Direct: channels on the partitions, one matmul for each tap on a shifted view of the padded image,
so nothing is copied. Packed: where channels are few, DMA spreads taps over the partitions as well,
row `(r, c, s)` of the contracted dimension, and each matmul uses the whole array. Depthwise: the
vector engine, tap by tap.
"""

from __future__ import annotations

from math import prod

from xdsl.dialects.builtin import f32

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.convolution.depthwise import Depthwise
from ranvier.backend.neuron.lowering.convolution.direct import Direct
from ranvier.backend.neuron.lowering.convolution.geometry import Geometry, geometry_of
from ranvier.backend.neuron.lowering.convolution.packed import Packed
from ranvier.backend.neuron.lowering.registry import is_constant
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, CodedError, Reason
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.types import PARTITIONS, element_dtype
from ranvier.dialects.nn.types import element_of, shape_of


def why_not_conv(op: nn.ConvOp, machine: Machine) -> Reason | None:
    """What a convolution asks that neither form does."""
    if len(shape_of(op.operand)) == 5:
        return Reason(Code.OP_RANK, "1 or 2 spatial dimensions lower, got 3")
    if not is_constant(op.weight):
        return Reason(
            Code.OP_OPERAND,
            f"the weight must be a constant of the model, got a computed {op.weight.type}",
        )
    if min(ints(op.padding)) < 0:
        return Reason(Code.OP_ATTRIBUTE, f"padding is not negative, got {ints(op.padding)}")
    g = geometry_of(op)
    if form_of(g) is Direct:
        blocks = -(-g.channels // PARTITIONS)
        itemsize = element_dtype(element_of(op.weight)).itemsize
        row = blocks * g.reach(0, 1) * g.reach(1, 1) * itemsize
        weights = blocks * prod(g.taps) * min(g.filters, PARTITIONS) * itemsize
        if row + weights > machine.sbuf_bytes // 2:
            return Reason(
                Code.OP_SIZE,
                f"weights of {weights} and a window of {row} bytes per partition exceed half of "
                f"the {machine.sbuf_bytes} of SBUF",
            )
    return None


def check_product_type(op: nn.ConvOp | nn.MatmulOp, machine: Machine) -> None:
    """Refuse an f32 product that `cast-bf16` left where the array multiplies none."""
    if element_of(op.operands[0]) == f32 and machine.pe_f32_passes is None:
        raise CodedError(
            Code.OP_ELEMENT_TYPE,
            f"{op.name} multiplies f32, which {machine.name} cannot: run cast-bf16 before",
        )


def lower_conv(op: nn.ConvOp, context: Context) -> None:
    """Emit a convolution and the elementwise ops that follow it."""
    check_product_type(op, context.machine)
    g = geometry_of(op)
    x = context.view(op.operand).reshaped((g.n, g.groups * g.channels, g.height, g.width))
    assert x is not None, "a dimension of 1 fits any strides"
    form_of(g)(op, context, g, x).lower()


def form_of(g: Geometry) -> type[Packed | Direct | Depthwise]:
    """The form that suits a geometry."""
    if g.depthwise:
        return Depthwise
    return Packed if g.packs else Direct
