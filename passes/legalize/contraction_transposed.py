"""Transposed convolution by convolution."""

from __future__ import annotations

from math import prod

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.types import element_of, shape_of, tensor, type_of
from ranvier.passes.legalize.decomposition import AnyDecomposition, Decomposition, Emitter


class ConvTransposeApart(Decomposition[nn.ConvTransposeOp]):
    """`conv_transpose(x, w of CxOxK) -> rearrange(conv(x, w as (O*K)xCx1))` if `strides = K`

    No two elements add to one place then: each gives a block of its own.
    """

    def decompose(self, op: nn.ConvTransposeOp, emit: Emitter) -> SSAValue | None:
        x, w = shape_of(op.operand), shape_of(op.weight)
        rank, kernel = len(x) - 2, shape_of(op.weight)[2:]
        apart = ints(op.strides) == kernel and set(ints(op.dilations)) == {1}
        if not apart or any(ints(op.padding)) or op.get("groups") != 1:
            return None
        outputs = prod(w[1:])
        rows = emit(nn.TransposeOp(op.weight, permutation=(*range(1, 2 + rank), 0)))
        weight = emit(nn.ReshapeOp(rows, shape=(outputs, w[0], *(1,) * rank)))
        ones, element = (1,) * rank, element_of(op.result)
        blocks = nn.ConvOp(
            op.operand,
            weight,
            strides=ones,
            padding=(0,) * (2 * rank),
            dilations=ones,
            groups=1,
            result_types=[tensor((x[0], outputs, *x[2:]), element)],
        )
        split = emit(nn.ReshapeOp(emit(blocks), shape=(x[0], w[1], *kernel, *x[2:])))
        mixed = tuple(d for pair in range(rank) for d in (2 + rank + pair, 2 + pair))
        moved = emit(nn.TransposeOp(split, permutation=(0, 1, *mixed)))
        result = emit(nn.ReshapeOp(moved, shape=shape_of(op.result)))
        return _biased(result, op, emit)


class ConvTransposeSpread(Decomposition[nn.ConvTransposeOp]):
    """`conv_transpose(x, w) -> conv(x with zeros between its elements, w flipped)`"""

    def decompose(self, op: nn.ConvTransposeOp, emit: Emitter) -> SSAValue | None:
        x, kernel = shape_of(op.operand), shape_of(op.weight)[2:]
        rank, cut, dilations = len(x) - 2, ints(op.padding), ints(op.dilations)
        reach = [(taps - 1) * d for taps, d in zip(kernel, dilations, strict=True)]
        padding = [r - c for r, c in zip(reach * 2, cut, strict=True)]
        value = _spread(op.operand, ints(op.strides), emit)
        conv = nn.ConvOp(
            value,
            _flipped(op, emit),
            *op.operands[2:],
            strides=(1,) * rank,
            padding=padding,
            dilations=dilations,
            groups=op.groups,
            result_types=[type_of(op.result)],
        )
        return emit(conv)


def _spread(x: SSAValue, strides: tuple[int, ...], emit: Emitter) -> SSAValue:
    """`strides - 1` zeros between neighbours."""
    shape = shape_of(x)
    for d, stride in enumerate(strides, 2):
        if stride == 1:
            continue
        apart = (prod(shape[: d + 1]), prod(shape[d + 1 :]))
        rows = emit(nn.ReshapeOp(x, shape=(apart[0], 1, apart[1])))
        zeros = nn.PadOp(rows, low=(0, 0, 0), high=(0, stride - 1, 0), mode="constant", value=0.0)
        grown = (*shape[:d], shape[d] * stride, *shape[d + 1 :])
        x = emit(nn.ReshapeOp(emit(zeros), shape=grown))
        sizes = (*shape[:d], (shape[d] - 1) * stride + 1, *shape[d + 1 :])
        x = emit(nn.SliceOp(x, starts=[0] * len(sizes), sizes=sizes, steps=[1] * len(sizes)))
        shape = sizes
    return x


def _flipped(op: nn.ConvTransposeOp, emit: Emitter) -> SSAValue:
    """`CxO/gxK… -> OxC/gxK…`, the taps backwards."""
    shape, groups = shape_of(op.weight), int(op.get("groups"))
    kernel = shape[2:]
    backwards = nn.SliceOp(
        op.weight,
        starts=(0, 0, *(taps - 1 for taps in kernel)),
        sizes=shape,
        steps=(1, 1, *(-1,) * len(kernel)),
    )
    split = (groups, shape[0] // groups, *shape[1:])
    order = (0, 2, 1, *range(3, 3 + len(kernel)))
    value = emit(
        nn.TransposeOp(emit(nn.ReshapeOp(emit(backwards), shape=split)), permutation=order)
    )
    return emit(nn.ReshapeOp(value, shape=(groups * shape[1], shape[0] // groups, *kernel)))


def _biased(value: SSAValue, op: nn.ConvTransposeOp, emit: Emitter) -> SSAValue:
    if op.bias is None:
        return value
    bias = op.bias
    if element_of(bias) != element_of(value):
        bias = emit(nn.CastOp(bias, element_of(value)))
    channels = (*shape_of(bias), *(1,) * (len(shape_of(value)) - 2))
    return emit(nn.AddOp(value, emit(nn.ReshapeOp(bias, shape=channels))))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (ConvTransposeApart(), ConvTransposeSpread())
