"""Products that sum: convolution and matrix multiplication."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import BoolAttr, DenseArrayBase, FloatAttr, IntegerAttr, StringAttr
from xdsl.ir import Attribute
from xdsl.irdl import (
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects.interfaces import Array, HasPrecision, Precision, Work, ints
from ranvier.dialects.nn.shapes import broadcast_shapes, format_shape, windowed_shape
from ranvier.dialects.nn.types import (
    Tensor,
    TensorOp,
    accumulates_into,
    element_of,
    shape_of,
    size_of,
    tensor,
)


class ContractionOp(TensorOp):
    """A product of two operands of one element type; narrow floats may accumulate into f32."""

    traits = traits_def(Pure(), HasPrecision(Precision.NARROW))

    def element_types_agree(self, inferred: Attribute, declared: Attribute) -> bool:
        return accumulates_into(inferred, declared)

    def product_element(self) -> Attribute:
        if (element := element_of(self.operands[0])) != element_of(self.operands[1]):
            raise VerifyException(
                f"element types differ: {self.operands[0].type} and {self.operands[1].type}"
            )
        return element

    def check_addend(self, addend: Attribute) -> None:
        """A bias joins the sum in the operands' element type or in that of the accumulator."""
        if not accumulates_into(self.product_element(), addend):
            raise VerifyException(
                f"a bias of {addend} does not join a sum of {self.product_element()}"
            )


@irdl_op_definition
class MatmulOp(ContractionOp):
    """Matrix product over the last two dimensions, `…xMxK . …xKxN -> …xMxN`; the rest broadcast.

    A rank-1 operand is a row on the left and a column on the right, as in `numpy.matmul`.
    """

    name = "nn.matmul"
    lhs = operand_def()
    rhs = operand_def()
    result = result_def()

    def infer(self) -> Sequence[Tensor]:
        lhs, rhs = shape_of(self.lhs), shape_of(self.rhs)
        if not lhs or not rhs:
            raise VerifyException("a matrix product takes tensors of rank 1 and above")
        rows, columns = lhs[-2:-1], rhs[-1:] if len(rhs) > 1 else ()
        k, k_rhs = lhs[-1], rhs[max(0, len(rhs) - 2)]
        if k != k_rhs:
            raise VerifyException(
                f"contracted dimensions differ: lhs has {k} columns, rhs has {k_rhs} rows"
            )
        batch = broadcast_shapes(lhs[:-2], rhs[:-2])
        return (tensor(batch + rows + columns, self.product_element()),)

    def evaluate(self, *operands: Array) -> Array:
        return np.matmul(*operands)

    def work(self) -> Work:
        return Work(macs=size_of(self.result) * shape_of(self.lhs)[-1])


@irdl_op_definition
class GemmOp(ContractionOp):
    """`alpha * A' . B' + beta * C`, where `'` transposes if its flag is set and C broadcasts."""

    name = "nn.gemm"
    lhs = operand_def()
    rhs = operand_def()
    addend = opt_operand_def()
    result = result_def()
    alpha = prop_def(FloatAttr)
    beta = prop_def(FloatAttr)
    transpose_lhs = prop_def(BoolAttr)
    transpose_rhs = prop_def(BoolAttr)

    def infer(self) -> Sequence[Tensor]:
        lhs, rhs = shape_of(self.lhs), shape_of(self.rhs)
        if len(lhs) != 2 or len(rhs) != 2:
            raise VerifyException(
                f"gemm takes two matrices, got {format_shape(lhs)} and {format_shape(rhs)}"
            )
        m, k = reversed(lhs) if self.get("transpose_lhs") else lhs
        k_rhs, n = reversed(rhs) if self.get("transpose_rhs") else rhs
        if k != k_rhs:
            raise VerifyException(
                f"contracted dimensions differ: lhs has {k} columns, rhs has {k_rhs} rows"
            )
        if self.addend is not None:
            self.check_addend(element_of(self.addend))
            if broadcast_shapes(shape_of(self.addend), (m, n)) != (m, n):
                raise VerifyException(f"addend {self.addend.type} does not broadcast to {m}x{n}")
        return (tensor((m, n), self.product_element()),)

    def evaluate(self, *operands: Array) -> Array:
        lhs = operands[0].T if self.get("transpose_lhs") else operands[0]
        rhs = operands[1].T if self.get("transpose_rhs") else operands[1]
        result = self.get("alpha") * (lhs @ rhs)
        return result + self.get("beta") * operands[2] if len(operands) == 3 else result

    def work(self) -> Work:
        return Work(
            macs=size_of(self.result) * size_of(self.lhs) // max(1, shape_of(self.result)[0])
        )


@irdl_op_definition
class ConvOp(ContractionOp):
    """Convolution over 1 to 3 spatial dimensions (cross-correlation, as in ONNX and PyTorch).

    `NxCx… , OxC/gx… , O? -> NxOx…`; `padding` holds all lows, then all highs, in elements.
    """

    name = "nn.conv"
    operand = operand_def()
    weight = operand_def()
    bias = opt_operand_def()
    result = result_def()
    strides = prop_def(DenseArrayBase)
    padding = prop_def(DenseArrayBase)
    dilations = prop_def(DenseArrayBase)
    groups = prop_def(IntegerAttr)

    def infer(self) -> Sequence[Tensor]:
        x, w = shape_of(self.operand), shape_of(self.weight)
        groups: int = self.get("groups")
        if not 3 <= len(x) <= 5 or len(w) != len(x):
            raise VerifyException(
                f"convolution takes operand and weight of one rank from 3 to 5, got "
                f"{format_shape(x)} and {format_shape(w)}"
            )
        if groups < 1 or x[1] != w[1] * groups or w[0] % groups:
            raise VerifyException(
                f"{x[1]} channels in {groups} groups do not fit a weight of {format_shape(w)}"
            )
        if self.bias is not None:
            self.check_addend(element_of(self.bias))
            if shape_of(self.bias) != w[:1]:
                raise VerifyException(f"bias {self.bias.type} does not fit {w[0]} output channels")
        spatial = windowed_shape(
            x[2:], w[2:], ints(self.strides), ints(self.padding), ints(self.dilations)
        )
        return (tensor((x[0], w[0], *spatial), self.product_element()),)

    def evaluate(self, *operands: Array) -> Array:
        x, w = operands[:2]
        rank, groups = x.ndim - 2, int(self.get("groups"))
        view = windows(x, w.shape[2:], ints(self.strides), ints(self.padding), ints(self.dilations))
        outputs = [
            np.tensordot(xs, ws, (((1, *range(2 + rank, 2 + 2 * rank))), tuple(range(1, 2 + rank))))
            for xs, ws in zip(np.split(view, groups, 1), np.split(w, groups, 0), strict=True)
        ]
        result = np.moveaxis(np.concatenate(outputs, -1), -1, 1)
        if len(operands) == 3:
            result = result + operands[2].reshape(-1, *(1,) * rank)
        return result

    def work(self) -> Work:
        return Work(macs=size_of(self.result) * prod(shape_of(self.weight)[1:]))


@irdl_op_definition
class ConvTransposeOp(ContractionOp):
    """Transposed convolution over 1 to 3 spatial dimensions: the gradient of a convolution.

    `NxCx… , CxO/gx… , O? -> NxOx…`. Every element adds its multiple of the kernel, `strides` apart;
    `padding` holds how much is cut off: all lows, then all highs, where a negative high grows.
    """

    name = "nn.conv_transpose"
    operand = operand_def()
    weight = operand_def()
    bias = opt_operand_def()
    result = result_def()
    strides = prop_def(DenseArrayBase)
    padding = prop_def(DenseArrayBase)
    dilations = prop_def(DenseArrayBase)
    groups = prop_def(IntegerAttr)

    def infer(self) -> Sequence[Tensor]:
        x, w, groups = shape_of(self.operand), shape_of(self.weight), int(self.get("groups"))
        if not 3 <= len(x) <= 5 or len(w) != len(x):
            raise VerifyException(
                f"conv_transpose takes operand and weight of one rank from 3 to 5, got "
                f"{format_shape(x)} and {format_shape(w)}"
            )
        if groups < 1 or x[1] != w[0] or x[1] % groups:
            raise VerifyException(
                f"{x[1]} channels in {groups} groups do not fit a weight of {format_shape(w)}"
            )
        channels = w[1] * groups
        if self.bias is not None:
            self.check_addend(element_of(self.bias))
            if shape_of(self.bias) != (channels,):
                raise VerifyException(
                    f"bias {self.bias.type} does not fit {channels} output channels"
                )
        cut = ints(self.padding)
        rank = len(x) - 2
        grown = self.grown_shape()
        if len(cut) != 2 * rank:
            raise VerifyException(f"{rank} dimensions take {2 * rank} paddings, got {len(cut)}")
        spatial = tuple(grown[d] - cut[d] - cut[rank + d] for d in range(rank))
        if min((*spatial, *cut[:rank])) < 0:
            raise VerifyException(f"cutting {list(cut)} off {format_shape(grown)} leaves nothing")
        return (tensor((x[0], channels, *spatial), self.product_element()),)

    def grown_shape(self) -> tuple[int, ...]:
        """The spatial shape before anything is cut off."""
        x, w = shape_of(self.operand)[2:], shape_of(self.weight)[2:]
        strides, dilations = ints(self.strides), ints(self.dilations)
        if not len(x) == len(strides) == len(dilations) or min((*strides, *dilations)) < 1:
            raise VerifyException(
                f"{len(x)} dimensions take as many strides and dilations of at least 1, got "
                f"{list(strides)} and {list(dilations)}"
            )
        return tuple(
            (size - 1) * stride + (taps - 1) * dilation + 1
            for size, taps, stride, dilation in zip(x, w, strides, dilations, strict=True)
        )

    def evaluate(self, *operands: Array) -> Array:
        x, w = operands[:2]
        groups, rank = int(self.get("groups")), x.ndim - 2
        products = np.concatenate(
            [  # NxX…xO/gxK…
                np.moveaxis(np.tensordot(xs, ws, (1, 0)), 1 + rank, 1)
                for xs, ws in zip(np.split(x, groups, 1), np.split(w, groups, 0), strict=True)
            ],
            1,
        )
        cut = ints(self.padding)
        highs = [max(0, -high) for high in cut[rank:]]
        grown = [size + high for size, high in zip(self.grown_shape(), highs, strict=True)]
        result = np.zeros((*products.shape[:2], *grown), products.dtype)
        for tap in np.ndindex(*w.shape[2:]):
            places = tuple(
                slice(t * d, t * d + (size - 1) * s + 1, s)
                for t, d, s, size in zip(
                    tap, ints(self.dilations), ints(self.strides), x.shape[2:], strict=True
                )
            )
            result[(..., *places)] += products[(..., *tap)]
        kept = tuple(
            slice(low, size - max(0, high))
            for size, low, high in zip(grown, cut[:rank], cut[rank:], strict=True)
        )
        result = result[(..., *kept)]
        return result + operands[2].reshape(-1, *(1,) * rank) if len(operands) == 3 else result

    def work(self) -> Work:
        return Work(macs=size_of(self.operand) * prod(shape_of(self.weight)[1:]))


@irdl_op_definition
class EinsumOp(TensorOp):
    """Sum of products over the labels that `equation`, such as `bij,bjk->bik`, leaves out.

    One letter per dimension, no ellipsis. A label may repeat within an operand, which takes its
    diagonal; a dimension of 1 fits any size of its label.
    """

    name = "nn.einsum"
    factors = var_operand_def()
    result = result_def()
    equation = prop_def(StringAttr)

    traits = traits_def(Pure(), HasPrecision(Precision.WIDE))

    def terms(self) -> tuple[list[str], str]:
        """The labels of each operand, and of the result."""
        text = self.equation.data
        match = re.fullmatch("([a-zA-Z,]*)->([a-zA-Z]*)", text)
        if match is None or len(set(match[2])) < len(match[2]):
            raise VerifyException(f"'{text}' is no equation")
        terms = match[1].split(",")
        if len(terms) != len(self.operands):
            raise VerifyException(
                f"'{text}' has {len(terms)} terms for {len(self.operands)} operands"
            )
        return terms, match[2]

    def sizes(self) -> dict[str, int]:
        """The size of each label."""
        sizes: dict[str, int] = {}
        for labels, operand in zip(self.terms()[0], self.operands, strict=True):
            if len(labels) != len(shape_of(operand)):
                raise VerifyException(f"'{labels}' does not label the dimensions of {operand.type}")
            for label, size in zip(labels, shape_of(operand), strict=True):
                known = sizes.get(label, 1)
                if 1 not in (known, size) and size != known:
                    raise VerifyException(f"label '{label}' is {known} and {size}")
                sizes[label] = size if known == 1 else known
        return sizes

    def infer(self) -> Sequence[Tensor]:
        sizes, (_, labels) = self.sizes(), self.terms()
        if unknown := set(labels) - sizes.keys():
            raise VerifyException(f"label '{min(unknown)}' is of no operand")
        elements = {element_of(operand) for operand in self.operands}
        if len(elements) != 1:
            given = ", ".join(str(operand.type) for operand in self.operands)
            raise VerifyException(f"element types differ: {given}")
        return (tensor(tuple(sizes[label] for label in labels), elements.pop()),)

    def evaluate(self, *operands: Array) -> Array:
        optimize = len(operands) > 2  # pairwise: else a loop over all labels at once
        return np.asarray(np.einsum(self.equation.data, *operands, optimize=optimize))

    def work(self) -> Work:
        return Work(macs=prod(self.sizes().values()))


def windows(
    x: Array,
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    dilations: Sequence[int],
    fill: float = 0.0,
) -> Array:
    """View `NxCx…` as `NxCx(positions)x(taps)`: every window of the padded spatial dimensions."""
    rank = len(kernel)
    margins = [(0, 0), (0, 0), *zip(padding[:rank], padding[rank:], strict=True)]
    if any(low or high for low, high in margins):
        kept = tuple(
            slice(max(0, -low), s - max(0, -high))
            for s, (low, high) in zip(x.shape, margins, strict=True)
        )
        grown = [(max(0, low), max(0, high)) for low, high in margins]
        x = np.pad(x[kept], grown, constant_values=fill)
    extents = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, extents, tuple(range(2, 2 + rank)))
    steps = (slice(None), slice(None), *(slice(None, None, s) for s in strides))
    taps = tuple(slice(None, None, d) for d in dilations)
    return view[steps + taps]
