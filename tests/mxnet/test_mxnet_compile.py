"""Networks of Gluon, calibrated and compiled, against MXNet."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mxnet_models import Array, Network, image, language_model, mx, nn, rnn, vision

import ranvier.mxnet
from ranvier.dialects.diagnostics import Code, CodedError
from ranvier.mxnet import NDArray, Symbol, real, sym
from ranvier.mxnet.checkpoint import read_checkpoint

NETWORKS: dict[str, Callable[[], Network]] = {
    "resnet18_v1": lambda: vision("resnet18_v1"),
    "lstm": lambda: language_model(rnn.LSTM),
    "gru": lambda: language_model(rnn.GRU),
}
HEAVY: dict[str, Callable[[], Network]] = {
    name: lambda name=name: vision(name)
    for name in (
        *("resnet50_v1", "resnet50_v2", "vgg16", "mobilenet1_0", "mobilenet_v2_1_0"),
        *("densenet121", "squeezenet1_1", "alexnet"),
    )
}
BY_NAME = pytest.mark.parametrize(
    "name", [*NETWORKS, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY)]
)


@cache
def network(name: str) -> Network:
    return (NETWORKS | HEAVY)[name]()


@cache
def compiled(name: str) -> tuple[Symbol, dict[str, NDArray], dict[str, NDArray]]:
    net = network(name)
    symbol, args, aux = ranvier.mxnet.compile(net.symbol, net.args, net.aux, net.inputs)
    return light(symbol), light_arrays(args), light_arrays(aux)


def light(symbol: Any) -> Symbol:
    return symbol if isinstance(symbol, Symbol) else sym.load_json(symbol.tojson())


def light_arrays(arrays: dict[str, Any]) -> dict[str, NDArray]:
    return {name: NDArray(array.asnumpy()) for name, array in arrays.items()}


def run(model: Any, inputs: dict[str, Array]) -> list[Array]:
    symbol, args, aux = model
    executor = symbol.bind(args={**args, **inputs}, aux_states=aux)
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def others(net: Network) -> dict[str, Array]:
    """Other inputs of the same kind."""
    if "data" in net.inputs:
        return {"data": image(net.inputs["data"].shape[2], seed=5)}
    random = np.random.default_rng(5)
    return {n: random.permutation(a.ravel()).reshape(a.shape) for n, a in net.inputs.items()}


def cosine(left: Array, right: Array) -> float:
    return float(left.ravel() @ right.ravel() / np.linalg.norm(left) / np.linalg.norm(right))


@BY_NAME
def test_a_compiled_network_computes_what_mxnet_computes(name: str) -> None:
    """bf16 has 8 bits. Through some hundred layers that leaves 5 % of the largest output, and the
    direction in which outputs answer to another image, which random weights answer to weakly.
    """
    net, model = network(name), compiled(name)
    first, second = net.inputs, others(net)
    pairs = zip(
        run(model, first), run(model, second), net.mxnet(first), net.mxnet(second), strict=True
    )
    for mine, mine_too, theirs, theirs_too in pairs:
        answer = theirs - theirs_too
        largest = np.abs(theirs).max()
        assert np.abs(answer).max() > 0.03 * largest, "the network says the same of everything"
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        assert np.abs(mine - theirs).max() < 0.05 * largest
        assert cosine(mine - mine_too, answer) > 0.9


@BY_NAME
def test_the_whole_network_is_one_subgraph(name: str) -> None:
    net, (symbol, args, aux) = network(name), compiled(name)
    original = json.loads(net.symbol.tojson())["nodes"]
    nodes = json.loads(symbol.tojson())["nodes"]
    ops = [node for node in nodes if node["op"] != "null"]
    assert [node["op"] for node in ops] == ["_neuron_subgraph_op"]
    inner = ops[0]["subgraphs"][0]["nodes"]
    assert sorted(node["name"] for node in inner) == sorted(node["name"] for node in original)
    assert symbol.list_outputs() == net.symbol.list_outputs()
    assert symbol.list_arguments() == [*net.inputs, "_neuron_subgraph_op0_neuronbin"]
    assert (list(args), aux) == (["_neuron_subgraph_op0_neuronbin"], {})


@BY_NAME
def test_in_f32_the_results_are_mxnets(name: str) -> None:
    net = network(name)
    symbol, args, aux = ranvier.mxnet.compile(
        *(net.symbol, net.args, net.aux, net.inputs), **{"--fast-math": "none"}
    )
    outputs = run((light(symbol), light_arrays(args), light_arrays(aux)), net.inputs)
    for mine, theirs in zip(outputs, net.mxnet(), strict=True):
        # f32 sums of up to 25088 terms in another order, up to a hundred layers deep.
        np.testing.assert_allclose(mine, theirs, atol=2e-4 * np.abs(theirs).max())


@BY_NAME
def test_an_uncompiled_symbol_runs_without_mxnet(name: str) -> None:
    net = network(name)
    model = (light(net.symbol), light_arrays(net.args), light_arrays(net.aux))
    for mine, theirs in zip(run(model, net.inputs), net.mxnet(), strict=True):
        # f32 sums in another order, up to a hundred layers deep.
        np.testing.assert_allclose(mine, theirs, atol=1e-3 * np.abs(theirs).max())


# -- The same face ----------------------------------------------------------------------------


@BY_NAME
def test_a_symbol_says_what_mxnets_says(name: str) -> None:
    net = network(name)
    theirs, mine = net.symbol, light(net.symbol)
    shapes = {name: array.shape for name, array in net.inputs.items()}
    assert mine.tojson() == theirs.tojson()
    assert mine.list_arguments() == theirs.list_arguments()
    assert mine.list_auxiliary_states() == theirs.list_auxiliary_states()
    assert mine.list_outputs() == theirs.list_outputs()
    assert mine.infer_shape(**shapes) == tuple(theirs.infer_shape(**shapes))
    assert mine.get_internals().list_outputs() == theirs.get_internals().list_outputs()
    middle = theirs.get_internals().list_outputs()[-5]
    assert mine.get_internals()[middle].tojson() == theirs.get_internals()[middle].tojson()


def test_checkpoints_are_mxnets_byte_by_byte(tmp_path: Path) -> None:
    net = network("resnet18_v1")
    mx.model.save_checkpoint(str(tmp_path / "theirs"), 0, net.symbol, net.args, net.aux)
    ranvier.mxnet.save_checkpoint(tmp_path / "ours", 0, net.symbol, net.args, net.aux)
    ranvier.mxnet.save_checkpoint(tmp_path / "read", 0, *read_checkpoint(tmp_path / "theirs", 0))
    for end in ("symbol.json", "0000.params"):
        expected = (tmp_path / f"theirs-{end}").read_bytes()
        assert (tmp_path / f"ours-{end}").read_bytes() == expected
        assert (tmp_path / f"read-{end}").read_bytes() == expected
    symbol, args, aux = ranvier.mxnet.load_checkpoint(tmp_path / "ours", 0)
    assert real.is_symbol(symbol)
    assert {type(a) for a in (*args.values(), *aux.values())} == {mx.nd.NDArray}


def test_scripts_of_the_first_integration_find_their_names() -> None:
    from mxnet.contrib import neuron  # pyright: ignore

    assert neuron is mx.contrib.neuron
    assert neuron.compile is ranvier.mxnet.compile
    assert mx.neuron(3) == mx.cpu()


def test_an_operator_that_only_mxnet_has_stays_there() -> None:
    data = mx.sym.var("data")
    hidden = mx.sym.Activation(mx.sym.FullyConnected(data, num_hidden=8, name="one"), "tanh")
    foreign = mx.sym.linalg.gelqf(hidden, name="foreign")[0]
    symbol = mx.sym.FullyConnected(mx.sym.sigmoid(foreign), num_hidden=3, name="two")
    shapes = dict(zip(symbol.list_arguments(), symbol.infer_shape(data=(4, 6))[0], strict=True))
    random = np.random.default_rng(0)
    args = {
        name: mx.nd.array(random.standard_normal(shape))
        for name, shape in shapes.items()
        if name != "data"
    }
    x = random.standard_normal((4, 6)).astype(np.float32)
    new, _, _ = ranvier.mxnet.compile(symbol, args, {}, {"data": x})
    ops = [node["op"] for node in json.loads(new.tojson())["nodes"] if node["op"] != "null"]
    assert ops == ["_neuron_subgraph_op", "_linalg_gelqf", "_neuron_subgraph_op"]


# -- In MXNet itself --------------------------------------------------------------------------


@BY_NAME
def test_a_compiled_symbol_is_mxnets_and_runs_there(name: str, tmp_path: Path) -> None:
    net = network(name)
    symbol, args, aux = ranvier.mxnet.compile(net.symbol, net.args, net.aux, net.inputs)
    assert real.is_symbol(symbol)
    mx.model.save_checkpoint(str(tmp_path / "net"), 0, symbol, args, aux)
    symbol, args, aux = mx.model.load_checkpoint(str(tmp_path / "net"), 0)
    assert symbol.list_outputs() == net.symbol.list_outputs()
    arrays = {name: mx.nd.array(array) for name, array in net.inputs.items()}
    executor = symbol.bind(mx.neuron(0), {**args, **arrays}, aux_states=aux)
    outputs = [output.asnumpy() for output in executor.forward(is_train=False)]
    for mine, theirs in zip(outputs, run(compiled(name), net.inputs), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_block_of_gluon_is_compiled_to_a_block() -> None:
    mx.random.seed(0)
    block = nn.HybridSequential()
    block.add(nn.Conv2D(4, 3), nn.BatchNorm(), nn.Activation("relu"), nn.Dense(5))
    block.initialize(mx.init.Xavier())
    x = mx.nd.array(image(9))
    new = ranvier.mxnet.compile(block, inputs={"data": x}, **{"--fast-math": "none"})
    assert isinstance(new, mx.gluon.SymbolBlock)
    # f32 sums of some hundred terms in another order.
    np.testing.assert_allclose(new(x).asnumpy(), block(x).asnumpy(), rtol=1e-4, atol=1e-5)


def test_a_recurrent_block_takes_and_gives_its_states() -> None:
    net = network("lstm")
    tokens, *states = (mx.nd.array(array) for array in net.inputs.values())
    new = ranvier.mxnet.compile(
        net.block, inputs={"tokens": tokens, "state": states}, **{"--fast-math": "none"}
    )
    for mine, theirs in zip(new(tokens, *states), net.mxnet(), strict=True):
        # f32 sums of some hundred terms in another order.
        np.testing.assert_allclose(mine.asnumpy(), theirs, rtol=1e-4, atol=1e-5)


def test_a_block_without_parameters_is_an_error() -> None:
    block = nn.HybridSequential()
    block.add(nn.Dense(5, in_units=3))
    with pytest.raises(CodedError, match="not initialized") as error:
        ranvier.mxnet.compile(block, inputs={"data": mx.nd.zeros((2, 3))})
    assert error.value.code is Code.INPUT_MISSING


@pytest.mark.slow
def test_the_counting_script_counts_resnet_50(tmp_path: Path) -> None:
    """The network has 174 operators, counted here in the text that MXNet writes."""
    net, (symbol, _, _) = network("resnet50_v2"), compiled("resnet50_v2")
    net.symbol.save(str(tmp_path / "original.json"))
    symbol.save(tmp_path / "compiled.json")
    text = (tmp_path / "original.json").read_text()
    count = len(re.findall(r'^      "op": "', text, re.MULTILINE)) - text.count('"op": "null"')
    script = Path(__file__).parents[2] / "examples" / "count_mxnet.py"
    done = subprocess.run(
        [sys.executable, str(script), "original.json", "compiled.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert count == 174
    assert done.stdout.splitlines() == [
        "Number of operations in original model: 174",
        "Number of operations in compiled model: 1",
        "Number of Neuron subgraphs in compiled model: 1",
        "Number of operations placed on Neuron runtime: 174",
    ]
