"""What goes into compiled symbols and what comes out: element types, and outputs that repeat."""

from __future__ import annotations

import json

import numpy as np
from mxnet_nets import Net, normal

from ranvier.mxnet import Symbol, compile

EXACT = {"--fast-math": "none"}


def ops_of(symbol: Symbol) -> list[str]:
    return [node["op"] for node in json.loads(symbol.tojson())["nodes"] if node["op"] != "null"]


def test_tokens_of_i64_go_to_the_machine() -> None:
    net = Net()
    tokens = net.variable("tokens")
    net.nodes[0].attrs["__dtype__"] = "6"
    table = net.variable("table", normal(7, 3))
    rows = net.op("Embedding", "rows", tokens, table, input_dim=7, output_dim=3)
    symbol = net.symbol(net.op("Activation", "act", rows, act_type="relu"))
    given = {"tokens": np.array([[0, 6, 9], [1, -2, 3]])}
    new, args, _ = compile(symbol, net.args, {}, given, **EXACT)
    assert ops_of(new) == ["_neuron_subgraph_op"]
    (output,) = new.bind(args={**args, **given}).forward()
    chosen = net.args["table"].asnumpy()[np.clip(given["tokens"], 0, 6)]
    np.testing.assert_array_equal(output.asnumpy(), np.maximum(chosen, 0))


def test_an_output_may_be_listed_twice() -> None:
    net = Net()
    act = net.op("tanh", "act", net.dense("fc", net.variable("data"), 6, 4))
    symbol = net.symbol(act, act)
    assert [len(side) for side in symbol.infer_shape(data=(2, 6))] == [3, 2, 0]
    data = normal(2, 6)
    new, args, _ = compile(symbol, net.args, {}, {"data": data}, **EXACT)
    assert ops_of(new) == ["_neuron_subgraph_op"]
    weight, bias = (net.args[f"fc_{name}"].asnumpy() for name in ("weight", "bias"))
    for output in new.bind(args={**args, "data": data}).forward():
        # Sums of 6 products of about 1 in f32.
        np.testing.assert_allclose(
            output.asnumpy(), np.tanh(data @ weight.T + bias), rtol=1e-4, atol=1e-5
        )
