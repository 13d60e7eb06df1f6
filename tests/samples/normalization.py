"""Statistics that are given, and statistics of rows."""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import bf16, f16, f32
from xdsl.ir import Attribute

from ranvier.dialects import nn
from samples import Array, Operand, Sample, const
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
    rows(4, 1, axis=1),
    rows(2, 5, 7, axis=2, element=bf16),
    rows(2, 5, 7, axis=1, element=f16),
    # Exponentials of 80 overflow unless the maximum is taken away first, f16 ones far before.
    rows(3, 17, axis=1, scale=20.0),
]
