"""Convolution and matrix products of ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from string import ascii_letters

from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from ranvier.dialects import nn
from ranvier.dialects.nn.shapes import Shape
from ranvier.dialects.nn.types import TensorOp
from ranvier.importers.onnx.node import Node, NotInNn, onnx_op
from ranvier.importers.semantics import AutoPad, Window, automatic_padding

ROWS: dict[str, type[TensorOp]] = {"MatMul": nn.MatmulOp}


@onnx_op("Conv")
def import_conv(node: Node) -> SSAValue:
    window = window_of(node, node.shape(1)[2:])
    bias = node.optional(2)
    return node.build(
        nn.ConvOp(
            *(node.operand(0), node.operand(1), *([] if bias is None else [bias])),
            strides=window.strides,
            padding=padding_of(node, window),
            dilations=window.dilations,
            groups=int(node.attribute("group", 1)),
        )
    )


@onnx_op("Gemm")
def import_gemm(node: Node) -> SSAValue:
    addend = node.optional(2)
    return node.build(
        nn.GemmOp(
            *(node.operand(0), node.operand(1), *([] if addend is None else [addend])),
            alpha=float(node.attribute("alpha", 1.0)),
            beta=float(node.attribute("beta", 1.0)),
            transpose_lhs=bool(node.attribute("transA", 0)),
            transpose_rhs=bool(node.attribute("transB", 0)),
        )
    )


@onnx_op("ConvTranspose")
def import_conv_transpose(node: Node) -> SSAValue:
    window = window_of(node, node.shape(1)[2:])
    bias = node.optional(2)
    return node.build(
        nn.ConvTransposeOp(
            *(node.operand(0), node.operand(1), *([] if bias is None else [bias])),
            strides=window.strides,
            padding=cut_of(node, window),
            dilations=window.dilations,
            groups=int(node.attribute("group", 1)),
        )
    )


def cut_of(node: Node, window: Window) -> Shape:
    """What a transposed convolution cuts off: `pads`, less what `output_padding` adds after.

    A stated `output_shape`, and SAME, which stands for `size * stride`, decide it otherwise.
    """
    rank = len(window.size)
    extra = node.ints("output_padding") or (0,) * rank
    grown = [
        (size - 1) * stride + extent + more
        for size, stride, extent, more in zip(
            window.size, window.strides, window.extents(), extra, strict=True
        )
    ]
    automatic: str = node.attribute("auto_pad", "NOTSET")
    wanted = node.ints("output_shape")
    if wanted is None and automatic.startswith("SAME"):
        wanted = tuple(s * stride for s, stride in zip(window.size, window.strides, strict=True))
    if wanted is None:
        pads = padding_of(node, window) if automatic == "NOTSET" else (0,) * (2 * rank)
        return (*pads[:rank], *(high - more for high, more in zip(pads[rank:], extra, strict=True)))
    totals = [size - want for size, want in zip(grown, wanted[-rank:], strict=True)]
    smaller = [max(0, total) // 2 for total in totals]
    larger = [max(0, total) - less for total, less in zip(totals, smaller, strict=True)]
    lows = smaller if automatic == "SAME_UPPER" else larger
    highs = [total - low - more for total, low, more in zip(totals, lows, extra, strict=True)]
    return (*lows, *highs)


@onnx_op("Einsum")
def import_einsum(node: Node) -> SSAValue:
    """A matrix product between reshapes and transposes where it is one, else `nn.einsum`."""
    if len(node.inputs) != 2:
        raise NotInNn
    ranks = [node.rank(), len(node.shape(1))]
    left, right, out = equation_terms(node.attribute("equation", ""), ranks)
    shared = set(left) & set(right)
    alone = (set(left) ^ set(right)) - set(out)
    if alone or any(len(set(term)) < len(term) for term in (left, right, out)):
        equation = f"{left},{right}->{out}"
        return node.build(nn.EinsumOp(node.operand(0), node.operand(1), equation=equation))
    batch = [label for label in out if label in shared]
    summed = [label for label in left if label in shared and label not in out]
    rows = [label for label in left if label not in shared]
    columns = [label for label in right if label not in shared]
    sizes = dict(zip(left + right, node.shape() + node.shape(1), strict=True))
    lhs = grouped(node, node.operand(0), left, (batch, rows, summed), sizes)
    rhs = grouped(node, node.operand(1), right, (batch, summed, columns), sizes)
    product = node.build(nn.MatmulOp(lhs, rhs))
    labels = [*batch, *rows, *columns]
    value = node.build(nn.ReshapeOp(product, shape=[sizes[label] for label in labels]))
    return ordered(node, value, labels, out)


def equation_terms(equation: str, ranks: Sequence[int]) -> tuple[str, str, str]:
    """The labels of two operands and the result, without blanks, ellipses and implicit results."""
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    unused = [c for c in ascii_letters if c not in equation]
    extra = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    spread = "".join(unused[: max(extra)]) if "..." in equation else ""
    if "..." in equation and len({e for e, t in zip(extra, terms, strict=True) if "..." in t}) > 1:
        raise NotInNn  # dimensions of an ellipsis that broadcast
    if not arrow:
        letters = "".join(terms).replace(".", "")
        once = sorted(label for label in set(letters) if letters.count(label) == 1)
        out = ("..." if spread else "") + "".join(once)
    left, right, result = (term.replace("...", spread) for term in (*terms, out))
    return left, right, result


def grouped(
    node: Node,
    value: SSAValue,
    labels: str,
    groups: Sequence[Sequence[str]],
    sizes: Mapping[str, int],
) -> SSAValue:
    """One dimension per group of labels."""
    value = ordered(node, value, labels, [label for group in groups for label in group])
    shape = [prod(sizes[label] for label in group) for group in groups]
    return node.build(nn.ReshapeOp(value, shape=shape))


def ordered(node: Node, value: SSAValue, labels: Sequence[str], wanted: Sequence[str]) -> SSAValue:
    if list(labels) == list(wanted):
        return value
    permutation = [labels.index(label) for label in wanted]
    return node.build(nn.TransposeOp(value, permutation=permutation))


def window_of(node: Node, kernel: Shape) -> Window:
    """The geometry that the attributes of a convolution or a pool describe."""
    ones = (1,) * (node.rank() - 2)
    return Window(
        node.shape()[2:],
        node.ints("kernel_shape") or kernel,
        node.ints("strides") or ones,
        node.ints("dilations") or ones,
    )


def padding_of(node: Node, window: Window) -> Shape:
    """Explicit `pads`, or those that `auto_pad` stands for."""
    automatic: str = node.attribute("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        pads = node.ints("pads") or (0,) * (2 * len(window.size))
        if len(pads) != 2 * len(window.size):
            raise VerifyException(f"{len(window.size)} dimensions take twice as many pads: {pads}")
        return pads
    if automatic not in AutoPad.__members__:
        raise VerifyException(f"auto_pad is NOTSET or {', '.join(AutoPad.__members__)}")
    return automatic_padding(window, AutoPad(automatic))
