"""Convolution and matrix products of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xdsl.ir import SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import shape_of
from ranvier.importers.semantics import AutoPad, Window, automatic_padding
from ranvier.importers.torch.call import Call, torch_op


@torch_op("matmul", "mm", "bmm", "mv", "dot", "vdot")
def import_matmul(call: Call) -> SSAValue:
    first, second, *_ = call.arguments
    return call.build(nn.MatmulOp(call.operand(first), call.operand(second)))


@torch_op("linear")
def import_linear(call: Call) -> SSAValue:
    """One matrix product of all rows."""
    shape, (columns, *inputs) = call.shape("input"), call.shape("weight")[::-1]
    if len(inputs) != 1 or not shape:
        call.refuse(f"its weight has rank {1 + len(inputs)}")
    rows = call.reshape(call.tensor("input"), (prod(shape[:-1]), columns))
    bias = call.optional("bias")
    return call.reshape(gemm(call, rows, call.tensor("weight"), bias), (*shape[:-1], *inputs))


def gemm(call: Call, rows: SSAValue, weight: SSAValue, bias: SSAValue | None) -> SSAValue:
    operands = (rows, weight, *([] if bias is None else [bias]))
    return call.build(
        nn.GemmOp(*operands, alpha=1.0, beta=1.0, transpose_lhs=False, transpose_rhs=True)
    )


@torch_op("addmm")
def import_addmm(call: Call) -> SSAValue:
    """With `beta = 0` even an addend that is not a number is left out."""
    beta = float(call["beta"])
    addend = [call.tensor()] if beta else []
    return call.build(
        nn.GemmOp(
            *(call.tensor("mat1"), call.tensor("mat2"), *addend),
            alpha=float(call["alpha"]),
            beta=beta or 1.0,
            transpose_lhs=False,
            transpose_rhs=False,
        )
    )


# -- Convolution ------------------------------------------------------------------------------


@torch_op("conv1d", "conv2d", "conv3d", "_convolution_mode")
def import_conv(call: Call) -> SSAValue:
    return convolution(call, call["stride"], call["padding"], call["dilation"])


@torch_op("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def import_conv_transpose(call: Call) -> SSAValue:
    return transposed(call, call["output_padding"])


@torch_op("convolution", "_convolution")
def import_convolution(call: Call) -> SSAValue:
    if call["transposed"]:
        return transposed(call, call["output_padding"])
    return convolution(call, call["stride"], call["padding"], call["dilation"])


def batched(call: Call) -> tuple[SSAValue, int]:
    """The operand with a batch, which it may lack, and the number of spatial dimensions."""
    value, rank = call.tensor("input"), call.rank("weight") - 2
    if call.rank("input") == rank + 1:
        value = call.reshape(value, (1, *shape_of(value)))
    return value, rank


def convolution(call: Call, stride: object, padding: object, dilation: object) -> SSAValue:
    value, rank = batched(call)
    window = Window(
        shape_of(value)[2:], call.shape("weight")[2:], spread(stride, rank), spread(dilation, rank)
    )
    return call.reshape(
        call.build(
            nn.ConvOp(
                *(value, call.tensor("weight"), *bias_of(call)),
                strides=window.strides,
                padding=padding_of(window, padding),
                dilations=window.dilations,
                groups=int(call["groups"]),
            )
        ),
        call.result_shape,
    )


def bias_of(call: Call) -> Sequence[SSAValue]:
    bias = call.optional("bias")
    return () if bias is None else (bias,)


def padding_of(window: Window, padding: object) -> Shape:
    """As much on both sides, or by name; the odd element of `same` goes after.

    `same` goes with stride 1 only, for which what it needs does not depend on the size.
    """
    if isinstance(padding, str):
        return automatic_padding(window, AutoPad.SAME_UPPER if padding == "same" else AutoPad.VALID)
    return spread(padding, len(window.size)) * 2


def transposed(call: Call, output_padding: object) -> SSAValue:
    value, rank = batched(call)
    cut, extra = spread(call["padding"], rank), spread(output_padding, rank)
    return call.reshape(
        call.build(
            nn.ConvTransposeOp(
                *(value, call.tensor("weight"), *bias_of(call)),
                strides=spread(call["stride"], rank),
                padding=(*cut, *(low - more for low, more in zip(cut, extra, strict=True))),
                dilations=spread(call["dilation"], rank),
                groups=int(call["groups"]),
            )
        ),
        call.result_shape,
    )


def spread(value: object, rank: int) -> Shape:
    """One number per dimension; a single one is that of each."""
    numbers = tuple(int(n) for n in value) if isinstance(value, Sequence) else (int(str(value)),)
    return numbers * rank if len(numbers) == 1 else numbers
