"""`python benchmarks/mxnet_latency.py`: latency of a network that MXNet binds, ours and its own.

The loop is that of the tutorial of MXNet's first subgraph backend: some dry runs, then the average
over batches of one image. Beside it MXNet's own latency, and what a call of the op costs when the
machine is replaced by a function that returns an array: the engine of MXNet, the callback, the
checks. That is the least of rounds, since a shared computer adds to it and never takes away.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

os.environ.setdefault("MXNET_SUBGRAPH_BACKEND", "NONE")  # MXNet's own would add its fusions

import numpy as np

import ranvier.mxnet
from ranvier.mxnet.compat import import_mxnet
from ranvier.mxnet.neuron_op import live_states

mx = import_mxnet()
CALLS, ROUNDS = 500, 9


def average_latency(model: Any, input_data: Any, dry_run: int, num_batches: int) -> float:
    """Milliseconds."""
    start_time = 0.0
    for i in range(dry_run + num_batches):
        if i == dry_run:
            start_time = time.time()
        outputs = model.forward(data=input_data, is_train=False)
        for output in outputs:
            output.wait_to_read()
    return (time.time() - start_time) / num_batches * 1000


def network(name: str, size: int) -> tuple[Any, dict[str, Any], dict[str, Any], Any]:
    """A network of Gluon's zoo with random weights: symbol, arguments, states and an image."""
    mx.random.seed(0)
    net = getattr(mx.gluon.model_zoo.vision, name)()
    net.initialize(mx.init.Xavier())
    image = mx.nd.random.normal(shape=(1, 3, size, size))
    net(image)
    symbol = net(mx.sym.var("data"))
    params = {key: value.data() for key, value in net.collect_params().items()}
    states = symbol.list_auxiliary_states()
    args = {key: value for key, value in params.items() if key not in states}
    return symbol, args, {key: params[key] for key in states}, image


def bound(symbol: Any, args: dict[str, Any], aux: dict[str, Any], image: Any) -> Any:
    model = symbol.simple_bind(ctx=mx.cpu(), data=image.shape, grad_req="null")
    model.copy_params_from(args, aux)
    return model


def microseconds(call: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS):
            call()
        times.append((time.perf_counter() - started) / CALLS * 1e6)
    return min(times)


def calls_without_computation() -> dict[str, float]:
    """Microseconds of a call of our op, and of one of MXNet's."""
    symbol = mx.sym.var("data") * 2
    plain = symbol.bind(mx.cpu(), {"data": mx.nd.ones((2, 6))})
    ranvier.mxnet.enable_subgraph_backend()
    ours = symbol.bind(mx.cpu(), {"data": mx.nd.ones((2, 6))})
    ranvier.mxnet.disable_subgraph_backend()
    ours.forward()[0].wait_to_read()
    state = live_states()[-1]
    result = [np.zeros((2, 6), np.float32)]
    with patch.object(state, "run", lambda operands: result):
        return {
            "an op of MXNet's": microseconds(lambda: plain.forward()[0].wait_to_read()),
            "a subgraph op": microseconds(lambda: ours.forward()[0].wait_to_read()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="resnet50_v2")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--dry-run", type=int, default=5)
    parser.add_argument("--batches", type=int, default=100)
    options = parser.parse_args()

    for name, cost in calls_without_computation().items():
        print(f"{name:20} {cost:8.1f} us a call, without computation")
    content = network(options.model, options.size)
    counts = (options.dry_run, options.batches)
    theirs = average_latency(bound(*content), content[3], *counts)
    ranvier.mxnet.enable_subgraph_backend()
    model = bound(*content)
    started = time.perf_counter()
    model.forward(data=content[3])[0].wait_to_read()
    compiled = time.perf_counter() - started
    ours = average_latency(model, content[3], *counts)
    print(f"{options.model} at {options.size}: compiled at the first forward in {compiled:.1f} s")
    print(f"Average Latency = {theirs:.2f} ms (MXNet)")
    print(f"Average Latency = {ours:.2f} ms (ranvier), {ours / theirs:.1f} times MXNet's")


if __name__ == "__main__":
    main()
