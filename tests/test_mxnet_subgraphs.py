"""`ranvier.mxnet.compile` without MXNet: what becomes of a symbol, and its files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ranvier
from hypothesis import given, settings
from hypothesis import strategies as st
from mxnet_nets import (
    Array,
    Net,
    convolutions,
    convolutions_in_numpy,
    normal,
    perceptron,
    perceptron_in_numpy,
)

from ranvier.dialects.diagnostics import Code, CodedError
from ranvier.mxnet import NDArray, Symbol, checkpoint, compile, nd, save_checkpoint

IMAGE = normal(1, 3, 8, 8)
EXACT = {"--fast-math": "none"}
# Products of f32: sums of tens of terms of about 1, in another order.
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
PROGRAM = "_neuron_subgraph_op0_neuronbin"


def nodes_of(symbol: Any) -> list[dict[str, Any]]:
    return json.loads(symbol.tojson())["nodes"]


def ops_of(symbol: Any) -> list[str]:
    return [node["op"] for node in nodes_of(symbol) if node["op"] != "null"]


def run(symbol: Symbol, args: Any, aux: Any, data: Array) -> Array:
    label = np.zeros(1, np.float32)  # read where the loss is not compiled
    executor = symbol.bind(args={**args, "data": data, "label": label}, aux_states=aux)
    return executor.forward(is_train=False)[0].asnumpy()


def compiled(**arguments: Any) -> tuple[Net, Symbol, dict[str, NDArray], dict[str, NDArray]]:
    net, symbol = convolutions()
    return net, *compile(symbol, net.args, net.aux, {"data": IMAGE}, **EXACT, **arguments)


# -- What is compiled -------------------------------------------------------------------------


def test_a_network_becomes_one_node_that_computes_the_same() -> None:
    net, symbol, args, aux = compiled()
    assert ops_of(symbol) == ["_neuron_subgraph_op"]
    assert symbol.list_outputs() == ["softmax_output"]
    assert symbol.list_arguments() == ["data", PROGRAM]
    assert (list(args), aux) == ([PROGRAM], {})
    assert args[PROGRAM].dtype is np.uint8
    np.testing.assert_allclose(
        run(symbol, args, aux, IMAGE), convolutions_in_numpy(net, IMAGE), **CLOSE
    )


def test_a_node_holds_the_original_subgraph_and_says_what_it_takes_and_gives() -> None:
    _, symbol, _, _ = compiled()
    node = nodes_of(symbol)[-1]
    assert node["name"] == "_neuron_subgraph_op0"
    assert {key: json.loads(value) for key, value in node["attrs"].items()} == {
        "data_names": ["data"],
        "data_shapes": [[1, 3, 8, 8]],
        "data_dtypes": ["float32"],
        "output_names": ["softmax_output"],
        "output_shapes": [[1, 3]],
        "output_dtypes": ["float32"],
    }
    (subgraph,) = node["subgraphs"]
    names = [inner["name"] for inner in subgraph["nodes"] if inner["op"] != "null"]
    assert names == ["conv/0:0", "bn", "left", "joined", "pool", "flat", "fc", "softmax"]
    variables = [inner["name"] for inner in subgraph["nodes"] if inner["op"] == "null"]
    assert variables == [
        *("data", "conv/0:w", "bn_gamma", "bn_beta", "bn_mean", "bn_var"),
        *("fc_weight", "fc_bias", "label"),
    ]


def test_the_default_computes_in_bf16() -> None:
    net, symbol = perceptron()
    data = normal(2, 6)
    new, args, aux = compile(symbol, net.args, net.aux, {"data": data})
    expected = perceptron_in_numpy(net, data)
    result = run(new, args, aux, data)
    # Three roundings to 8 bits of sums of some ten terms.
    np.testing.assert_allclose(result, expected, atol=2e-2 * np.abs(expected).max())
    assert not np.array_equal(result, expected)


def test_an_excluded_node_stays_and_splits_the_network() -> None:
    net, symbol, args, aux = compiled(excl_node_names=["joined"])
    assert ops_of(symbol) == ["_neuron_subgraph_op", "elemwise_add", "_neuron_subgraph_op"]
    names = [node["name"] for node in nodes_of(symbol) if node["op"] != "null"]
    assert names == ["_neuron_subgraph_op0", "joined", "_neuron_subgraph_op1"]
    first, second = (n for n in nodes_of(symbol) if n["op"] == "_neuron_subgraph_op")
    assert json.loads(first["attrs"]["output_names"]) == ["bn_output", "left_output"]
    assert json.loads(second["attrs"]["data_names"]) == ["joined_output"]
    np.testing.assert_allclose(
        run(symbol, args, aux, IMAGE), convolutions_in_numpy(net, IMAGE), **CLOSE
    )


def test_an_excluded_node_takes_no_other_with_it() -> None:
    """Batch norm would be folded into the convolution before it."""
    net, symbol, args, aux = compiled(excl_node_names="conv/0:0")
    assert ops_of(symbol) == ["Convolution", "_neuron_subgraph_op"]
    assert "conv/0:w" in args
    np.testing.assert_allclose(
        run(symbol, args, aux, IMAGE), convolutions_in_numpy(net, IMAGE), **CLOSE
    )


def test_auxiliary_states_of_excluded_nodes_stay() -> None:
    net, symbol, args, aux = compiled(excl_node_names=["bn"], minimum_segment_size=1)
    assert ops_of(symbol) == ["_neuron_subgraph_op", "BatchNorm", "_neuron_subgraph_op"]
    assert list(aux) == symbol.list_auxiliary_states() == ["bn_mean", "bn_var"]
    np.testing.assert_allclose(
        run(symbol, args, aux, IMAGE), convolutions_in_numpy(net, IMAGE), **CLOSE
    )


def test_a_weight_that_both_sides_read_stays() -> None:
    net = Net()
    data, weight = net.variable("data"), net.variable("w", normal(6, 6))
    bias = net.variable("b", normal(6))
    first = net.op("FullyConnected", "one", data, weight, bias, num_hidden=6)
    middle = net.op("Activation", "middle", first, act_type="tanh")
    last = net.op("FullyConnected", "two", middle, weight, bias, num_hidden=6)
    x = normal(2, 6)
    symbol, args, aux = compile(
        net.symbol(last), net.args, {}, {"data": x}, excl_node_names=["two"], **EXACT
    )
    assert set(args) == {"w", "b", PROGRAM}
    w, b = net.args["w"].asnumpy(), net.args["b"].asnumpy()
    expected = np.tanh(x @ w.T + b) @ w.T + b
    np.testing.assert_allclose(run(symbol, args, aux, x), expected, **CLOSE)


@pytest.mark.parametrize(
    ("minimum", "expected"),
    [
        (1, ["_neuron_subgraph_op", "Activation", "_neuron_subgraph_op"]),
        (2, ["FullyConnected", "Activation", "_neuron_subgraph_op"]),
        (3, ["FullyConnected", "Activation", "Dropout", "FullyConnected"]),
    ],
)
def test_small_subgraphs_stay(minimum: int, expected: list[str]) -> None:
    net, symbol = perceptron()
    new, _, _ = compile(
        *(symbol, net.args, {}, {"data": normal(2, 6)}),
        excl_node_names=["act"],
        minimum_segment_size=minimum,
    )
    # Before `act` there is fc1 alone, behind it are drop, which computes nothing, and fc2.
    assert ops_of(new) == expected


def test_a_network_of_one_operator_is_compiled() -> None:
    net = Net()
    symbol = net.symbol(net.dense("fc", net.variable("data"), 6, 3))
    new, _, _ = compile(symbol, net.args, {}, {"data": normal(2, 6)})
    assert ops_of(new) == ["_neuron_subgraph_op"]


def test_a_forced_node_is_compiled_however_small_its_subgraph() -> None:
    net, symbol = perceptron()
    new, _, _ = compile(
        *(symbol, net.args, {}, {"data": normal(2, 6)}),
        excl_node_names=["act", "fc1"],
        force_incl_node_names=["fc1"],
    )
    assert ops_of(new)[:2] == ["_neuron_subgraph_op", "Activation"]


def test_a_forced_node_that_the_machine_lacks_is_an_error() -> None:
    net, symbol = two_sided()
    with pytest.raises(CodedError, match="force_incl_node_names") as error:
        compile(symbol, net.args, {}, {"data": normal(2, 6)}, force_incl_node_names=["double"])
    assert error.value.code is Code.RULE_IMPOSSIBLE


def two_sided() -> tuple[Net, Symbol]:
    """f64 in the middle, which no machine has."""
    net = Net()
    hidden = net.dense("fc1", net.variable("data"), 6, 5)
    double = net.op("Cast", "double", hidden, dtype="float64")
    sine = net.op("sin", "sine", double)
    single = net.op("Cast", "single", sine, dtype="float32")
    return net, net.symbol(net.dense("fc2", single, 5, 3))


def test_what_the_machine_lacks_stays_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    net, symbol = two_sided()
    x = normal(2, 6)
    with caplog.at_level(logging.INFO, "mxnet"):
        new, args, aux = compile(symbol, net.args, {}, {"data": x}, minimum_segment_size=1, **EXACT)
    assert "sin" in ops_of(new)
    assert "on the host: sin 'sine':" in caplog.text
    w = {name: array.asnumpy().astype(np.float64) for name, array in net.args.items()}
    hidden = np.sin(x @ w["fc1_weight"].T + w["fc1_bias"])
    expected = hidden @ w["fc2_weight"].T + w["fc2_bias"]
    np.testing.assert_allclose(run(new, args, aux, x), expected, **CLOSE)


def test_forbidding_the_host_is_an_error_that_names_the_operators() -> None:
    net, symbol = two_sided()
    with pytest.raises(CodedError, match="sin 'sine'") as error:
        compile(symbol, net.args, {}, {"data": normal(2, 6)}, flags=["--fallback error"])
    assert error.value.code is Code.FALLBACK_FORBIDDEN


def test_counts_are_those_of_the_nodes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mxnet"):
        compiled(excl_node_names=["joined"])
    lines = [record.getMessage() for record in caplog.records if record.name == "mxnet"]
    assert lines[:4] == [
        "Number of operations in original model: 8",
        "Number of operations in compiled model: 3",
        "Number of Neuron subgraphs in compiled model: 2",
        "Number of operations placed on Neuron runtime: 7",
    ]


def test_a_compiled_symbol_may_be_compiled_again() -> None:
    net, symbol, args, aux = compiled(excl_node_names=["pool", "flat", "fc", "softmax"])
    again, new_args, new_aux = compile(symbol, args, aux, {"data": IMAGE}, **EXACT)
    assert ops_of(again) == ["_neuron_subgraph_op", "_neuron_subgraph_op"]
    np.testing.assert_allclose(
        run(again, new_args, new_aux, IMAGE), convolutions_in_numpy(net, IMAGE), **CLOSE
    )


def test_constants_are_compiled_with_their_readers() -> None:
    net = Net()
    data = net.variable("data")
    zeros = net.op("_zeros", "start", shape="(2, 5)", dtype="float32")
    hidden = net.op("elemwise_add", "sum", net.dense("fc", data, 6, 5), zeros)
    last = net.op("elemwise_add", "twice", hidden, zeros)
    x = normal(2, 6)
    symbol, args, aux = compile(
        net.symbol(last), net.args, {}, {"data": x}, excl_node_names=["twice"], **EXACT
    )
    assert sorted(ops_of(symbol)) == ["_neuron_subgraph_op", "_zeros", "elemwise_add"]
    expected = x @ net.args["fc_weight"].asnumpy().T + net.args["fc_bias"].asnumpy()
    np.testing.assert_allclose(run(symbol, args, aux, x), expected, **CLOSE)


def test_several_outputs_keep_their_names_and_order() -> None:
    net = Net()
    hidden = net.dense("fc", net.variable("data"), 6, 4)
    halves = net.op("SliceChannel", "halves", hidden, num_outputs=2, axis=1)
    second = type(halves)(halves.node, 1)
    symbol = net.symbol(second, hidden, halves, net.op("exp", "power", second))
    x = normal(2, 6)
    new, args, _ = compile(symbol, net.args, {}, {"data": x}, **EXACT)
    names = ["halves_output1", "fc_output", "halves_output0", "power_output"]
    assert symbol.list_outputs() == new.list_outputs() == names
    dense = x @ net.args["fc_weight"].asnumpy().T + net.args["fc_bias"].asnumpy()
    expected = [dense[:, 2:], dense, dense[:, :2], np.exp(dense[:, 2:])]
    outputs = new.bind(args={**args, "data": x}).forward()
    for output, want in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output.asnumpy(), want, **CLOSE)


OPS = ["conv/0:0", "bn", "left", "joined", "pool", "flat", "fc", "softmax"]


@settings(max_examples=20)
@given(st.sets(st.sampled_from(OPS)), st.integers(0, 3))
def test_any_division_computes_the_same(excluded: set[str], minimum: int) -> None:
    net, symbol, args, aux = compiled(excl_node_names=excluded, minimum_segment_size=minimum)
    names = [node["name"] for node in nodes_of(symbol) if node["op"] != "null"]
    assert excluded <= set(names)
    np.testing.assert_allclose(
        run(symbol, args, aux, IMAGE), convolutions_in_numpy(net, IMAGE), **CLOSE
    )


@pytest.mark.parametrize("flag", ["--num-neuroncores", "--neuroncore-pipeline-cores"])
def test_cores_make_a_pipeline(flag: str) -> None:
    net, symbol, args, aux = compiled(**{flag: 2})
    np.testing.assert_allclose(
        run(symbol, args, aux, IMAGE), convolutions_in_numpy(net, IMAGE), **CLOSE
    )


# -- Files ------------------------------------------------------------------------------------


def test_a_compiled_model_is_the_same_after_a_round_trip(tmp_path: Path) -> None:
    net, symbol, args, aux = compiled(excl_node_names=["joined"])
    save_checkpoint(tmp_path / "net", 3, symbol, args, aux)
    assert {path.name for path in tmp_path.iterdir()} == {"net-symbol.json", "net-0003.params"}
    loaded, arrays, states = checkpoint.read_checkpoint(tmp_path / "net", 3)
    assert loaded.tojson() == symbol.tojson()
    save_checkpoint(tmp_path / "copy", 3, loaded, arrays, states)
    assert (tmp_path / "copy-0003.params").read_bytes() == (
        tmp_path / "net-0003.params"
    ).read_bytes()
    np.testing.assert_allclose(
        run(loaded, arrays, states, IMAGE), convolutions_in_numpy(net, IMAGE), **CLOSE
    )


def test_simple_bind_knows_the_size_of_a_program() -> None:
    net, symbol, args, aux = compiled()
    executor = symbol.simple_bind(data=(1, 3, 8, 8))
    assert executor.arg_dict[PROGRAM].shape == args[PROGRAM].shape
    executor.copy_params_from(args, aux)
    result = executor.forward(data=IMAGE)[0].asnumpy()
    np.testing.assert_allclose(result, convolutions_in_numpy(net, IMAGE), **CLOSE)


def test_a_compiled_symbol_without_its_program_is_an_error(tmp_path: Path) -> None:
    _, symbol, args, _ = compiled()
    save_checkpoint(tmp_path / "net", 0, symbol, {}, {})
    with pytest.raises(CodedError, match=f"'{PROGRAM}' is missing") as error:
        checkpoint.read_checkpoint(tmp_path / "net", 0)
    assert error.value.code is Code.INPUT_MISSING
    with pytest.raises(CodedError, match=f"'{PROGRAM}' is missing"):
        symbol.bind(args={"data": IMAGE})
    with pytest.raises(CodedError, match="'_neuron_subgraph_op0_neuronbin' is float32"):
        symbol.bind(args={"data": IMAGE, PROGRAM: nd.zeros(4)})
    damaged = args[PROGRAM].asnumpy()
    damaged[2000:2100] ^= 255
    with pytest.raises(CodedError, match=PROGRAM) as error:
        symbol.bind(args={"data": IMAGE, PROGRAM: damaged}).forward()
    assert error.value.code.number.startswith("RV03")


def test_the_program_of_another_node_is_an_error() -> None:
    _, symbol, args, aux = compiled()
    net, other = perceptron()
    _, others, _ = compile(other, net.args, {}, {"data": normal(2, 6)})
    with pytest.raises(CodedError, match="its program takes and returns") as error:
        run(symbol, {**args, PROGRAM: others[PROGRAM]}, aux, IMAGE)
    assert error.value.code is Code.FILE_INVALID


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda node: node.pop("subgraphs"), "it has 0 subgraphs"),
        (lambda node: node["inputs"].pop(), "it has 1 inputs, 1 data and its program"),
        (lambda node: node["attrs"].pop("data_shapes"), "'data_shapes' is missing"),
        (lambda node: node["attrs"].update(output_dtypes='["text"]'), "'output_dtypes'"),
        (lambda node: node["attrs"].update(data_names="[]"), "different lengths"),
        (lambda node: node["inputs"].reverse(), "its last input is 'data'"),
        (lambda node: node["attrs"].update(output_names="[1]"), "'output_names'"),
    ],
)
def test_a_malformed_compiled_node_is_an_error(edit: Any, text: str) -> None:
    _, symbol, _, _ = compiled()
    data = json.loads(symbol.tojson())
    edit(data["nodes"][-1])
    with pytest.raises(CodedError, match=text) as error:
        Symbol.load_json(json.dumps(data))
    assert error.value.code is Code.FILE_INVALID


def test_a_work_directory_keeps_the_files_of_each_subgraph(tmp_path: Path) -> None:
    _, _, args, _ = compiled(work_dir=tmp_path, excl_node_names=["joined"])
    for number in (0, 1):
        folder = tmp_path / f"_neuron_subgraph_op{number}"
        program = args[f"_neuron_subgraph_op{number}_neuronbin"].asnumpy().tobytes()
        assert (folder / "graph.neff").read_bytes() == program
        config = json.loads((folder / "graph-io-config.json").read_text())
        assert set(config) == {"inputs", "outputs"}
        files = ["graph-symbol.json", "graph-0000.params"]
        again = ranvier(
            *("compile", *(str(folder / name) for name in files), "--framework", "MXNET"),
            *("--io-config", str(folder / "graph-io-config.json"), "--fast-math", "none"),
            *("-o", str(folder / "again.neff")),
            cwd=tmp_path,
        )
        assert again.returncode == 0, again.stderr


def test_the_environment_keeps_the_files_where_the_script_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUBGRAPH_INFO", "1")
    compiled()
    assert (tmp_path / "._neuron_subgraph_op0" / "graph.neff").is_file()
