"""Placement rules of a user, and of the names in options, in `ranvier.mxnet`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from mxnet_nets import Net
from ruled import BF16, F32, ONE, TWO, X, error, products_in, write

from ranvier.dialects.diagnostics import Code, CodedError
from ranvier.mxnet import Symbol, compile


def network() -> tuple[Net, Symbol]:
    net = Net()
    one, two = net.variable("one", ONE.T.copy()), net.variable("two", TWO.T.copy())
    dense: dict[str, Any] = {"num_hidden": 8, "no_bias": "True"}
    hidden = net.op("FullyConnected", "encoder/one", net.variable("x"), one, **dense)
    hidden = net.op("Activation", "encoder/mid", hidden, act_type="tanh")
    hidden = net.op("FullyConnected", "two", hidden, two, **dense)
    return net, net.symbol(net.op("softmax", "y", hidden))


def compiled(folder: Path, rules: str, **arguments: Any) -> tuple[Symbol, Any]:
    """The new symbol and its result."""
    net, symbol = network()
    args = {"--rules": write(folder, rules), **arguments}
    new, params, _ = compile(symbol, net.args, {}, {"x": X}, **args)
    return new, new.bind(args={**params, "x": X}).forward()[0].asnumpy()


def left(symbol: Symbol) -> list[str]:
    """Names of the operators that are not compiled."""
    nodes = json.loads(symbol.tojson())["nodes"]
    return [n["name"] for n in nodes if n["op"] not in ("null", "_neuron_subgraph_op")]


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ('host name ~ "encoder/.*"', ["encoder/one", "encoder/mid"]),
        ('host framework_op == "Activation"', ["encoder/one", "encoder/mid"]),
        ("host nn.softmax where shape == [4, ?]", ["y"]),
        ("host nn.softmax where shape == [5, ?]", []),
        ('host *\nneuron nn.tanh where name == "encoder/mid"', ["encoder/one", "two", "y"]),
        ('neuron *\nhost framework_op == "softmax"', ["y"]),
    ],
)
def test_rules_place_nodes(rules: str, wanted: list[str], tmp_path: Path) -> None:
    symbol, result = compiled(tmp_path, rules)
    assert left(symbol) == wanted
    assert error(result) < BF16


def test_a_rule_beats_options_and_lines_are_those_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mid = {"excl_node_names": ["encoder/mid"], "minimum_segment_size": 1}
    with caplog.at_level(logging.INFO, "mxnet"):
        assert left(compiled(tmp_path, "# two lines\nhost nn.softmax", **mid)[0]) == [
            "encoder/mid",
            "y",
        ]
    assert "'encoder/mid': rule line 1: excl_node_names [RV0208]" in caplog.text
    assert "'y': rule line 2 [RV0208]" in caplog.text
    assert left(compiled(tmp_path, 'neuron name == "encoder/mid"', **mid)[0]) == []
    forced = {"force_incl_node_names": ["encoder/mid"], "minimum_segment_size": 1}
    assert left(compiled(tmp_path, "host nn.tanh", **forced)[0]) == ["encoder/mid"]


@pytest.mark.parametrize("option", ["excl_node_names", "--rules"])
def test_names_of_any_characters_are_placed(option: str, tmp_path: Path) -> None:
    """Rules spell them as `explain` does."""
    net = Net()
    first = net.op("Activation", "é:0", net.variable("x"), act_type="tanh")
    symbol = net.symbol(net.op("exp", "power", first))
    given: Any = ["é:0"] if option != "--rules" else write(tmp_path, r'host name == "\xe9:0"')
    new, _, _ = compile(symbol, {}, {}, {"x": X}, minimum_segment_size=1, **{option: given})
    assert left(new) == ["é:0"]


def test_what_cannot_be_on_the_machine_is_an_error(tmp_path: Path) -> None:
    net = Net()
    double = net.op("Cast", "double", net.variable("x"), dtype="float64")
    symbol = net.symbol(net.op("sin", "sine", double))
    with pytest.raises(CodedError, match=r"rule line 1: .*'sine'.*RV0202") as caught:
        compile(symbol, {}, {}, {"x": X}, flags=f"--rules {write(tmp_path, 'neuron nn.sin')}")
    assert caught.value.code is Code.RULE_IMPOSSIBLE


@pytest.mark.parametrize("core", [0, 1])
def test_a_rule_chooses_the_core(core: int, tmp_path: Path) -> None:
    arguments = {"--num-neuroncores": 2, "work_dir": tmp_path}
    _, result = compiled(tmp_path, f"core {core} *", **arguments)
    assert products_in(tmp_path) == {core: 2}
    assert error(result) < BF16


def test_a_core_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CodedError, match="core 2; the pipeline has cores 0 to 1") as caught:
        compiled(tmp_path, "core 2 *", **{"--num-neuroncores": 2})
    assert caught.value.code is Code.RULE_IMPOSSIBLE


def test_kept_ops_compute_in_f32(tmp_path: Path) -> None:
    assert error(compiled(tmp_path, "keep f32 *")[1]) < F32
    assert F32 < error(compiled(tmp_path, "keep f32 nn.tanh")[1]) < BF16
