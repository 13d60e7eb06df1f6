"""ResNet-50 v1.5 as an ONNX file with seeded weights: `python resnet50.py resnet50.onnx`.

Random weights alone make a vacuous model: activations explode or vanish, and the output hardly
depends on the input. So batch norms are calibrated, layer by layer, on a few seeded images while
the graph is built, and the classifier is centred on them: logits are about standard normal.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper, save_model

Array = np.ndarray[Any, np.dtype[Any]]

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Inner channels, blocks, and stride of the first block; a block widens to four times."""

EPSILON = 1e-5


def build_resnet50(path: Path | str, seed: int = 0) -> None:
    """Write the model: input `x` f32 [N, 3, 224, 224], output `y` f32 [N, 1000].

    The same seed gives the same architecture, names and weights.
    """
    net = Network(np.random.default_rng(seed))
    net.activation = images(net.random, count=4, size=96)
    value = net.relu(net.conv_bn("x", "conv1", 64, 7, stride=2), "conv1.relu")
    value = net.max_pool(value)
    for stage, (channels, blocks, stride) in enumerate(STAGES, 1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            value = bottleneck(net, value, name, channels, stride if block == 0 else 1)
    net.classifier(value, 1000)
    net.save(path)


def bottleneck(net: Network, value: str, name: str, channels: int, stride: int) -> str:
    """1x1, 3x3 with the stride (that is v1.5), 1x1, and a shortcut around them."""
    entry = net.activation
    out = net.relu(net.conv_bn(value, f"{name}.conv1", channels, 1), f"{name}.relu1")
    out = net.relu(net.conv_bn(out, f"{name}.conv2", channels, 3, stride), f"{name}.relu2")
    # As in trained networks the shortcut dominates: a branch of full weight would amplify rounding.
    out = net.conv_bn(out, f"{name}.conv3", 4 * channels, 1, gain=0.3)
    main, net.activation = net.activation, entry
    if entry.shape[1] != 4 * channels or stride != 1:
        value = net.conv_bn(value, f"{name}.downsample", 4 * channels, 1, stride)
    net.activation = net.activation + main
    net.node("Add", [out, value], f"{name}.add")
    return net.relu(f"{name}.add", f"{name}.relu3")


def images(random: np.random.Generator, count: int, size: int) -> Array:
    """Noise over a coarse pattern and a colour per image, so that the images differ as wholes."""
    fine = random.standard_normal((count, 3, size, size))
    coarse = random.standard_normal((count, 3, size // 16, size // 16))
    colour = random.standard_normal((count, 3, 1, 1))
    return (fine + coarse.repeat(16, 2).repeat(16, 3) + colour).astype(np.float32)


@dataclass
class Network:
    """Nodes and weights so far, and the activation that they give on the calibration images."""

    random: np.random.Generator
    activation: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    nodes: list[NodeProto] = field(default_factory=list[NodeProto])
    weights: list[TensorProto] = field(default_factory=list[TensorProto])

    def node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, array: Array) -> str:
        self.weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def conv_bn(
        self, value: str, name: str, channels: int, kernel: int, stride: int = 1, gain: float = 1.0
    ) -> str:
        """He-normal convolution, then a batch norm with the statistics of what it gives."""
        fan_in = self.activation.shape[1] * kernel * kernel
        shape = (channels, self.activation.shape[1], kernel, kernel)
        weight = self.random.standard_normal(shape, np.float32) * np.float32((2 / fan_in) ** 0.5)
        pad = kernel // 2
        self.node(
            "Conv",
            [value, self.weight(f"{name}.weight", weight)],
            name,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
        )
        self.activation = convolve(self.activation, weight, stride, pad)
        return self.batch_norm(name, gain)

    def batch_norm(self, name: str, gain: float) -> str:
        channels = self.activation.shape[1]
        # Rounded, so that the weights do not depend on the summation order of a BLAS.
        mean = self.activation.mean((0, 2, 3), np.float64).round(3)
        variance = self.activation.var((0, 2, 3), np.float64).round(3) + 1e-3
        scale = gain * self.random.uniform(0.8, 1.2, channels)
        bias = self.random.normal(0.0, 0.1, channels)
        statistics = {"scale": scale, "bias": bias, "mean": mean, "var": variance}
        names = [self.weight(f"{name}.bn.{key}", array) for key, array in statistics.items()]
        self.node("BatchNormalization", [name, *names], f"{name}.bn", epsilon=EPSILON)
        factor = scale / np.sqrt(variance + EPSILON)
        offset = bias - mean * factor
        per_channel = (array.astype(np.float32).reshape(-1, 1, 1) for array in (factor, offset))
        self.activation = self.activation * next(per_channel) + next(per_channel)
        return f"{name}.bn"

    def relu(self, value: str, name: str) -> str:
        self.activation = np.maximum(self.activation, 0)
        return self.node("Relu", [value], name)

    def max_pool(self, value: str) -> str:
        padded = np.pad(self.activation, ((0, 0), (0, 0), (1, 1), (1, 1)))  # after Relu: >= 0
        self.activation = windows(padded, 3, 2).max((-2, -1))
        return self.node(
            "MaxPool", [value], "maxpool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        )

    def classifier(self, value: str, classes: int) -> None:
        features = self.activation.mean((2, 3))
        weight = self.random.standard_normal((classes, features.shape[1]), np.float32)
        weight *= np.float32(0.1)
        bias = -(weight @ features.mean(0)).round(3)
        self.node("GlobalAveragePool", [value], "pool")
        self.node("Flatten", ["pool"], "flatten")
        names = [self.weight("fc.weight", weight), self.weight("fc.bias", bias)]
        self.node("Gemm", ["flatten", *names], "y", transB=1)

    def save(self, path: Path | str) -> None:
        graph = helper.make_graph(
            self.nodes,
            "resnet50",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 224, 224])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1000])],
            self.weights,
        )
        opsets = [helper.make_opsetid("", 17)]
        save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def windows(x: Array, kernel: int, stride: int) -> Array:
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (2, 3))
    return view[:, :, ::stride, ::stride]


def convolve(x: Array, weight: Array, stride: int, pad: int) -> Array:
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    view = windows(padded, weight.shape[2], stride)
    return np.moveaxis(np.tensordot(view, weight, ((1, 4, 5), (1, 2, 3))), -1, 1)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python resnet50.py MODEL.onnx")
    build_resnet50(Path(sys.argv[1]))
