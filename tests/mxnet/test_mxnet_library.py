"""Compiled nodes in MXNet: what they compute, and symbols and programs that are wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_symbols import (
    CLOSE,
    NEFF,
    OP,
    W,
    X,
    compiled_node,
    expected,
    graph,
    layer,
    needs_compiler,
    neff_of,
    whole,
)
from mxnet_samples import Array, S, mx

from ranvier.dialects.diagnostics import CallerError
from ranvier.importers.errors import ModelImportError
from ranvier.mxnet import runtime

RANDOM = np.random.default_rng(8)


@pytest.fixture(scope="module")
def neff(tmp_path_factory: pytest.TempPathFactory) -> Array:
    return neff_of(layer(), {"w": W}, {"data": X}, tmp_path_factory.mktemp("neff") / "a.neff")


@pytest.fixture
def content() -> dict[str, Any]:
    return whole(layer(), {"data": X}, expected())


def bound(content: dict[str, Any], **arrays: Array) -> Any:
    symbol = mx.sym.load_json(json.dumps(content))
    return symbol.bind(mx.cpu(), {k: mx.nd.array(v, dtype=v.dtype) for k, v in arrays.items()})


def test_a_compiled_node_computes_both_outputs(content: dict[str, Any], neff: Array) -> None:
    executor = bound(content, data=X, **{NEFF: neff})
    for output, want in zip(executor.forward(), expected(), strict=True):
        np.testing.assert_allclose(output.asnumpy(), want, **CLOSE)


@needs_compiler
def test_the_library_is_in_use_and_keeps_the_subgraph(content: dict[str, Any]) -> None:
    symbol = mx.sym.load_json(json.dumps(content))
    assert runtime.load_library() == "native"
    (node,) = (n for n in json.loads(symbol.tojson())["nodes"] if n["op"] != "null")
    assert node["op"] == OP
    assert [n["op"] for n in node["subgraphs"][0]["nodes"]].count("FullyConnected") == 1


def test_shapes_and_types_stand_in_the_node(content: dict[str, Any]) -> None:
    symbol = mx.sym.load_json(json.dumps(content))
    assert symbol.infer_shape()[1] == [(2, 4), (2, 4)]
    assert symbol.infer_type()[0] == [np.float32, np.uint8]


def test_half_floats_and_integers_go_in_and_out(tmp_path: Path) -> None:
    inputs = {
        "h": np.arange(6, dtype=np.float16).reshape(2, 3),
        "i": np.array([1, 2**24 + 1, -7], np.int32),
    }
    symbol = S.Group([S.var("h", dtype="float16") * 2, S.var("i", dtype="int32") + 1])
    outputs = [inputs["h"] * np.float16(2), inputs["i"] + np.int32(1)]
    executor = bound(
        whole(symbol, inputs, outputs),
        **inputs,
        **{NEFF: neff_of(symbol, {}, inputs, tmp_path / "a")},
    )
    for output, want in zip(executor.forward(), outputs, strict=True):
        assert output.dtype == want.dtype
        np.testing.assert_array_equal(output.asnumpy(), want)


def between_convolutions(tmp_path: Path) -> tuple[Any, dict[str, Array], Array]:
    """Convolutions of MXNet before and after a compiled `relu`, arrays, and what comes out."""
    inner = RANDOM.standard_normal((1, 8, 5, 5)).astype(np.float32)
    relu = S.Activation(S.var("mid"), act_type="relu", name="relu")
    node = compiled_node(relu, {"mid": inner}, [inner], [[2, 0, 0], [3, 0, 0]])
    kernel = {"kernel": "(3, 3)", "num_filter": "8", "no_bias": "True", "pad": "(1, 1)"}
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "w0", "inputs": []},
        {"op": "Convolution", "name": "c0", "attrs": kernel, "inputs": [[0, 0, 0], [1, 0, 0]]},
        {"op": "null", "name": NEFF, "inputs": []},
        node,
        {"op": "null", "name": "w1", "inputs": []},
        {"op": "Convolution", "name": "c1", "attrs": kernel, "inputs": [[4, 0, 0], [5, 0, 0]]},
    ]
    arrays = {
        "data": RANDOM.standard_normal((1, 8, 5, 5)).astype(np.float32),
        "w0": RANDOM.standard_normal((8, 8, 3, 3)).astype(np.float32),
        "w1": RANDOM.standard_normal((8, 8, 3, 3)).astype(np.float32),
    }
    first = S.Convolution(
        S.var("data"), S.var("w0"), kernel=(3, 3), pad=(1, 1), num_filter=8, no_bias=True
    )
    plain = S.Convolution(
        S.Activation(first, act_type="relu"),
        S.var("w1"),
        kernel=(3, 3),
        pad=(1, 1),
        num_filter=8,
        no_bias=True,
    )
    given = {name: mx.nd.array(array) for name, array in arrays.items()}
    want = plain.bind(mx.cpu(), given).forward()[0].asnumpy()
    arrays[NEFF] = neff_of(relu, {}, {"mid": inner}, tmp_path / "relu.neff")
    return graph(nodes, [[6, 0, 0]]), arrays, want


def test_tensors_in_layouts_of_mxnet_are_read_as_plain_ones(tmp_path: Path) -> None:
    content, arrays, want = between_convolutions(tmp_path)
    np.testing.assert_allclose(
        bound(content, **arrays).forward()[0].asnumpy(), want, rtol=1e-4, atol=1e-4
    )


def test_inference_of_shapes_without_ranks_is_refused(tmp_path: Path) -> None:
    """MXNet 1.9.1 writes past a buffer there."""
    content, arrays, _ = between_convolutions(tmp_path)
    symbol = mx.sym.load_json(json.dumps(content))
    for infer in (symbol.infer_shape, symbol.infer_shape_partial):
        with pytest.raises(CallerError, match="give the shape of 'data'"):
            infer()
    assert symbol.infer_shape(data=(1, 8, 5, 5))[1] == [(1, 8, 5, 5)]
    with pytest.raises(CallerError, match="the size of"):
        symbol.simple_bind(mx.cpu(), data=(1, 8, 5, 5))
    executor = symbol.simple_bind(mx.cpu(), data=(1, 8, 5, 5), **{NEFF: arrays[NEFF].shape})
    assert executor.arg_dict[NEFF].dtype == np.uint8


def test_threads_share_a_program(content: dict[str, Any], neff: Array) -> None:
    results: dict[int, Array] = {}

    def work(number: int) -> None:
        executor = bound(content, data=X * number, **{NEFF: neff})
        for _ in range(5):
            results[number] = executor.forward()[1].asnumpy()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        np.testing.assert_allclose(results[number], number * X @ W.T, rtol=1e-5, atol=1e-4)


def test_training_is_refused(content: dict[str, Any], neff: Array) -> None:
    executor = bound(content, data=X, **{NEFF: neff})
    with pytest.raises(CallerError, match="training is not supported"):
        executor.forward(is_train=True)
    with pytest.raises(CallerError, match="training is not supported"):
        executor.backward()


def test_a_neff_that_is_replaced_is_loaded_again(
    content: dict[str, Any], neff: Array, tmp_path: Path
) -> None:
    executor = bound(content, data=X, **{NEFF: neff})
    executor.forward()[1].wait_to_read()
    other = neff_of(layer(), {"w": 2 * W}, {"data": X}, tmp_path / "other.neff")
    assert other.shape == neff.shape
    executor.arg_dict[NEFF][:] = mx.nd.array(other, dtype=np.uint8)
    np.testing.assert_allclose(executor.forward()[1].asnumpy(), 2 * X @ W.T, **CLOSE)


def test_a_gluon_block_runs_compiled_nodes(
    content: dict[str, Any], neff: Array, tmp_path: Path
) -> None:
    (tmp_path / "net-symbol.json").write_text(json.dumps(content))
    mx.nd.save(str(tmp_path / "net.params"), {f"arg:{NEFF}": mx.nd.array(neff, dtype="uint8")})
    block = mx.gluon.SymbolBlock.imports(
        str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net.params")
    )
    for _ in range(2):
        np.testing.assert_allclose(block(mx.nd.array(X))[1].asnumpy(), X @ W.T, **CLOSE)


# -- What is wrong ----------------------------------------------------------------------------


def flipped(neff: Array) -> Array:
    damaged = neff.copy()
    damaged[-600] ^= 1
    return damaged


WRONG_NEFFS: dict[str, tuple[Callable[[Array], Array], str]] = {
    "zeros": (np.zeros_like, "RV0110"),
    "noise": (lambda neff: RANDOM.integers(0, 255, neff.shape).astype(np.uint8), "RV030"),
    "one bit": (flipped, "RV030"),
    "cut": (lambda neff: neff[: neff.size // 2], "RV0301"),
    "a matrix": (lambda neff: neff.reshape(2, -1), "RV0111"),
    "short": (lambda neff: neff[:7], "RV0301"),
}


@needs_compiler
@pytest.mark.parametrize("name", WRONG_NEFFS)
def test_a_wrong_neff_is_an_error_with_a_code(
    content: dict[str, Any], neff: Array, name: str
) -> None:
    change, code = WRONG_NEFFS[name]
    with pytest.raises(mx.MXNetError, match=code):
        bound(content, data=X, **{NEFF: change(neff)}).forward()[0].asnumpy()


@needs_compiler
def test_the_neff_of_another_node_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    other = neff_of(S.var("data") * 2, {}, {"data": X}, tmp_path / "other.neff")
    with pytest.raises(mx.MXNetError, match="the NEFF is of another node"):
        bound(content, data=X, **{NEFF: other}).forward()[0].asnumpy()


@needs_compiler
@pytest.mark.parametrize(
    ("array", "code"), [(X[:1], "RV0112"), (X.astype(np.float16), "RV0111"), (X[0], "RV0112")]
)
def test_arrays_that_do_not_fit_are_refused_when_bound(
    content: dict[str, Any], neff: Array, array: Array, code: str
) -> None:
    with pytest.raises(mx.MXNetError, match=code):
        bound(content, data=array, **{NEFF: neff})


def test_an_array_that_does_not_fit_is_refused_at_forward(
    content: dict[str, Any], neff: Array
) -> None:
    executor = bound(content, data=X, **{NEFF: neff})
    with pytest.raises(ValueError, match="Shape not match"):
        executor.forward(data=mx.nd.zeros((1, 6)))


def test_a_symbol_without_its_neff_does_not_bind(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=NEFF):
        bound(content, data=X)


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda node: node["attrs"].pop(key)


def with_attr(key: str, value: str) -> Callable[[dict[str, Any]], None]:
    return lambda node: node["attrs"].update({key: value})


DEFECTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no subgraph": (lambda node: node.pop("subgraphs"), "0 subgraphs"),
    "an empty subgraph": (lambda node: node.update(subgraphs=[{}]), "no list"),
    "two subgraphs": (lambda node: node.update(subgraphs=2 * node["subgraphs"]), "2 subgraphs"),
    "no names": (without("data_names"), "'data_names' is missing"),
    "no output types": (without("output_dtypes"), "'output_dtypes' is missing"),
    "no JSON": (with_attr("data_names", "['data'"), "no list"),
    "deep JSON": (with_attr("data_names", "[" * 10**5), "no list"),
    "fewer shapes": (with_attr("data_shapes", "[]"), "different lengths"),
    "a negative size": (with_attr("data_shapes", "[[-2, 6]]"), "data_shapes"),
    "a huge size": (with_attr("data_shapes", "[[2, 99999999999]]"), "data_shapes"),
    "a text as size": (with_attr("data_shapes", '[["2", 6]]'), "data_shapes"),
    "an unknown type": (with_attr("data_dtypes", '["float8"]'), "data_dtypes"),
    "no outputs": (
        lambda node: node["attrs"].update(
            output_names="[]", output_shapes="[]", output_dtypes="[]"
        ),
        "no outputs",
    ),
    "one output": (
        lambda node: node["attrs"].update(
            output_names='["a"]', output_shapes="[[2, 4]]", output_dtypes='["float32"]'
        ),
        "output 1",
    ),
    "a deferred node": (with_attr("deferred", "{}"), "for bound symbols only"),
    "no inputs": (lambda node: node.update(inputs=[]), "0 inputs"),
    "no NEFF": (lambda node: node.update(inputs=[[0, 0, 0]]), "1 inputs"),
    "another variable": (lambda node: node.update(inputs=2 * [[0, 0, 0]]), "not its program"),
    "another name": (lambda node: node.update(name="other"), "other_neuronbin"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_of_the_symbol_is_found_before_mxnet_sees_it(
    content: dict[str, Any], name: str, tmp_path: Path
) -> None:
    change, text = DEFECTS[name]
    change(content["nodes"][-1])
    with pytest.raises(ModelImportError, match=text):
        mx.sym.load_json(json.dumps(content))
    (tmp_path / "net-symbol.json").write_text(json.dumps(content))
    with pytest.raises(ModelImportError, match=r"net-symbol\.json"):
        mx.sym.load(str(tmp_path / "net-symbol.json"))


def an_op_beside(content: dict[str, Any]) -> int:
    """Put a dropout after the compiled node; its index."""
    content["nodes"].append(
        {"op": "Dropout", "name": "kept", "inputs": [[len(content["nodes"]) - 1, 0, 0]]}
    )
    return len(content["nodes"]) - 1


def test_outputs_that_an_op_of_mxnet_lacks_are_refused(content: dict[str, Any]) -> None:
    """MXNet would read memory behind the op's outputs."""
    del content["node_row_ptr"]
    index = an_op_beside(content)
    content["heads"] = [[index, 0, 0]]
    mx.sym.load_json(json.dumps(content))
    content["heads"] = [[index, 4, 0]]
    with pytest.raises(ModelImportError, match=r"output 4 of node 'kept' \(Dropout\) is read"):
        mx.sym.load_json(json.dumps(content))


def test_a_variable_has_one_output(content: dict[str, Any]) -> None:
    """MXNet ends the process."""
    del content["node_row_ptr"]
    content["heads"] = [[0, 1, 0]]
    with pytest.raises(ModelImportError, match="has one output; 2 are stated or read"):
        mx.sym.load_json(json.dumps(content))
