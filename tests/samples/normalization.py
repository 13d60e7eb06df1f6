"""Statistics that are given, and statistics of rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32
from xdsl.ir import Attribute

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp
from samples import ANYWHERE, Array, Operand, Sample, const
from samples.oracles import by_onnx


def normalized(*operands: Array, epsilon: float) -> Array:
    return by_onnx("BatchNormalization", *operands, epsilon=epsilon)


def batch_norm(
    *shape: int, epsilon: float = 1e-5, element: Attribute = f32, constant: bool = True
) -> Sample:
    channels = shape[1:2]
    statistics = (
        Operand(channels, element, 0.5, 1.5),
        Operand(channels, element, -1.0, 1.0),
        Operand(channels, element, -0.5, 0.5),
        Operand(channels, element, 0.5, 2.0),
    )
    given = tuple(map(const, statistics)) if constant else statistics
    return Sample(
        nn.BatchNormOp, (Operand(shape, element), *given), normalized, {"epsilon": epsilon}
    )


def softmax(x: Array, *, axis: int) -> Array:
    powers = np.exp(x)
    return powers / np.expand_dims(np.sum(powers, axis), axis)


def rows(*shape: int, axis: int, element: Attribute = f32, scale: float = 3.0) -> Sample:
    return Sample(nn.SoftmaxOp, (Operand(shape, element, -scale, scale),), softmax, {"axis": axis})


def layer_norm(
    *shape: int, axis: int, epsilon: float = 1e-5, element: Attribute = f32, bias: bool = True
) -> Sample:
    inner = shape[axis:]
    operands = [Operand(shape, element), const(Operand(inner, element, 0.5, 1.5))]
    if bias:
        operands.append(const(Operand(inner, element)))
    return Sample(
        nn.LayerNormOp,
        tuple(operands),
        lambda *arrays, **p: by_onnx("LayerNormalization", *arrays, **p),
        {"axis": axis, "epsilon": epsilon},
    )


def root_mean_square(x: Array, scale: Array, *, axis: int, epsilon: float) -> Array:
    axes = tuple(range(axis, x.ndim))
    return x * scale * (np.mean(x * x, axes, keepdims=True) + epsilon) ** -0.5


def rms_norm(*shape: int, axis: int, epsilon: float = 1e-6, element: Attribute = f32) -> Sample:
    operands = Operand(shape, element), const(Operand(shape[axis:], element, 0.5, 1.5))
    properties = {"axis": axis, "epsilon": epsilon}
    return Sample(nn.RmsNormOp, operands, root_mean_square, properties)


def group_norm(*shape: int, groups: int, epsilon: float = 1e-5) -> Sample:
    channels = shape[1:2]
    operands = (Operand(shape), const(Operand(channels, low=0.5)), const(Operand(channels)))
    return Sample(
        nn.GroupNormOp,
        operands,
        lambda *arrays, groups, epsilon: by_onnx(
            "GroupNormalization", *arrays, num_groups=groups, epsilon=epsilon
        ),
        {"groups": groups, "epsilon": epsilon},
    )


def lp_normalize(*shape: int, axis: int, p: int) -> Sample:
    def oracle(x: Array, *, axis: int, p: int) -> Array:
        return x / np.linalg.norm(x, p, axis, keepdims=True)

    return Sample(
        nn.LpNormalizeOp, (Operand(shape),), oracle, {"axis": axis, "p": p}, host=ANYWHERE
    )


def local_response(x: Array, *, size: int, alpha: float, beta: float, bias: float) -> Array:
    """Channel by channel, as ONNX defines it."""
    before, after = (size - 1) // 2, size // 2
    total = np.empty_like(x)
    for c in range(x.shape[1]):
        total[:, c] = np.sum(x[:, max(0, c - before) : c + after + 1] ** 2, 1)
    return x / (bias + alpha / size * total) ** beta


def lrn(*shape: int, **properties: float) -> Sample:
    return Sample(nn.LrnOp, (Operand(shape),), local_response, properties, host=ANYWHERE)


def of_rows(op: type[TensorOp], op_type: str) -> list[Sample]:
    return [
        Sample(
            op,
            (Operand(shape),),
            lambda x, axis: by_onnx(op_type, x, axis=axis),
            {"axis": axis},
        )
        for shape, axis in (((3, 129), 1), ((5, 7), 0), ((2, 3, 4, 5), 1))
    ]


SAMPLES = [
    batch_norm(2, 5, 7),
    batch_norm(1, 129, 3, 5, epsilon=1e-3),
    batch_norm(8, 3, epsilon=0.1, constant=False),
    batch_norm(2, 4, 3, 3, element=bf16),
    batch_norm(2, 4, 3, 3, element=f16, constant=False),
    batch_norm(2, 3, 2, 3, 4),
    rows(3, 129, axis=1),
    rows(129, 7, axis=0),
    rows(2, 3, 5, 7, axis=1),
    rows(1, 513, axis=1),
    rows(33, axis=0),
    replace(rows(4, 1, axis=1), fixed=True),
    rows(2, 5, 7, axis=2, element=bf16),
    rows(2, 5, 7, axis=1, element=f16),
    # Exponentials of 80 overflow unless the maximum is taken away first, f16 ones far before.
    rows(3, 17, axis=1, scale=20.0),
    *of_rows(nn.LogSoftmaxOp, "LogSoftmax"),
    *of_rows(nn.HardmaxOp, "Hardmax"),
    # Rows longer than a tile, and few rows, which are cut across the partitions.
    rows(3, 50257, axis=1),
    rows(1, 2, 30000, axis=2),
    rows(40, 5001, axis=1),
    rows(4099, 3, axis=0),
    Sample(
        nn.LogSoftmaxOp,
        (Operand((33, 30001)),),
        lambda x, axis: by_onnx("LogSoftmax", x, axis=axis),
        {"axis": 1},
    ),
    layer_norm(33, 5003, axis=1),
    layer_norm(2, 5, 6000, axis=1),
    layer_norm(1, 30000, axis=1, bias=False),
    layer_norm(2, 3, 4, 5, axis=3, element=bf16),
    rms_norm(40, 9001, axis=1),
    rms_norm(2, 3, 5, axis=1, element=f16),
    group_norm(1, 32, 40, 50, groups=2),
    group_norm(2, 64, 9, 7, groups=32),
    group_norm(40, 6, 33, 35, groups=2),
    group_norm(1, 5, 60, 70, groups=5),
    layer_norm(3, 129, axis=1),
    layer_norm(2, 5, 7, axis=2, epsilon=1e-3, bias=False),
    layer_norm(2, 3, 5, axis=1),
    rms_norm(3, 129, axis=1),
    rms_norm(2, 3, 5, axis=2, epsilon=1e-2),
    group_norm(2, 6, 5, 7, groups=3),
    group_norm(1, 4, 9, groups=4, epsilon=1e-2),
    group_norm(2, 6, 5, groups=1),
    lp_normalize(3, 129, axis=1, p=2),
    lp_normalize(5, 7, axis=0, p=1),
    lrn(2, 7, 3, 5, size=3, alpha=0.5, beta=0.75, bias=1.0),
    lrn(1, 5, 4, size=4, alpha=0.1, beta=0.5, bias=2.0),
]
