"""Networks of Gluon with random weights, calibrated so that their outputs say something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranvier.mxnet.compat import import_mxnet

Array = np.ndarray[Any, np.dtype[Any]]
mx = import_mxnet()
nn, rnn, zoo = mx.gluon.nn, mx.gluon.rnn, mx.gluon.model_zoo.vision


@dataclass(frozen=True)
class Network:
    """A network as MXNet's API gives it."""

    block: Any
    symbol: Any
    args: dict[str, Any]
    aux: dict[str, Any]
    inputs: dict[str, Array]

    def mxnet(self, inputs: dict[str, Array] | None = None) -> list[Array]:
        """Its outputs by MXNet's own executor."""
        arrays = {name: mx.nd.array(a) for name, a in (inputs or self.inputs).items()}
        bound = self.symbol.bind(mx.cpu(), {**self.args, **arrays}, aux_states=self.aux)
        return [output.asnumpy() for output in bound.forward(is_train=False)]


def image(size: int, seed: int = 1, batch: int = 1) -> Array:
    """Patches of colour under some noise: what averages out says nothing about an image."""
    random = np.random.default_rng(seed)
    patches = random.standard_normal((batch, 3, 4, 4)).repeat(-(-size // 4), 2)
    patches = patches.repeat(-(-size // 4), 3)[:, :, :size, :size]
    return (patches + 0.3 * random.standard_normal(patches.shape)).astype(np.float32)


def vision(name: str, size: int = 224) -> Network:
    """A network of the zoo for images of a size."""
    mx.random.seed(0)
    block = getattr(zoo, name)()
    block.initialize(mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2))
    calibrate(block, mx.nd.array(image(size, seed=7, batch=8)))
    return network(block, {"data": image(size)})


def calibrate(block: Any, data: Any) -> None:
    """Give batch norms the statistics of some data, in one pass: random weights have none."""

    def forget(layer: Any) -> None:
        if isinstance(layer, nn.BatchNorm):
            layer._kwargs["momentum"] = 0.0  # pyright: ignore[reportPrivateUsage]

    block.apply(forget)
    with mx.autograd.train_mode():
        block(data)
    mx.nd.waitall()


class LanguageModel(mx.gluon.HybridBlock):
    """Tokens and states to logits and states; time first."""

    def __init__(self, layer: Any, words: int = 200, width: int = 64) -> None:
        super().__init__()
        with self.name_scope():
            self.embedding = nn.Embedding(words, width)
            self.layer = layer(width, num_layers=2, input_size=width)
            self.decoder = nn.Dense(words, flatten=False, in_units=width)

    def hybrid_forward(self, F: Any, tokens: Any, states: Sequence[Any]) -> Any:
        hidden, states = self.layer(self.embedding(tokens), states)
        return self.decoder(hidden), states


def language_model(layer: Any, steps: int = 8, batch: int = 2) -> Network:
    mx.random.seed(0)
    block = LanguageModel(layer)
    block.initialize(mx.init.Uniform(0.3))
    random = np.random.default_rng(0)
    tokens = random.integers(0, 200, (steps, batch)).astype(np.float32)
    states = [
        random.standard_normal(tuple(info["shape"])).astype(np.float32)
        for info in block.layer.state_info(batch)
    ]
    return network(block, {"tokens": tokens, **{f"state{i}": s for i, s in enumerate(states)}})


def network(block: Any, inputs: dict[str, Array]) -> Network:
    variables = [mx.sym.var(name) for name in inputs]
    arguments = variables if len(variables) == 1 else [variables[0], variables[1:]]
    outputs = block(*arguments)
    symbol = mx.sym.Group(flat(outputs)) if isinstance(outputs, list | tuple) else outputs
    params = {parameter.name: parameter.data() for parameter in block.collect_params().values()}
    args = {name: params[name] for name in symbol.list_arguments() if name in params}
    aux = {name: params[name] for name in symbol.list_auxiliary_states()}
    return Network(block, symbol, args, aux, inputs)


def flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, list | tuple):
        return [each for part in outputs for each in flat(part)]
    return [outputs]
