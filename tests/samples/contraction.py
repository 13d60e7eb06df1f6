"""Products: batches, vectors, transposes; kernels, strides, paddings, dilations, groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32, i32
from xdsl.ir import Attribute

from ranvier.dialects import nn
from samples import BOTH, Array, Operand, Sample, const
from samples.oracles import by_onnx, framed

Shape = tuple[int, ...]


def product(lhs: Array, rhs: Array) -> Array:
    """Entry by entry: the sum over the contracted index."""
    rows = lhs if lhs.ndim > 1 else lhs[None]
    columns = rhs if rhs.ndim > 1 else rhs[:, None]
    total = np.einsum("...mk,...kn->...mn", rows, columns)
    if lhs.ndim == 1:
        total = total[..., 0, :]
    return total if rhs.ndim > 1 else total[..., 0]


def matmul(
    lhs: Shape,
    rhs: Shape,
    element: Attribute = f32,
    *,
    constant: bool = False,
    result: Attribute | None = None,
    host: tuple[str, ...] = (),
    slow: bool = False,
) -> Sample:
    a, b = Operand(lhs, element, -1.0, 1.0), Operand(rhs, element, -1.0, 1.0)
    return Sample(
        nn.MatmulOp,
        (a, const(b) if constant else b),
        product,
        result=result,
        host=host,
        slow=slow,
    )


MATMUL = [
    matmul((129, 127), (127, 65)),
    matmul((1, 513), (513, 128), constant=True),
    matmul((128, 1), (1, 129)),
    matmul((65, 128), (128, 513)),
    matmul((8, 5, 33), (33, 17), constant=True),
    matmul((2, 1, 4, 16), (3, 16, 5)),
    matmul((3, 7, 9), (3, 9, 1)),
    matmul((1, 2, 6, 8), (4, 1, 8, 3)),
    matmul((17,), (17, 5)),
    matmul((4, 5, 17), (17,)),
    matmul((129,), (129,)),
    matmul((9, 17), (17, 8), bf16, result=f32),
    matmul((9, 17), (17, 8), bf16),
    matmul((2, 9, 17), (2, 17, 8), f16),
    matmul((2, 9, 17), (17, 8), f16, result=f32),
    matmul((3, 5), (5, 4), i32, host=BOTH),
    matmul((640, 1153), (1153, 1031), constant=True, slow=True),
]


def gemm(
    addend: Shape | None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transpose: tuple[bool, bool] = (False, False),
    sizes: tuple[int, int, int] = (5, 33, 7),
    element: Attribute = f32,
    result: Attribute | None = None,
) -> Sample:
    m, k, n = sizes
    shapes = (k, m) if transpose[0] else (m, k), (n, k) if transpose[1] else (k, n)
    operands = [
        Operand(shapes[0], element, -1.0, 1.0),
        const(Operand(shapes[1], element, -1.0, 1.0)),
    ]
    if addend is not None:
        operands.append(Operand(addend, result or element))

    def oracle(*arrays: Array, **_: Any) -> Array:
        flags = {"transA": int(transpose[0]), "transB": int(transpose[1])}
        return by_onnx("Gemm", *arrays, alpha=alpha, beta=beta, **flags)

    properties = {
        "alpha": alpha,
        "beta": beta,
        "transpose_lhs": transpose[0],
        "transpose_rhs": transpose[1],
    }
    return Sample(nn.GemmOp, tuple(operands), oracle, properties, result)


GEMM = [
    gemm((7,)),
    gemm(None, alpha=0.5),
    gemm((5, 1), beta=0.25, transpose=(True, False)),
    gemm((), transpose=(False, True)),
    gemm((5, 7), alpha=2.0, beta=-1.0, transpose=(True, True)),
    gemm((129,), sizes=(8, 513, 129), transpose=(False, True)),
    gemm((7,), element=bf16, result=f32),
    gemm((7,), element=bf16),
    gemm((1, 7), element=f16, beta=0.5),
]


def convolved(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    strides: Shape,
    padding: Shape,
    dilations: Shape,
    groups: int,
) -> Array:
    """Tap by tap: each adds the image that it sees times its weights."""
    rank = len(strides)
    x = framed(x, padding[:rank], padding[rank:])
    n, filters, channels = len(x), *w.shape[:2]
    out = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, d, s in zip(x.shape[2:], w.shape[2:], dilations, strides, strict=True)
    ]
    total = np.zeros((n, filters, *out))
    for tap in np.ndindex(*w.shape[2:]):
        seen = tuple(
            slice(t * d, t * d + (count - 1) * s + 1, s)
            for t, d, s, count in zip(tap, dilations, strides, out, strict=True)
        )
        image = x[(..., *seen)].reshape(n, groups, channels, *out)
        kernel = w[(..., *tap)].reshape(groups, filters // groups, channels)
        total += np.einsum("ngc...,gfc->ngf...", image, kernel).reshape(total.shape)
    return total if bias is None else total + bias.reshape(-1, *[1] * rank)


def conv(
    x: Shape,
    w: Shape,
    *,
    strides: Sequence[int] = (),
    padding: Sequence[int] = (),
    dilations: Sequence[int] = (),
    groups: int = 1,
    bias: bool = True,
    element: Attribute = f32,
    result: Attribute | None = None,
    constant: bool = True,
    host: tuple[str, ...] = (),
    slow: bool = False,
) -> Sample:
    rank = len(x) - 2
    scale = (1.0 / np.prod(w[1:])) ** 0.5 * 2
    weight = Operand(w, element, -scale, scale)
    operands = [Operand(x, element), const(weight) if constant else weight]
    if bias:
        operands.append(const(Operand(w[:1], result or element)))
    properties = {
        "strides": tuple(strides) or (1,) * rank,
        "padding": tuple(padding) or (0,) * 2 * rank,
        "dilations": tuple(dilations) or (1,) * rank,
        "groups": groups,
    }
    return Sample(nn.ConvOp, tuple(operands), convolved, properties, result, host, slow)


CONV = [
    # Packed: few channels, taps share the partitions with them.
    conv((2, 3, 9, 11), (8, 3, 3, 3), padding=(1, 1, 1, 1)),
    conv((1, 3, 31, 29), (8, 3, 7, 7), strides=(2, 2), padding=(3, 3, 3, 3)),
    conv((1, 5, 8, 8), (129, 5, 3, 2), strides=(1, 2), padding=(0, 1, 2, 0), bias=False),
    conv((8, 1, 6, 5), (3, 1, 2, 3), dilations=(2, 1)),
    conv((2, 40, 5, 6), (6, 40, 5, 5), padding=(2, 2, 2, 2)),
    # Direct: a matmul for each tap.
    conv((1, 129, 5, 7), (127, 129, 1, 1)),
    conv((2, 65, 7, 6), (130, 65, 3, 3), padding=(1, 0, 2, 1), strides=(2, 1)),
    conv((1, 64, 9, 9), (4, 64, 3, 3), dilations=(2, 3), padding=(2, 3, 2, 3)),
    conv((8, 70, 1, 1), (5, 70, 1, 1), bias=False),
    conv((1, 128, 24, 24), (16, 128, 3, 3), padding=(1, 1, 1, 1)),
    # Strides over the kernel: some pixels are never read.
    conv((1, 64, 7, 7), (3, 64, 1, 1), strides=(3, 2)),
    conv((1, 2, 4, 3), (3, 2, 1, 2), strides=(5, 1), padding=(2, 0, 0, 0)),
    # The only window lies in the margin.
    replace(conv((1, 2, 1, 3), (3, 2, 1, 2), strides=(5, 1), padding=(2, 0, 0, 0)), fixed=True),
    replace(conv((2, 65, 1, 3), (3, 65, 1, 2), strides=(5, 1), padding=(2, 0, 0, 0)), fixed=True),
    # Groups, depthwise among them.
    conv((1, 6, 7, 7), (4, 3, 3, 3), groups=2, padding=(1, 1, 1, 1)),
    conv((2, 33, 6, 5), (33, 1, 3, 3), groups=33, padding=(1, 1, 1, 1), strides=(2, 2)),
    # One dimension.
    conv((2, 3, 33), (5, 3, 4), strides=(2,), padding=(1, 2)),
    conv((1, 65, 17), (7, 65, 3), dilations=(2,), padding=(2, 2)),
    # Types.
    conv((1, 3, 6, 6), (4, 3, 3, 3), element=bf16),
    conv((1, 3, 6, 6), (4, 3, 3, 3), element=bf16, result=f32),
    conv((1, 65, 6, 6), (4, 65, 3, 3), element=f16),
    # Holes so wide that outer taps read nothing but padding, which would not fit.
    conv((1, 64, 4, 3), (4, 64, 3, 3), dilations=(72, 36), padding=(72, 36, 72, 36)),
    conv((1, 2, 5), (3, 2, 5), strides=(3,), dilations=(40000,), padding=(40003, 120000)),
    # A negative padding is a slice, and then a convolution.
    conv((1, 3, 6, 6), (4, 3, 3, 3), padding=(-1, 0, 0, -1)),
    # Three dimensions, and kernels that are computed.
    conv((1, 2, 4, 5, 3), (3, 2, 2, 3, 2), strides=(1, 2, 1), padding=(1,) * 6),
    conv((2, 6, 3, 4, 5), (4, 3, 3, 2, 1), groups=2, dilations=(1, 2, 1), bias=False),
    conv((1, 3, 5, 3, 3), (3, 1, 2, 2, 2), groups=3, padding=(-1, 0, 1, 0, 0, 1)),
    conv((1, 3, 6, 6), (4, 3, 3, 3), constant=False),
    conv((2, 65, 5, 6), (7, 65, 2, 3), constant=False, padding=(1, 0, 0, 1)),
    conv((1, 6, 5, 5), (6, 1, 3, 3), groups=6, constant=False),
    conv((1, 9, 7), (6, 3, 4), groups=3, constant=False, bias=False),
    # Copies of the image below each other: kernel rows, parts of them, several of them.
    conv((1, 64, 6, 7), (5, 64, 3, 3), padding=(1, 1, 1, 1)),
    conv((2, 33, 7, 9), (5, 33, 4, 5), padding=(2, 3, 1, 0), strides=(2, 1)),
    conv((1, 40, 9, 8), (5, 40, 7, 1), padding=(3, 0, 3, 0)),
    conv((1, 12, 9, 8), (8, 3, 3, 3), groups=4, dilations=(1, 2), padding=(1, 2, 1, 2)),
    conv((1, 3, 224, 224), (64, 3, 7, 7), strides=(2, 2), padding=(3, 3, 3, 3), slow=True),
    conv((1, 256, 56, 56), (128, 256, 3, 3), padding=(1, 1, 1, 1), slow=True),
]


def scattered_taps(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    strides: Shape,
    padding: Shape,
    dilations: Shape,
    groups: int,
) -> Array:
    """As a convolution of the image with zeros between its pixels and the turned kernel."""
    rank, taps = len(strides), w.shape[2:]
    spread = [(size - 1) * s + 1 for size, s in zip(x.shape[2:], strides, strict=True)]
    stretched = np.zeros((*x.shape[:2], *spread))
    stretched[(..., *(slice(None, None, s) for s in strides))] = x
    turned = w[(..., *[slice(None, None, -1)] * rank)]
    turned = (
        turned.reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2).reshape(-1, len(w) // groups, *taps)
    )
    full = [(k - 1) * d for k, d in zip(taps, dilations, strict=True)]
    margin = [f - cut for f, cut in zip([*full, *full], padding, strict=True)]
    once = (1,) * rank
    return convolved(
        stretched,
        turned,
        bias,
        strides=once,
        padding=tuple(margin),
        dilations=dilations,
        groups=groups,
    )


def conv_transpose(x: Shape, w: Shape, **where: Any) -> Sample:
    sample = conv(x, (w[1] * where.get("groups", 1), *w[1:]), **where)
    image, weight, *rest = sample.operands
    operands = (image, replace(weight, shape=w), *rest)
    return replace(sample, op=nn.ConvTransposeOp, operands=operands, oracle=scattered_taps)


CONV_TRANSPOSE = [
    conv_transpose((1, 3, 5, 6), (3, 4, 3, 3), strides=(2, 2), padding=(1, 1, 1, 1)),
    conv_transpose((2, 4, 4, 3), (4, 2, 2, 3), groups=2, dilations=(2, 1), bias=False),
    conv_transpose((1, 2, 7), (2, 3, 4), strides=(3,), padding=(0, -1)),
    conv_transpose((2, 65, 3, 4), (65, 5, 2, 2), strides=(2, 2)),
    conv_transpose((1, 129, 5, 4), (129, 33, 4, 4), strides=(2, 2), padding=(1, 1, 1, 1)),
    # Strides over the kernel: some results are the bias. A dilation that the stride divides, too.
    conv_transpose((1, 3, 4, 3), (3, 2, 1, 2), strides=(3, 4), padding=(1, 0, -2, 0)),
    conv_transpose((1, 3, 4, 5), (3, 2, 3, 2), strides=(2, 3), dilations=(2, 2), bias=False),
    # More is cut off than one element of the operand makes; what is left lies beyond it.
    conv_transpose((1, 2, 3, 2), (2, 3, 2, 2), strides=(1, 2), padding=(2, 3, 1, -3)),
    conv_transpose((1, 6, 4, 4), (6, 1, 3, 3), strides=(2, 2), groups=6, padding=(1, 1, 0, 0)),
    conv_transpose((1, 4, 5, 3), (4, 3, 3, 3), strides=(2, 1), constant=False),
    conv_transpose((1, 3, 2, 3, 2), (3, 2, 3, 2, 3), strides=(2, 1, 2), padding=(1, 0, 1, 0, 0, 0)),
    conv_transpose((2, 4, 3, 2, 2), (4, 2, 2, 2, 1), strides=(3, 2, 1), groups=2),
    conv_transpose((1, 4, 5, 3), (4, 3, 3, 3), element=bf16, result=f32),
]


def over_all_labels(*operands: Array, equation: str) -> Array:
    """The product for every index of every label at once, then the sum over those left out."""
    terms, out = equation.split("->")
    parts = list(zip(terms.split(","), operands, strict=True))
    sizes: dict[str, int] = {}
    for term, operand in parts:
        for label, size in zip(term, operand.shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    labels = [*out, *sorted(sizes.keys() - set(out))]
    grid = dict(zip(labels, np.indices([sizes[label] for label in labels]), strict=True))
    product = np.ones([sizes[label] for label in labels])
    for term, operand in parts:
        index = [grid[x] if n > 1 else 0 * grid[x] for x, n in zip(term, operand.shape)]
        product = product * operand[tuple(index)]
    return product.sum(tuple(range(len(out), len(labels))))


def einsum(equation: str, *shapes: Shape) -> Sample:
    operands = tuple(Operand(shape, low=-1.0, high=1.0) for shape in shapes)
    return Sample(nn.EinsumOp, operands, over_all_labels, {"equation": equation})


EINSUM = [
    einsum("bij,bjk->bik", (2, 5, 33), (2, 33, 7)),
    einsum("ij,kj->ki", (5, 17), (7, 17)),
    einsum("bhqd,bhkd->bhqk", (2, 3, 5, 8), (2, 3, 4, 8)),
    einsum("i,j->ij", (5,), (7,)),
    # One operand: a transpose, a sum, a trace, diagonals.
    einsum("ijk->kij", (2, 3, 4)),
    einsum("ijk->j", (2, 3, 4)),
    einsum("ii->", (6, 6)),
    einsum("bii->ib", (3, 5, 5)),
    einsum("ijij->ji", (3, 4, 3, 4)),
    einsum("iii->i", (5, 5, 5)),
    # Labels that only one operand has, dimensions of 1 that repeat, nothing to sum.
    einsum("ii,ij->j", (6, 6), (6, 5)),
    einsum("ijk,jl->il", (2, 3, 4), (3, 5)),
    einsum("bij,bjk->bik", (4, 2, 3), (1, 3, 5)),
    einsum("ij,j->i", (3, 1), (4,)),
    einsum("bi,bi->b", (3, 7), (3, 7)),
    einsum("bi,bi->bi", (3, 7), (3, 7)),
    einsum("i,i->", (9,), (9,)),
    # Three operands and more.
    einsum("bi,ij,bj->b", (3, 4), (4, 5), (3, 5)),
    einsum("i,j,k->kij", (2,), (3,), (4,)),
    einsum("ab,bc,cd,de->ae", (2, 3), (3, 4), (4, 5), (5, 2)),
    einsum("bhqk,bkhd,bq->bqhd", (2, 3, 4, 5), (2, 5, 3, 6), (2, 4)),
]

SAMPLES = [*MATMUL, *GEMM, *CONV, *CONV_TRANSPOSE, *EINSUM]
