"""Symbols, arrays and executors with the face of MXNet's, without MXNet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mxnet_nets import (
    Net,
    convolutions,
    convolutions_in_numpy,
    normal,
    perceptron,
    perceptron_in_numpy,
)

from ranvier.dialects.diagnostics import Code, CodedError
from ranvier.importers.mxnet.params import write_params
from ranvier.mxnet import NDArray, Symbol, cpu, nd, neuron, sym

# f32 sums of tens of terms of about 1, in another order.
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
IMAGE = normal(1, 3, 8, 8)
ARGUMENTS = [
    *("data", "conv/0:w", "bn_gamma", "bn_beta", "fc_weight", "fc_bias", "label"),
]


def code_of(error: pytest.ExceptionInfo[CodedError]) -> Code:
    return error.value.code


# -- Symbols ----------------------------------------------------------------------------------


def test_names_are_in_the_order_in_which_they_are_needed() -> None:
    _, symbol = convolutions()
    assert symbol.list_arguments() == ARGUMENTS
    assert symbol.list_auxiliary_states() == ["bn_mean", "bn_var"]
    assert symbol.list_outputs() == ["softmax_output"]
    assert symbol.name == "softmax"


def test_shapes_follow_from_those_of_the_inputs() -> None:
    _, symbol = convolutions()
    arguments, outputs, states = symbol.infer_shape(data=(5, 3, 8, 8))
    assert arguments == [(5, 3, 8, 8), (4, 3, 3, 3), (4,), (4,), (3, 4), (3,), (5,)]
    assert (outputs, states) == ([(5, 3)], [(4,), (4,)])
    assert symbol.infer_shape((5, 3, 8, 8)) == (arguments, outputs, states)


def test_element_types_follow_from_those_of_the_inputs() -> None:
    net = Net()
    x = net.variable("x")
    net.nodes[0].attrs["__shape__"] = "(2, 6)"
    symbol = net.symbol(net.op("argmax", "most", net.dense("fc", x, 6, 4), axis=1))
    arguments, outputs, states = symbol.infer_type(x=np.float16)
    assert (arguments, outputs, states) == ([np.float16] * 3, [np.float16], [])


def test_internals_are_symbols_by_name() -> None:
    net, symbol = convolutions()
    inner = symbol.get_internals()
    assert inner.list_outputs()[:3] == ["data", "conv/0:w", "conv/0:0_output"]
    pooled = inner["flat_output"]
    assert pooled.list_arguments() == ["data", "conv/0:w", "bn_gamma", "bn_beta"]
    assert pooled.infer_shape(data=(2, 3, 8, 8))[1] == [(2, 4)]
    executor = pooled.bind(args={**net.args, "data": nd.array(IMAGE)}, aux_states=net.aux)
    assert executor.forward()[0].shape == (1, 4)
    with pytest.raises(CodedError, match="0 outputs of the symbol are called 'no'") as error:
        _ = inner["no"]
    assert code_of(error) is Code.INPUT_UNKNOWN


def test_a_symbol_is_the_same_after_a_round_trip(tmp_path: Path) -> None:
    _, symbol = convolutions()
    symbol.save(tmp_path / "net-symbol.json")
    loaded = sym.load(tmp_path / "net-symbol.json")
    assert loaded.tojson() == symbol.tojson() == (tmp_path / "net-symbol.json").read_text()
    assert Symbol.load_json(loaded.tojson()).list_arguments() == ARGUMENTS
    assert loaded.attr_dict()["conv/0:0"]["kernel"] == "(3, 3)"
    assert loaded["softmax_output"].list_attr() == {}


def test_a_variable_states_its_own_type() -> None:
    variable = sym.var("x", shape=(2, 3), dtype="int32")
    assert variable.list_outputs() == variable.list_arguments() == ["x"]
    assert variable.attr("__shape__") == "(2, 3)"
    assert variable.infer_shape() == ([(2, 3)], [(2, 3)], [])
    assert variable.infer_type() == ([np.int32], [np.int32], [])


@pytest.mark.parametrize(
    ("shapes", "text", "code"),
    [
        ({}, "the shape of variable 'data' is not given", Code.SHAPE_UNKNOWN),
        ({"data": (0, 3, 8, 8)}, "'data' is a tuple of numbers from 1 on", Code.INPUT_SHAPE),
        ({"data": (-1, 3, 8, 8)}, "'data' is a tuple of numbers from 1 on", Code.INPUT_SHAPE),
        ({"data": (1.5, 3, 8, 8)}, "'data' is a tuple of numbers from 1 on", Code.INPUT_SHAPE),
        ({"data": "1x3x8x8"}, "'data' is a tuple of numbers from 1 on", Code.INPUT_SHAPE),
        ({"image": (1, 3, 8, 8)}, "no variable 'image'; variables: data", Code.INPUT_UNKNOWN),
        ({"data": (1, 3)}, "conv/0:0", Code.NODE_INVALID),
    ],
)
def test_shapes_that_do_not_follow_are_errors(
    shapes: dict[str, Any], text: str, code: Code
) -> None:
    with pytest.raises(CodedError, match=text) as error:
        convolutions()[1].infer_shape(**shapes)
    assert code_of(error) is code


def test_an_operator_that_nobody_knows_is_an_error() -> None:
    net = Net()
    symbol = net.symbol(net.op("Frobnicate", "f", net.variable("x")))
    with pytest.raises(CodedError, match=r"node 'f' \(Frobnicate\)") as error:
        symbol.infer_shape(x=(2,))
    assert code_of(error) is Code.OP_OPAQUE


# -- Arrays -----------------------------------------------------------------------------------


def test_an_array_has_the_face_of_mxnets() -> None:
    array = nd.array([[1, 2], [3, 4]])
    assert (array.shape, array.dtype, array.size, array.ndim) == ((2, 2), np.float32, 4, 2)
    array.wait_to_read()
    other = nd.zeros((2, 2), dtype="float16")
    assert array.copyto(other) is other
    assert other.asnumpy().tolist() == [[1, 2], [3, 4]]
    assert array.copyto(neuron(1)).context == neuron(1)
    assert array.as_in_context(cpu()) is array
    assert array[1].asnumpy().tolist() == [3, 4]
    assert [row.asnumpy().tolist() for row in array] == [[1, 2], [3, 4]]
    assert array.astype("int32").dtype is np.int32
    assert array.reshape(4).shape == (4,)
    assert nd.ones(1).asscalar() == 1
    assert np.asarray(array).sum() == 10
    assert len(array) == 2
    assert "2x2 @cpu(0)" in repr(array)


def test_what_is_returned_is_a_copy() -> None:
    array = nd.array([1, 2])
    array.asnumpy()[0] = 9
    assert array.asnumpy().tolist() == [1, 2]


def test_files_of_arrays_keep_every_byte(tmp_path: Path) -> None:
    arrays = {"arg:w": nd.array(normal(2, 3)), "aux:n": nd.array([1, 2], dtype="int64")}
    nd.save(tmp_path / "one", arrays)
    loaded = nd.load(tmp_path / "one")
    assert isinstance(loaded, dict)
    nd.save(tmp_path / "two", loaded)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    nd.save(tmp_path / "list", [arrays["arg:w"]])
    (only,) = nd.load(tmp_path / "list")
    assert isinstance(only, NDArray)
    np.testing.assert_array_equal(only.asnumpy(), arrays["arg:w"].asnumpy())


def test_writing_to_a_mapped_array_leaves_its_file_alone(tmp_path: Path) -> None:
    nd.save(tmp_path / "one", {"w": nd.array([1, 2])})
    loaded = nd.load(tmp_path / "one")
    assert isinstance(loaded, dict)
    loaded["w"][:] = 7
    assert loaded["w"].asnumpy().tolist() == [7, 7]
    again = nd.load(tmp_path / "one")
    assert isinstance(again, dict)
    assert again["w"].asnumpy().tolist() == [1, 2]


def test_a_file_that_lies_about_its_sizes_is_an_error(tmp_path: Path) -> None:
    write_params(tmp_path / "net.params", {"arg:w": np.zeros((2, 3), np.float32)})
    data = bytearray((tmp_path / "net.params").read_bytes())
    data[40:48] = (2**40).to_bytes(8, "little")
    (tmp_path / "net.params").write_bytes(data)
    with pytest.raises(CodedError, match="are left") as error:
        nd.load(tmp_path / "net.params")
    assert code_of(error) is Code.FILE_INVALID


# -- Executors --------------------------------------------------------------------------------


def test_simple_bind_and_copy_params_compute_the_network() -> None:
    net, symbol = convolutions()
    executor = symbol.simple_bind(ctx=neuron(0), data=(1, 3, 8, 8), grad_req="null")
    executor.copy_params_from(net.args, net.aux)
    outputs = executor.forward(is_train=False, data=IMAGE)
    outputs[0].wait_to_read()
    np.testing.assert_allclose(outputs[0].asnumpy(), convolutions_in_numpy(net, IMAGE), **CLOSE)
    assert list(executor.output_dict) == ["softmax_output"]
    assert set(executor.aux_dict) == {"bn_mean", "bn_var"}


def test_bind_takes_arrays_by_name_and_in_order() -> None:
    net, symbol = perceptron()
    data = normal(2, 6)
    expected = perceptron_in_numpy(net, data)
    named = symbol.bind(cpu(), {**net.args, "data": nd.array(data), "unread": nd.ones(1)})
    listed = symbol.bind(args=[{**net.args, "data": data}[n] for n in symbol.list_arguments()])
    for executor in (named, listed):
        np.testing.assert_allclose(executor.forward()[0].asnumpy(), expected, **CLOSE)


def test_parameters_may_change_between_calls() -> None:
    net, symbol = perceptron()
    data = normal(2, 6)
    executor = symbol.bind(args={**net.args, "data": data})
    executor.forward()
    net.args["fc2_bias"][:] = 5
    executor.copy_params_from({"fc2_bias": net.args["fc2_bias"], "no": data}, None, True)
    result = executor.forward()[0].asnumpy()
    np.testing.assert_allclose(result, perceptron_in_numpy(net, data), **CLOSE)


@pytest.mark.parametrize(
    ("call", "text", "code"),
    [
        (lambda e: e.forward(is_train=True), "training is not supported", Code.OPTION_INVALID),
        (lambda e: e.backward(), "training is not supported", Code.OPTION_INVALID),
        (lambda e: e.forward(x=normal(2, 6)), "no argument 'x'", Code.INPUT_UNKNOWN),
        (lambda e: e.forward(data=normal(3, 6)), "'data' is 2x6, got 3x6", Code.INPUT_SHAPE),
        (lambda e: e.forward(data=["a"]), "'data' is no array of numbers", Code.INPUT_TYPE),
        (lambda e: e.copy_params_from({"w": 1}), "no argument 'w'", Code.INPUT_UNKNOWN),
    ],
)
def test_what_an_executor_cannot_do_is_an_error(call: Any, text: str, code: Code) -> None:
    net, symbol = perceptron()
    executor = symbol.bind(args={**net.args, "data": normal(2, 6)})
    with pytest.raises(CodedError, match=text) as error:
        call(executor)
    assert code_of(error) is code


def test_a_missing_array_is_an_error() -> None:
    net, symbol = perceptron()
    with pytest.raises(CodedError, match="argument 'data' is missing") as error:
        symbol.bind(args=net.args)
    assert code_of(error) is Code.INPUT_MISSING
    with pytest.raises(CodedError, match="5 arguments are needed in order, got 1"):
        symbol.bind(args=[normal(2, 6)])


def test_a_damaged_compiled_node_is_an_error_that_names_it() -> None:
    node = {"op": "_neuron_subgraph_op", "name": "n", "inputs": [[0, 0, 0]], "attrs": {}}
    symbol = {
        "nodes": [{"op": "null", "name": "x", "inputs": []}, node],
        "arg_nodes": [0],
        "heads": [[1, 0, 0]],
    }
    with pytest.raises(CodedError, match="'output_names' is no list of names") as error:
        sym.load_json(json.dumps(symbol))
    assert code_of(error) is Code.FILE_INVALID
