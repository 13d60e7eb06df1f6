"""MXNet's operators as `nn`, against MXNet; files against those that MXNet writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mxnet_samples import SAMPLES, Array, S, Sample, a, mx, p, r, y

import ranvier
from ranvier.backend.reference import Executor
from ranvier.dialects.nn.types import tensor
from ranvier.importers.mxnet import import_mxnet, import_symbol, infer_types, needed_variables
from ranvier.importers.mxnet.params import read_params, write_params
from ranvier.importers.mxnet.reading import parse_symbol
from ranvier.importers.mxnet.symbol import print_symbol
from ranvier.importers.semantics import element_type
from ranvier.mxnet.symbol import load_json

BY_NAME = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


def mxnet_outputs(sample: Sample) -> list[Array]:
    symbol = sample.symbol
    arrays = {k: mx.nd.array(v, dtype=v.dtype) for k, v in sample.arrays.items()}
    arguments = {k: arrays[k] for k in symbol.list_arguments()}
    states = {k: arrays[k] for k in symbol.list_auxiliary_states()}
    executor = symbol.bind(mx.cpu(), arguments, aux_states=states)
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def imported(sample: Sample) -> tuple[Any, dict[str, Array]]:
    graph = parse_symbol(sample.symbol.tojson())
    inputs = {node.name: sample.arrays[node.name] for node in needed_variables(graph)}
    types = {name: tensor(x.shape, element_type(x.dtype)) for name, x in inputs.items()}
    return import_symbol(graph, {}, types), inputs


def assert_same(actual: Sequence[Array], expected: Sequence[Array]) -> None:
    for mine, theirs in zip(actual, expected, strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        # Both compute in f32, in other orders: sums of up to some hundred terms of about 1.
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@BY_NAME
def test_an_op_computes_what_mxnet_computes(sample: Sample) -> None:
    module, inputs = imported(sample)
    module.verify()
    outputs = Executor(module).run(inputs)
    assert list(outputs) == sample.symbol.list_outputs()
    assert_same(list(outputs.values()), mxnet_outputs(sample))


@BY_NAME
def test_an_op_compiles_to_what_mxnet_computes(sample: Sample) -> None:
    module, inputs = imported(sample)
    outputs = ranvier.compile(module, fast_math=("none",)).run(inputs)
    assert_same(list(outputs.values()), mxnet_outputs(sample))


@BY_NAME
def test_a_symbol_prints_as_mxnet_prints_it(sample: Sample) -> None:
    text = sample.symbol.tojson()
    assert print_symbol(parse_symbol(text)) == text


@BY_NAME
def test_a_symbol_lists_the_internals_that_mxnet_lists(sample: Sample) -> None:
    symbol = load_json(sample.symbol.tojson())
    theirs = sample.symbol.get_internals()
    assert symbol.get_internals().list_outputs() == theirs.list_outputs()


OTHERS = {
    "topk": S.topk(a, k=2),
    "topk of both": S.topk(a, k=2, ret_typ="both"),
    "LeakyReLU at random": S.LeakyReLU(a, act_type="rrelu"),
    "ROIPooling": S.ROIPooling(a, y, pooled_size=(2, 2), spatial_scale=1.0),
    "SpatialTransformer": S.SpatialTransformer(
        a, y, target_shape=(4, 4), transform_type="affine", sampler_type="bilinear"
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_outputs_that_mxnet_hides_are_hidden(name: str) -> None:
    symbol = OTHERS[name]
    mine, theirs = load_json(symbol.tojson()), symbol
    assert mine.list_outputs() == theirs.list_outputs()
    assert mine.get_internals().list_outputs() == theirs.get_internals().list_outputs()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A network of Gluon as files, with its own output for an image."""
    folder = tmp_path_factory.mktemp("mxnet")
    mx.random.seed(0)
    net = mx.gluon.model_zoo.vision.resnet18_v2()
    net.initialize(mx.init.Xavier())
    net.hybridize()
    expected = net(mx.nd.array(image())).asnumpy()
    net.export(str(folder / "net"))
    return folder / "net-symbol.json", folder / "net-0000.params", expected


def image() -> Array:
    return np.random.default_rng(3).standard_normal((1, 3, 64, 64)).astype(np.float32)


def test_files_of_parameters_keep_every_byte(checkpoint: Any, tmp_path: Path) -> None:
    arrays = read_params(checkpoint[1])
    write_params(tmp_path / "copy.params", arrays)
    assert (tmp_path / "copy.params").read_bytes() == checkpoint[1].read_bytes()


def test_arrays_of_every_type_keep_every_byte(tmp_path: Path) -> None:
    types = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")
    arrays = {name: mx.nd.array([[1, 2, 3]], dtype=name) for name in types}
    mx.nd.save(str(tmp_path / "theirs"), arrays)
    read = read_params(tmp_path / "theirs")
    assert {name: array.tolist() for name, array in read.items()} == {
        name: [[1, 2, 3]] for name in types
    }
    write_params(tmp_path / "ours", read)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_network_imports_from_its_files(checkpoint: Any) -> None:
    symbol, params, expected = checkpoint
    module = import_mxnet([params, symbol], {"data": (1, 3, 64, 64)})
    (output,) = Executor(module).run({"data": image()}).values()
    assert_same([output], [expected])


def test_types_are_those_that_mxnet_infers(checkpoint: Any) -> None:
    text = checkpoint[0].read_text()
    graph, theirs = parse_symbol(text), mx.sym.load_json(text)
    found = infer_types(graph, {}, {"data": tensor((2, 3, 64, 64), element_type(np.dtype("f4")))})
    shapes = {graph.nodes[entry.node].name: type.get_shape() for entry, type in found.items()}
    arguments, outputs, states = theirs.infer_shape(data=(2, 3, 64, 64))
    names = (*theirs.list_arguments(), *theirs.list_auxiliary_states())
    assert {name: shapes[name] for name in names} == dict(
        zip(names, (*arguments, *states), strict=True)
    )
    assert [found[head].get_shape() for head in graph.heads] == outputs


def test_arrays_of_numpys_shapes_keep_every_byte(tmp_path: Path) -> None:
    """With a scalar or an empty array, all of a file has the layout of NumPy's shapes."""
    mx.npx.set_np()
    try:
        arrays = {"a": mx.np.ones(()), "b": mx.np.zeros((0, 3)), "c": mx.np.ones((2, 2))}
        mx.npx.save(str(tmp_path / "theirs"), arrays)
    finally:
        mx.npx.reset_np()
    write_params(tmp_path / "mine", read_params(tmp_path / "theirs"))
    assert (tmp_path / "mine").read_bytes() == (tmp_path / "theirs").read_bytes()


# -- Old files --------------------------------------------------------------------------------


def old_symbol(version: int | None, key: str) -> str:
    """A network as MXNet wrote it before 0.9, without variables for statistics."""

    def node(op: str, name: str, *inputs: int, **attrs: str) -> dict[str, Any]:
        return {"op": op, "name": name, "inputs": [[i, 0] for i in inputs], key: attrs}

    nodes = [
        node("null", "data"),
        node("null", "c_weight"),
        node("Convolution", "c", 0, 1, kernel="(3,3)", num_filter="4", no_bias="True"),
        node("null", "bn_gamma"),
        node("null", "bn_beta"),
        node("BatchNorm", "bn", 2, 3, 4, eps="0.001", fix_gamma="False"),
        node("Flatten", "flat", 5),
        node("argmax", "most", 6, axis="-1"),
    ]
    nodes[1][key] = {"lr_mult": "2.0", "ctx_group": "dev1"}
    content = {"nodes": nodes, "arg_nodes": [0, 1, 3, 4], "heads": [[7, 0]]}
    if version is not None:
        content["attrs"] = {"mxnet_version": ["int", version]}
    return json.dumps(content)


@pytest.mark.parametrize(
    ("version", "key"), [(None, "param"), (800, "param"), (800, "attr"), (903, "attr")]
)
def test_an_old_symbol_is_read_as_mxnet_reads_it(version: int | None, key: str) -> None:
    text = old_symbol(version, key)
    mine, theirs = load_json(text), mx.sym.load_json(text)
    assert mine.tojson() == theirs.tojson()
    assert mine.list_auxiliary_states() == theirs.list_auxiliary_states()
    assert load_json(mine.tojson()).tojson() == mine.tojson()


def test_an_old_symbol_computes_what_mxnet_computes() -> None:
    symbol = mx.sym.load_json(old_symbol(None, "param"))
    arrays = {"data": r(1, 2, 6, 6), "c_weight": r(4, 2, 3, 3), "bn_gamma": p(4), "bn_beta": r(4)}
    states = {"bn_moving_mean": r(4), "bn_moving_var": p(4)}
    sample = Sample("old", symbol, arrays | states)
    (mine,) = load_json(old_symbol(None, "param")).bind(args=arrays, aux_states=states).forward()
    assert_same([mine.asnumpy()], mxnet_outputs(sample))
