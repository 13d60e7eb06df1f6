"""Small symbols as MXNet writes them, with arrays, and what NumPy says that they compute."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ranvier.importers.mxnet.symbol import Entry, SymbolGraph, SymbolNode, output_offsets
from ranvier.mxnet import NDArray, Symbol

Array = np.ndarray[Any, np.dtype[Any]]
RANDOM = np.random.default_rng(0)


@dataclass
class Net:
    """A symbol under construction, and the arrays of its variables."""

    nodes: list[SymbolNode] = field(default_factory=list[SymbolNode])
    args: dict[str, NDArray] = field(default_factory=dict[str, NDArray])
    aux: dict[str, NDArray] = field(default_factory=dict[str, NDArray])

    def variable(self, name: str, array: Array | None = None, *, state: bool = False) -> Entry:
        self.nodes.append(SymbolNode("null", name))
        if array is not None:
            (self.aux if state else self.args)[name] = NDArray(array)
        return Entry(len(self.nodes) - 1)

    def op(self, op: str, name: str, *inputs: Entry, **attrs: object) -> Entry:
        texts = {key: str(value) for key, value in attrs.items()}
        self.nodes.append(SymbolNode(op, name, list(inputs), texts))
        return Entry(len(self.nodes) - 1)

    def dense(self, name: str, data: Entry, inputs: int, outputs: int) -> Entry:
        weight = self.variable(f"{name}_weight", normal(outputs, inputs))
        bias = self.variable(f"{name}_bias", normal(outputs))
        return self.op("FullyConnected", name, data, weight, bias, num_hidden=outputs)

    def symbol(self, *heads: Entry) -> Symbol:
        graph = SymbolGraph(self.nodes, list(heads), [], {"mxnet_version": ["int", 10901]})
        graph.row_ptr = output_offsets(graph)
        return Symbol(graph.selected(list(heads)))


def normal(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def perceptron() -> tuple[Net, Symbol]:
    """`data` 2x6 to two layers, a dropout between: `fc1 relu drop fc2`."""
    net = Net()
    hidden = net.dense("fc1", net.variable("data"), 6, 5)
    active = net.op("Activation", "act", hidden, act_type="relu")
    drop = net.op("Dropout", "drop", active, p=0.5)
    return net, net.symbol(net.dense("fc2", drop, 5, 3))


def perceptron_in_numpy(net: Net, data: Array) -> Array:
    weights = {name: array.asnumpy() for name, array in net.args.items()}
    hidden = np.maximum(data @ weights["fc1_weight"].T + weights["fc1_bias"], 0)
    return hidden @ weights["fc2_weight"].T + weights["fc2_bias"]


def convolutions() -> tuple[Net, Symbol]:
    """`data` 1x3x8x8 to convolution, batch norm, a branch that joins again, pooling and a loss."""
    net = Net()
    weight = net.variable("conv/0:w", normal(4, 3, 3, 3))
    conv = net.op(
        *("Convolution", "conv/0:0", net.variable("data"), weight),
        **{"kernel": "(3, 3)", "pad": "(1, 1)", "num_filter": 4, "no_bias": "True"},
    )
    gamma, beta = net.variable("bn_gamma", normal(4) + 2), net.variable("bn_beta", normal(4))
    mean = net.variable("bn_mean", normal(4), state=True)
    variance = net.variable("bn_var", normal(4) ** 2 + 1, state=True)
    norm = net.op("BatchNorm", "bn", conv, gamma, beta, mean, variance, eps=1e-5, fix_gamma="False")
    left = net.op("Activation", "left", norm, act_type="sigmoid")
    joined = net.op("elemwise_add", "joined", left, norm)
    pooled = net.op("Pooling", "pool", joined, global_pool="True", pool_type="avg", kernel="(1, 1)")
    flat = net.op("Flatten", "flat", pooled)
    scores = net.dense("fc", flat, 4, 3)
    return net, net.symbol(net.op("SoftmaxOutput", "softmax", scores, net.variable("label")))


def convolutions_in_numpy(net: Net, data: Array) -> Array:
    arrays = {name: array.asnumpy() for name, array in (net.args | net.aux).items()}
    padded = np.pad(data, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    conv = np.einsum("ncijkl,fckl->nfij", windows, arrays["conv/0:w"])
    mean, variance, gamma, beta = (
        arrays[f"bn_{name}"][:, None, None] for name in ("mean", "var", "gamma", "beta")
    )
    norm = (conv - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    pooled = (1 / (1 + np.exp(-norm)) + norm).mean((2, 3))
    scores = pooled @ arrays["fc_weight"].T + arrays["fc_bias"]
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
