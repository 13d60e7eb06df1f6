"""Small modules of several ops: what fusion, segments and stages meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import FunctionType, ModuleOp, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import tensor
from samples import Array

Shape = tuple[int, ...]


class Body:
    """Adds ops to `@main` and weights to the module."""

    def __init__(self, main: FuncOp) -> None:
        self.main = main
        self.weights: list[Operation] = []

    def __call__(self, op: Operation) -> SSAValue:
        self.main.body.block.add_op(op)
        return op.results[0]

    def weight(self, *shape: int) -> SSAValue:
        """A weight of deviation `1/sqrt(fan_in)`."""
        number = len(self.weights)
        self.weights.append(nn.WeightOp(f"w{number}", tensor(shape, f32), seed=number))
        return self(nn.LoadWeightOp(f"w{number}", tensor(shape, f32)))

    def conv(self, x: SSAValue, filters: int, channels: int, kernel: int = 1) -> SSAValue:
        """A convolution that keeps the size of an image."""
        weight, bias = self.weight(filters, channels, kernel, kernel), self.weight(filters)
        margin = (kernel // 2,) * 4
        window = {"strides": (1, 1), "padding": margin, "dilations": (1, 1), "groups": 1}
        return self(nn.ConvOp(x, weight, bias, **window))


def residual(body: Body, x: SSAValue) -> list[SSAValue]:
    """Convolutions whose sum is rectified, pooled and classified."""
    stem = body(nn.ReluOp(body.conv(x, 16, 3, 3)))
    inner = body(nn.ReluOp(body.conv(stem, 16, 16, 3)))
    total = body(nn.ReluOp(body(nn.AddOp(body.conv(inner, 16, 16), stem))))
    mean = body(nn.ReduceMeanOp(total, axes=(2, 3), keepdims=False))
    logits = body(nn.MatmulOp(mean, body.weight(16, 10)))
    return [body(nn.SoftmaxOp(logits, axis=1))]


def attention(body: Body, x: SSAValue) -> list[SSAValue]:
    """One head over 33 tokens, with its residual."""
    query, key, value = (body(nn.MatmulOp(x, body.weight(24, 24))) for _ in range(3))
    scores = body(nn.MatmulOp(query, body(nn.TransposeOp(key, permutation=(0, 2, 1)))))
    scaled = body(nn.MulOp(scores, body(nn.ConstantOp(np.array(24**-0.5, np.float32)))))
    mixed = body(nn.MatmulOp(body(nn.SoftmaxOp(scaled, axis=2)), value))
    return [body(nn.AddOp(mixed, x))]


def branches(body: Body, x: SSAValue) -> list[SSAValue]:
    """Results from the middle and the end; a value that later ops read twice."""
    first = body(nn.TanhOp(body.conv(x, 5, 3)))
    joined = body(nn.ConcatOp(first, x, axis=1))
    pooled = body(
        nn.MaxPoolOp(joined, kernel=(2, 2), strides=(2, 2), padding=(0, 1, 1, 0), dilations=(1, 1))
    )
    gate = body(nn.SigmoidOp(pooled))
    return [body(nn.MulOp(pooled, gate)), first, body(nn.SubOp(gate, pooled))]


@dataclass(frozen=True)
class Network:
    """A builder and the shape of its input."""

    build: Callable[[Body, SSAValue], list[SSAValue]]
    shape: Shape

    @property
    def name(self) -> str:
        return self.build.__name__

    def module(self) -> ModuleOp:
        main = FuncOp("main", ([tensor(self.shape, f32)], []))
        body = Body(main)
        results = self.build(body, main.args[0])
        main.body.block.add_op(ReturnOp(*results))
        types = [result.type for result in results]
        main.function_type = FunctionType.from_lists(list(main.function_type.inputs), types)
        return ModuleOp([*body.weights, main])

    def inputs(self, seed: int) -> dict[str, Array]:
        random = np.random.default_rng(seed)
        return {"arg0": random.standard_normal(self.shape).astype(np.float32)}


NETWORKS = [
    Network(residual, (2, 3, 9, 11)),
    Network(attention, (2, 33, 24)),
    Network(branches, (1, 3, 7, 6)),
]
