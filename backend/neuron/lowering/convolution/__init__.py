"""Convolution as an implicit matrix product: the array sums over channels and taps.

Direct: channels on the partitions, one matmul for each tap on a shifted view of the padded image,
so nothing is copied but where channels leave room for shifted copies. Packed: where channels are
few, DMA spreads taps over the partitions as well, row `(r, c, s)` of the contracted dimension.
Depthwise: the vector engine, tap by tap. Transposed: one convolution for each phase of the stride.
"""

from __future__ import annotations

from math import prod

from xdsl.dialects.builtin import f32
from xdsl.ir import Operation

from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.lowering.context import Context
from ranvier.backend.neuron.lowering.convolution.depthwise import Depthwise
from ranvier.backend.neuron.lowering.convolution.direct import Direct, turns_of
from ranvier.backend.neuron.lowering.convolution.geometry import (
    Convolution,
    Geometry,
    Kernel,
    geometry_of,
)
from ranvier.backend.neuron.lowering.convolution.packed import Packed
from ranvier.backend.neuron.lowering.convolution.transposed import Transposed, Untouched
from ranvier.backend.neuron.lowering.pointwise import chain_from
from ranvier.backend.neuron.lowering.views import View
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, CodedError, Reason
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nc.types import PARTITIONS, element_dtype
from ranvier.dialects.nn.types import element_of, shape_of


def why_not_conv(op: nn.ConvOp, machine: Machine) -> Reason | None:
    """What a convolution asks that no form does."""
    if len(shape_of(op.operand)) == 5:
        return Reason(Code.OP_RANK, "1 or 2 spatial dimensions lower, got 3")
    if min(ints(op.padding)) < 0:
        return Reason(Code.OP_ATTRIBUTE, f"padding is not negative, got {ints(op.padding)}")
    g = geometry_of(op)
    return why_too_large(op, g, machine) if form_of(g) is Direct else None


def why_not_transposed(op: nn.ConvTransposeOp, machine: Machine) -> Reason | None:
    """What a transposed convolution asks that its phases do not do."""
    if len(shape_of(op.operand)) == 5:
        return Reason(Code.OP_RANK, "1 or 2 spatial dimensions lower, got 3")
    it = Transposed(op)
    for phase in it.phases():
        g = it.geometry(*phase)
        if phase_form(g) is Direct and (reason := why_too_large(op, g, machine)) is not None:
            return reason
    return None


def why_too_large(
    op: nn.ConvOp | nn.ConvTransposeOp, g: Geometry, machine: Machine
) -> Reason | None:
    """Whether a window, or the weights of one output channel, do not fit on chip."""
    itemsize = element_dtype(element_of(op.weight)).itemsize
    window = -(-g.channels // PARTITIONS) * g.reach(0, 1) * g.reach(1, 1)
    turns = prod(turns_of(g))
    if 8 * window * itemsize > 3 * machine.sbuf_bytes or turns > Direct.weight_budget(
        machine, itemsize
    ):
        return Reason(
            Code.OP_SIZE,
            f"windows of {window * itemsize} bytes and {turns * itemsize} of weights per output "
            f"channel on a partition exceed their share of the {machine.sbuf_bytes} of SBUF",
        )
    return None


def check_product_type(op: Operation, machine: Machine) -> None:
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
    form = form_of(g)
    shape = (g.groups * g.filters, g.channels, *g.taps)
    kernel = Kernel(op.weight, "", lambda weight: [nn.ReshapeOp(weight, shape=shape)])
    image = image_of(op, context)
    bias = None if op.bias is None else context.view(op.bias)
    chain = chain_from(op.result, context, lambda view: view.reshaped(form.space(g)))
    form(context, g, image, kernel, bias, element_of(op.result), chain).lower()


def lower_conv_transpose(op: nn.ConvTransposeOp, context: Context) -> None:
    """Emit every phase of a transposed convolution, and the elementwise ops that follow it."""
    check_product_type(op, context.machine)
    it, image = Transposed(op), image_of(op, context)
    bias = None if op.bias is None else context.view(op.bias)
    chain = chain_from(op.result, context, lambda view: view.reshaped(it.space))
    for row, column in it.phases():
        g = it.geometry(row, column)
        form = phase_form(g)
        seen: dict[int, View] = {}
        for view in chain.views:
            part = it.spread(view, row, column).reshaped(form.space(g))
            assert part is not None, "a split dimension fits any strides"
            seen[id(view)] = part
        places = ".".join(f"{p.last}-{p.taps}-{p.step}" for p in (row, column))
        kernel = Kernel(op.weight, f"phase.{places}.", it.taps(row, column))
        part = image if form is Untouched else it.cropped(image, row, column)
        element = element_of(op.result)
        form(context, g, part, kernel, bias, element, chain.with_views(seen)).lower()


def image_of(op: nn.ConvOp | nn.ConvTransposeOp, context: Context) -> View:
    """The operand as `[n, channels, height, width]`."""
    view = context.view(op.operand)
    if len(view.shape) == 4:
        return view
    flat = view.reshaped((*view.shape[:2], 1, view.shape[2]))
    assert flat is not None, "a dimension of 1 fits any strides"
    return flat


def form_of(g: Geometry) -> type[Convolution]:
    """The form that suits a geometry."""
    if g.depthwise:
        return Depthwise
    return Packed if g.packs else Direct


def phase_form(g: Geometry) -> type[Convolution]:
    """The form of a phase, whose results are no rows that `Packed` could cut anywhere."""
    if not prod(g.taps):
        return Untouched
    return Depthwise if g.depthwise else Direct
