"""Products by simpler products."""

from __future__ import annotations

from math import prod
from typing import Any

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.interfaces import ints
from ranvier.dialects.nn.shapes import broadcast_shapes
from ranvier.dialects.nn.types import element_of, shape_of, tensor, type_of
from ranvier.passes.legalize.decomposition import (
    AnyDecomposition,
    Decomposition,
    Emitter,
    slice_along,
)


class DecomposeGemm(Decomposition[nn.GemmOp]):
    """`gemm(A, B, C) -> alpha * matmul(A', B') + beta * C`, where `'` transposes if asked to"""

    def decompose(self, op: nn.GemmOp, emit: Emitter) -> SSAValue:
        lhs, rhs = op.lhs, op.rhs
        if op.get("transpose_lhs"):
            lhs = emit(nn.TransposeOp(lhs, permutation=(1, 0)))
        if op.get("transpose_rhs"):
            rhs = emit(nn.TransposeOp(rhs, permutation=(1, 0)))
        value = emit(nn.MatmulOp(lhs, rhs, result_types=[type_of(op.result)]))
        value = _scaled(value, op.get("alpha"), emit)
        if op.addend is None:
            return value
        addend = op.addend
        if element_of(addend) != element_of(value):
            addend = emit(nn.CastOp(addend, element_of(value)))
        return emit(nn.AddOp(value, _scaled(addend, op.get("beta"), emit)))


def _scaled(value: SSAValue, factor: float, emit: Emitter) -> SSAValue:
    return value if factor == 1 else emit(nn.MulOp(value, emit.scalar(factor, value)))


class MatmulOfVectors(Decomposition[nn.MatmulOp]):
    """`matmul(v, B) -> reshape(matmul(row of v, B))`, and columns likewise"""

    def decompose(self, op: nn.MatmulOp, emit: Emitter) -> SSAValue | None:
        lhs, rhs = op.lhs, op.rhs
        if len(shape_of(lhs)) > 1 and len(shape_of(rhs)) > 1:
            return None
        if len(shape_of(lhs)) == 1:
            lhs = emit(nn.ReshapeOp(lhs, shape=(1, *shape_of(lhs))))
        if len(shape_of(rhs)) == 1:
            rhs = emit(nn.ReshapeOp(rhs, shape=(*shape_of(rhs), 1)))
        value = emit(_matmul(lhs, rhs, op))
        return emit(nn.ReshapeOp(value, shape=shape_of(op.result)))


class CollapseMatmulRows(Decomposition[nn.MatmulOp]):
    """`matmul(A of BxMxK, B of KxN) -> reshape(matmul(A as (B*M)xK, B))`"""

    def decompose(self, op: nn.MatmulOp, emit: Emitter) -> SSAValue | None:
        shape = shape_of(op.lhs)
        if len(shape) < 3 or len(shape_of(op.rhs)) != 2:
            return None
        rows = emit(nn.ReshapeOp(op.lhs, shape=(prod(shape[:-1]), shape[-1])))
        return emit(nn.ReshapeOp(emit(_matmul(rows, op.rhs, op)), shape=shape_of(op.result)))


class CollapseMatmulBatch(Decomposition[nn.MatmulOp]):
    """`matmul(A of PxQxMxK, B of PxQxKxN) -> reshape(matmul(A of (P*Q)xMxK, B of (P*Q)xKxN))`

    Batch dimensions that differ are broadcast first.
    """

    def decompose(self, op: nn.MatmulOp, emit: Emitter) -> SSAValue | None:
        shapes = shape_of(op.lhs), shape_of(op.rhs)
        batch = shape_of(op.result)[:-2]
        if min(map(len, shapes)) < 2 or not batch:
            return None
        if len(batch) == 1 and all(len(shape) == 3 and shape[:1] == batch for shape in shapes):
            return None
        operands: list[SSAValue] = []
        for operand, shape in zip(op.operands, shapes, strict=True):
            value: SSAValue = operand
            if shape[:-2] != batch:
                value = emit(nn.BroadcastOp(value, shape=(*batch, *shape[-2:])))
            operands.append(emit(nn.ReshapeOp(value, shape=(prod(batch), *shape[-2:]))))
        value = emit(_matmul(operands[0], operands[1], op))
        return emit(nn.ReshapeOp(value, shape=shape_of(op.result)))


def _matmul(lhs: SSAValue, rhs: SSAValue, like: nn.MatmulOp) -> nn.MatmulOp:
    """A product with the result element type of another."""
    rows, columns = shape_of(lhs), shape_of(rhs)
    shape = (*broadcast_shapes(rows[:-2], columns[:-2]), rows[-2], columns[-1])
    return nn.MatmulOp(lhs, rhs, result_types=[tensor(shape, element_of(like.result))])


class ConvOfOneDimension(Decomposition[nn.ConvOp]):
    """`conv(x of NxCxW) -> reshape(conv(x as NxCx1xW))`"""

    def decompose(self, op: nn.ConvOp, emit: Emitter) -> SSAValue | None:
        x, w = shape_of(op.operand), shape_of(op.weight)
        if len(x) != 3:
            return None
        operand = emit(nn.ReshapeOp(op.operand, shape=(*x[:2], 1, x[2])))
        weight = emit(nn.ReshapeOp(op.weight, shape=(*w[:2], 1, w[2])))
        low, high = ints(op.padding)
        out = shape_of(op.result)
        conv = nn.ConvOp(
            operand,
            weight,
            *op.operands[2:],
            strides=(1, *ints(op.strides)),
            padding=(0, low, 0, high),
            dilations=(1, *ints(op.dilations)),
            groups=op.groups,
            result_types=[tensor((*out[:2], 1, out[2]), element_of(op.result))],
        )
        return emit(nn.ReshapeOp(emit(conv), shape=out))


class ConvOfPadded(Decomposition[nn.ConvOp]):
    """`conv(x, padding) -> conv(pad(x, 0))`"""

    def decompose(self, op: nn.ConvOp, emit: Emitter) -> SSAValue | None:
        padding = ints(op.padding)
        if not any(padding):
            return None
        rank = len(padding) // 2
        padded = emit(
            nn.PadOp(
                op.operand,
                low=(0, 0, *padding[:rank]),
                high=(0, 0, *padding[rank:]),
                mode="constant",
                value=0.0,
            )
        )
        properties: dict[str, Any] = {**op.properties, "padding": (0,) * (2 * rank)}
        return emit(
            nn.ConvOp(padded, *op.operands[1:], result_types=[type_of(op.result)], **properties)
        )


class ConvOfTapsThatRead(Decomposition[nn.ConvOp]):
    """`conv(x, w) -> conv(x, w')` without the outer taps that read the padding alone"""

    def decompose(self, op: nn.ConvOp, emit: Emitter) -> SSAValue | None:
        rank = len(shape_of(op.operand)) - 2
        padding, dilations, weight = list(ints(op.padding)), ints(op.dilations), op.weight
        for axis, (stride, dilation) in enumerate(zip(ints(op.strides), dilations, strict=True)):
            size, count = shape_of(op.operand)[2 + axis], shape_of(op.weight)[2 + axis]
            low, last = padding[axis], (shape_of(op.result)[2 + axis] - 1) * stride
            used = [
                tap
                for tap in range(count)
                if any(
                    low <= start + tap * dilation < low + size
                    for start in range(0, last + 1, stride)
                )
            ]
            if not used or len(used) == count:
                continue
            first, end = used[0], used[-1] + 1
            weight = emit(slice_along(weight, 2 + axis, first, end - first))
            padding[axis] -= first * dilation
            padding[rank + axis] -= (count - end) * dilation
        if weight is op.weight:
            return None
        properties: dict[str, Any] = {**op.properties, "padding": padding}
        operands = (op.operand, weight, *op.operands[2:])
        return emit(nn.ConvOp(*operands, result_types=[type_of(op.result)], **properties))


class ConvGroupByGroup(Decomposition[nn.ConvOp]):
    """`conv(x, w, groups = g) -> concat(conv(x[i], w[i]) for each of g slices of the channels)`"""

    LIMIT = 32
    """More groups than this stay one op: the host runs it faster than so many small ones."""

    def decompose(self, op: nn.ConvOp, emit: Emitter) -> SSAValue | None:
        groups = int(op.get("groups"))
        if not 1 < groups <= self.LIMIT:
            return None
        inputs = shape_of(op.operand)[1] // groups
        outputs = shape_of(op.weight)[0] // groups
        parts: list[SSAValue] = []
        for i in range(groups):
            operands = [
                emit(slice_along(op.operand, 1, i * inputs, inputs)),
                *(emit(slice_along(v, 0, i * outputs, outputs)) for v in op.operands[1:]),
            ]
            shape = list(shape_of(op.result))
            shape[1] = outputs
            result = tensor(tuple(shape), element_of(op.result))
            properties: dict[str, Any] = {**op.properties, "groups": 1}
            parts.append(emit(nn.ConvOp(*operands, result_types=[result], **properties)))
        return emit(nn.ConcatOp(*parts, axis=1))


DECOMPOSITIONS: tuple[AnyDecomposition, ...] = (
    DecomposeGemm(),
    MatmulOfVectors(),
    CollapseMatmulRows(),
    CollapseMatmulBatch(),
    ConvOfOneDimension(),
    ConvOfTapsThatRead(),
    ConvOfPadded(),
    ConvGroupByGroup(),
)
