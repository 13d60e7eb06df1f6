"""The arguments of `ranvier.mxnet.compile`, input that it refuses, and the shell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ranvier
from mxnet_nets import Net, convolutions, convolutions_in_numpy, normal, perceptron
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.exceptions import PassFailedException

from ranvier import load as ranvier_program
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, CodedError
from ranvier.mxnet import NDArray, compile, compiler, nd, save_checkpoint
from ranvier.mxnet.options import arguments_of, compile_args_of
from ranvier.program import Compiled, Options, compile_module

IMAGE = normal(1, 3, 8, 8)


# -- Arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"--neuroncore-pipeline-cores": 4}, ["--neuroncore-pipeline-cores", "4"]),
        ({"--num-neuroncores": 2, "flags": ["--fp32-cast matmult"]},
         ["--num-neuroncores", "2", "--fp32-cast", "matmult"]),
        ({"--pipeline": "compile", "--num-neuroncores": 2, "flags": ["SaveTemps"]},
         ["--num-neuroncores", "2", "--pipeline", "compile", "SaveTemps"]),
        ({"flags": "-O2,--fast-math none"}, ["-O2", "--fast-math", "none"]),
        ({"--enable-saturate-infinity": True, "--debug": False}, ["--enable-saturate-infinity"]),
        ({"--fast-math": ["fp32-cast-matmult", "no-fast-relayout"]},
         ["--fast-math", "fp32-cast-matmult", "no-fast-relayout"]),
    ],
)  # fmt: skip
def test_arguments_of_the_compiler(given: dict[str, Any], expected: list[str]) -> None:
    assert arguments_of(given) == expected
    compile_args_of(given)


def test_arguments_may_stand_in_a_dictionary_of_their_own() -> None:
    arguments = compile_args_of({"compile_args": {"--num-neuroncores": 2, "work_dir": "x"}})
    assert arguments.options.cores == 2
    assert arguments.work_dir == Path("x")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"minimum_segments": 1}, "unknown compile argument 'minimum_segments'"),
        ({"--no-such-flag": 1}, "compile_args: unrecognized arguments: --no-such-flag"),
        ({"--neuroncore-pipeline-cores": 1000}, "cores"),
        ({"flags": 7}, "flags is a list of strings"),
        ({"excl_node_names": [7]}, "excl_node_names is a list of node names"),
        ({"minimum_segment_size": -1}, "minimum_segment_size is a number from 0 on"),
        ({"compile_args": 3}, "compile_args is a dictionary"),
        ({"work_dir": 3}, "work_dir is the path of a folder, got 3"),
    ],
)
def test_a_wrong_argument_is_an_error(given: dict[str, Any], text: str) -> None:
    with pytest.raises(CodedError, match=text) as error:
        compile_args_of(given)
    assert error.value.code is Code.OPTION_INVALID


# -- Bad input --------------------------------------------------------------------------------


def wrong_weight(net: Net) -> None:
    net.args["fc1_weight"] = NDArray(normal(5, 7))


def integer_weight(net: Net) -> None:
    net.args["fc1_weight"] = NDArray(np.ones((5, 6), np.int32))


@pytest.mark.parametrize(
    ("edit", "text", "code"),
    [
        (lambda net: net.args.pop("fc2_bias"), "'fc2_bias' is in none of", Code.INPUT_MISSING),
        (lambda net: net.args.update(more=nd.ones(1)), "args has 'more'", Code.INPUT_UNKNOWN),
        (lambda net: net.aux.update(more=nd.ones(1)), "aux has 'more'", Code.INPUT_UNKNOWN),
        (wrong_weight, "node 'fc1'", Code.NODE_INVALID),
        (integer_weight, "node 'fc1'", Code.NODE_INVALID),
        (lambda net: net.args.update(fc1_bias=["a"]), "no array of numbers", Code.INPUT_TYPE),
    ],
)
def test_parameters_that_do_not_fit_are_errors(edit: Any, text: str, code: Code) -> None:
    net, symbol = perceptron()
    edit(net)
    with pytest.raises(CodedError, match=text) as error:
        compile(symbol, net.args, net.aux, {"data": normal(2, 6)})
    assert error.value.code is code


def test_parameters_without_names_are_errors() -> None:
    net, symbol = perceptron()
    for kind in ("args", "aux"):
        with pytest.raises(CodedError, match=f"{kind} is a dictionary of arrays") as error:
            compile(symbol, **{"args": net.args, kind: [nd.ones(1)]}, inputs={"data": IMAGE})
        assert error.value.code is Code.OPTION_INVALID


@pytest.mark.parametrize(
    ("inputs", "text", "code"),
    [
        (None, "inputs is a dictionary", Code.INPUT_MISSING),
        ({}, "inputs is a dictionary", Code.INPUT_MISSING),
        ({"image": IMAGE}, "inputs has 'image'", Code.INPUT_UNKNOWN),
        ({"data": normal(2, 6).astype(np.complex64)}, "no array of numbers", Code.INPUT_TYPE),
        ({"data": normal(2, 7)}, "node 'fc1'", Code.NODE_INVALID),
    ],
)
def test_inputs_that_do_not_fit_are_errors(inputs: Any, text: str, code: Code) -> None:
    net, symbol = perceptron()
    with pytest.raises(CodedError, match=text) as error:
        compile(symbol, net.args, net.aux, inputs)
    assert error.value.code is code


def test_an_operator_that_nobody_knows_is_an_error() -> None:
    net = Net()
    hidden = net.dense("fc", net.variable("data"), 6, 4)
    symbol = net.symbol(net.op("Frobnicate", "f", hidden))
    with pytest.raises(CodedError, match=r"node 'f' \(Frobnicate\)") as error:
        compile(symbol, net.args, {}, {"data": normal(2, 6)})
    assert error.value.code is Code.OP_OPAQUE


def test_names_of_no_operator_are_errors() -> None:
    net, symbol = perceptron()
    with pytest.raises(CodedError, match="excl_node_names: no operator 'fc9'") as error:
        compile(symbol, net.args, {}, {"data": normal(2, 6)}, excl_node_names=["fc9"])
    assert error.value.code is Code.INPUT_UNKNOWN


def test_what_is_no_symbol_is_an_error() -> None:
    with pytest.raises(CodedError, match="takes a Symbol or a HybridBlock, got str") as error:
        compile("net-symbol.json", {}, {}, {"data": IMAGE})
    assert error.value.code is Code.OPTION_INVALID


# -- Failures of the compiler -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("retry", "ops"),
    [
        (0, ["FullyConnected", "Activation", "Dropout", "FullyConnected"]),
        (1, ["_neuron_subgraph_op", "Activation", "_neuron_subgraph_op"]),
    ],
)
def test_a_retry_finds_the_operators_that_fail(
    monkeypatch: pytest.MonkeyPatch, retry: int, ops: list[str]
) -> None:
    """By itself a failure leaves the whole subgraph with MXNet."""

    def failing(module: ModuleOp, options: Options) -> Compiled:
        if any(isinstance(op, nn.ReluOp) for op in module.walk()):
            raise PassFailedException("no relu today")
        return compile_module(module, options)

    monkeypatch.setattr(compiler, "compile_module", failing)
    net, symbol = perceptron()
    new, _, _ = compile(
        *(symbol, net.args, {}, {"data": normal(2, 6)}),
        minimum_segment_size=1,
        op_by_op_compiler_retry=retry,
    )
    nodes = json.loads(new.tojson())["nodes"]
    assert [node["op"] for node in nodes if node["op"] != "null"] == ops


# -- The shell --------------------------------------------------------------------------------


def test_the_command_compiles_a_checkpoint(tmp_path: Path) -> None:
    net, symbol = convolutions()
    save_checkpoint(tmp_path / "net", 0, symbol, net.args, net.aux)
    files = [str(tmp_path / name) for name in ("net-symbol.json", "net-0000.params")]
    done = ranvier(
        *("compile", *files, "--framework", "MXNET", "--neuroncore-pipeline-cores", "2"),
        *("--shape", "data=1x3x8x8", "--output", "file.neff"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    output = ranvier_program(tmp_path / "file.neff").run({"data": IMAGE})["softmax_output"]
    expected = convolutions_in_numpy(net, IMAGE)
    # Probabilities of sums in bf16, whose terms are about 1 and have 8 bits.
    np.testing.assert_allclose(output, expected, atol=2e-2)


def test_the_command_lists_the_operators(tmp_path: Path) -> None:
    done = ranvier("list-operators", "--framework", "MXNET", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    listed = done.stdout.splitlines()
    assert listed == sorted(listed)
    assert {"Convolution", "RNN", "_contrib_arange_like", "__rsub_scalar__"} <= set(listed)


@pytest.mark.parametrize("given", [{"flags": ["--fast-math 'none"]}, {"--fast-math": "'none"}])
def test_an_open_quote_is_an_error(given: dict[str, object]) -> None:
    with pytest.raises(CodedError, match="No closing quotation"):
        compile_args_of(given)
