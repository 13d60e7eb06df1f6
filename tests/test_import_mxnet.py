"""MXNet's files without MXNet: what is read and written, and what is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from ranvier.backend.reference import Executor
from ranvier.importers.errors import ModelImportError
from ranvier.importers.mxnet import import_mxnet
from ranvier.importers.mxnet.params import DTYPES, read_params, write_params
from ranvier.importers.mxnet.reading import parse_symbol
from ranvier.importers.mxnet.symbol import (
    Entry,
    SymbolGraph,
    SymbolNode,
    print_symbol,
)
from ranvier.importers.registry import import_model

X = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
WEIGHT = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
BIAS = np.arange(4, dtype=np.float32)


def node(op: str, name: str, inputs: list[list[int]] | None = None, **attrs: str) -> dict[str, Any]:
    return {"op": op, "name": name, "attrs": attrs, "inputs": inputs or []}


def dense() -> dict[str, Any]:
    """`relu(x W^T + b)`"""
    return {
        "nodes": [
            node("null", "x/in:0"),
            node("null", "w"),
            node("null", "b"),
            node("FullyConnected", "fc", [[0, 0, 0], [1, 0, 0], [2, 0, 0]], num_hidden="4"),
            node("Activation", "act", [[3, 0, 0]], act_type="relu"),
        ],
        "arg_nodes": [0, 1, 2],
        "heads": [[4, 0, 0]],
    }


def files(folder: Path, symbol: object, params: dict[str, Any] | None = None) -> list[Path]:
    path, weights = folder / "net-symbol.json", folder / "net-0000.params"
    path.write_text(symbol if isinstance(symbol, str) else json.dumps(symbol))
    write_params(weights, {"arg:w": WEIGHT, "arg:b": BIAS} if params is None else params)
    return [path, weights]


SHAPES = {"x/in:0": (2, 6)}


def test_a_symbol_and_its_parameters_are_a_model(tmp_path: Path) -> None:
    module = import_mxnet(files(tmp_path, dense())[::-1], SHAPES)
    outputs = Executor(module).run({"x/in:0": X})
    assert list(outputs) == ["act_output"]
    expected = np.maximum(X @ WEIGHT.T + BIAS, 0)
    # f32 sums of six products.
    np.testing.assert_allclose(outputs["act_output"], expected, rtol=1e-5, atol=1e-6)


def test_a_variable_may_state_its_own_shape(tmp_path: Path) -> None:
    symbol = dense()
    symbol["nodes"][0]["attrs"] = {"__shape__": "(2, 6)", "__dtype__": "0"}
    module = import_mxnet(files(tmp_path, symbol), {})
    assert Executor(module).run({"x/in:0": X})["act_output"].shape == (2, 4)


def test_labels_of_a_loss_are_no_inputs(tmp_path: Path) -> None:
    symbol = dense()
    symbol["nodes"][4:] = [
        node("null", "label"),
        node("SoftmaxOutput", "softmax", [[3, 0, 0], [4, 0, 0]]),
    ]
    symbol["heads"] = [[5, 0, 0]]
    module = import_mxnet(files(tmp_path, symbol), SHAPES)
    (output,) = Executor(module).run({"x/in:0": X}).values()
    np.testing.assert_allclose(output.sum(1), 1, rtol=1e-6)


def changed(change: str) -> object:
    """A damaged symbol."""
    symbol = dense()
    match change:
        case "unknown op":
            symbol["nodes"][4]["op"] = "Frobnicate"
        case "forward":
            symbol["nodes"][3]["inputs"][0] = [4, 0, 0]
        case "negative":
            symbol["nodes"][3]["inputs"][0] = [-1, 0, 0]
        case "unknown ops":
            symbol["nodes"][3]["op"] = "Foo"
            symbol["nodes"][4]["op"] = "Frobnicate"
        case "no output":
            symbol["nodes"][4]["inputs"][0] = [3, 7, 0]
        case "many outputs":
            symbol["nodes"][4]["inputs"][0] = [3, 10**12, 0]
        case "offsets":
            symbol["node_row_ptr"] = [0, 1, 2, 3, 10**12, 10**12 + 1]
        case "no such output":
            symbol["node_row_ptr"] = [0, 1, 2, 3, 4, 5]
            symbol["nodes"][4]["inputs"][0] = [3, 1, 0]
        case "attribute":
            symbol["nodes"][3]["attrs"]["num_hidden"] = 4
        case "number":
            symbol["nodes"][4]["attrs"]["act_type"] = "relu6"
        case "heads":
            symbol["heads"] = []
        case "nodes":
            symbol["nodes"] = []
        case _:
            return "{"
    return symbol


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("unknown op", "node 'act' (Frobnicate): nn has no Frobnicate"),
        ("unknown ops", "'fc' (Foo): nn has no such op, nor for 'act' (Frobnicate)"),
        ("forward", "reads node 4, which is not before it"),
        ("negative", "-1 is no index"),
        ("no output", "reads output 7 of 'fc'"),
        ("many outputs", "a node has 1 to 65536 outputs"),
        ("offsets", "a node has 1 to 65536 outputs"),
        ("no such output", "output 1 of node 'fc' (FullyConnected) is read; it has 1"),
        ("attribute", "attribute 'num_hidden' is 4, not text"),
        ("number", "act_type is softsign or one of relu"),
        ("heads", "no outputs"),
        ("nodes", "no nodes"),
        ("json", "no JSON"),
    ],
)
def test_a_damaged_symbol_is_an_error_that_names_the_place(
    tmp_path: Path, change: str, text: str
) -> None:
    with pytest.raises(ModelImportError) as error:
        import_mxnet(files(tmp_path, changed(change)), SHAPES)
    assert text in str(error.value)
    assert str(error.value).startswith("net-symbol.json: ")


def test_deeply_nested_json_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelImportError, match="no JSON"):
        parse_symbol("[" * 100_000)


@pytest.mark.parametrize(
    ("params", "shapes", "text"),
    [
        ({"arg:w": WEIGHT}, SHAPES, "variable 'b' is no parameter and has no shape"),
        (None, {}, "variable 'x/in:0' is no parameter and has no shape"),
        (None, SHAPES | {"y": (1,)}, "no variable 'y' to give a shape to; inputs: x/in:0"),
        ({"arg:w": WEIGHT.T.copy(), "arg:b": BIAS}, SHAPES, "node 'fc' (FullyConnected)"),
        ({"arg:w": WEIGHT.astype(np.int8), "arg:b": BIAS}, SHAPES, "node 'fc' (FullyConnected)"),
    ],
)
def test_parameters_and_shapes_that_do_not_fit_are_an_error(
    tmp_path: Path, params: Any, shapes: Any, text: str
) -> None:
    with pytest.raises(ModelImportError) as error:
        import_mxnet(files(tmp_path, dense(), params), shapes)
    assert text in str(error.value)


def reader_of_x(op: str, operands: list[list[int]], **attrs: str) -> dict[str, Any]:
    """An op that reads `x` through a product, with weight `w`."""
    nodes = [
        node("null", "x"),
        node("null", "w"),
        node("_mul_scalar", "s", [[0, 0, 0]], scalar="2"),
    ]
    return {"nodes": [*nodes, node(op, "first", operands, **attrs)], "heads": [[3, 0, 0]]}


BOTH = [[2, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("symbol", "weight", "text"),
    [
        (
            reader_of_x(
                "Convolution", BOTH, kernel="(3, 3)", num_filter="8", num_group="2", no_bias="True"
            ),
            (8, 3, 3, 3),
            "its reader 'first' (Convolution) takes --shape x=1x6x224x224",
        ),
        (reader_of_x("FullyConnected", BOTH, num_hidden="4", no_bias="True"), (4, 6), "x=1x6"),
        (reader_of_x("Embedding", BOTH, input_dim="9", output_dim="4"), (9, 4), "x=1x8"),
        (reader_of_x("batch_dot", BOTH), (2, 3, 4), "give its shape, as in --shape x=1x3x224x224"),
    ],
)
def test_a_missing_shape_is_answered_with_one_that_fits(
    tmp_path: Path, symbol: Any, weight: tuple[int, ...], text: str
) -> None:
    paths = files(tmp_path, symbol, {"arg:w": np.ones(weight, np.float32)})
    with pytest.raises(ModelImportError) as error:
        import_mxnet(paths, {})
    assert text in str(error.value)
    if (stated := str(error.value).rpartition("takes --shape x=")[2]) and "takes" in text:
        shape = tuple(int(size) for size in stated.split("x"))
        import_mxnet(paths, {"x": shape}).verify()


def test_a_symbol_alone_asks_for_its_parameters(tmp_path: Path) -> None:
    path, _ = files(tmp_path, dense())
    with pytest.raises(ModelImportError, match=r"pass the \.params file with the symbol"):
        import_mxnet([path], SHAPES)


def test_parameters_are_recognised_and_may_stand_first(tmp_path: Path) -> None:
    path, weights = files(tmp_path, dense())
    import_model([weights, path], shapes=SHAPES).verify()
    with pytest.raises(ModelImportError, match=r"one symbol\.json and one \.params file"):
        import_model([weights], shapes=SHAPES)


def test_batch_norms_of_old_symbols_get_their_statistics() -> None:
    """Before 0.9 these variables were in no file; MXNet calls them so since."""
    nodes = [node("null", "x"), node("null", "g"), node("null", "b")]
    nodes.append(node("BatchNorm", "bn", [[0, 0], [1, 0], [2, 0]], fix_gamma="False"))
    graph = parse_symbol(json.dumps({"nodes": nodes, "heads": [[3, 0]]}))
    assert graph.states() == {"bn_moving_mean", "bn_moving_var"}
    assert [entry.node for entry in graph.nodes[5].inputs] == [0, 1, 2, 3, 4]
    assert graph.heads == [Entry(5)]
    assert graph.attrs == {"mxnet_version": ["int", 10901]}


# -- Files of parameters ----------------------------------------------------------------------


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: arrays_of.arrays(
                dtype, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
            )
        ),
        max_size=4,
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("params") / "file"
    write_params(path, content)
    read = read_params(path)
    assert list(read) == list(content)
    for name, array in content.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()


OLD_SHAPES = {
    "V1": struct.pack("<Ii2q", 0xF993FAC8, 2, 1, 3),
    "legacy": struct.pack("<III", 2, 1, 3),
}


@pytest.mark.parametrize("head", OLD_SHAPES.values(), ids=OLD_SHAPES)
def test_older_arrays_are_read(tmp_path: Path, head: bytes) -> None:
    data = struct.pack("<QQQ", 0x112, 0, 1) + head + struct.pack("<iii3f", 1, 0, 0, 1, 2, 3)
    (tmp_path / "old").write_bytes(data + struct.pack("<QQ", 1, 1) + b"a")
    assert read_params(tmp_path / "old")["a"].tolist() == [[1, 2, 3]]


def test_a_size_beyond_all_memory_beside_a_size_of_zero_is_an_error(tmp_path: Path) -> None:
    head = struct.pack("<Iii3q", 0xF993FACA, 0, 3, 0, 1 << 61, 1 << 61)
    data = struct.pack("<QQQ", 0x112, 0, 1) + head + struct.pack("<iii", 1, 0, 0)
    (tmp_path / "huge").write_bytes(data + struct.pack("<QQ", 1, 1) + b"a")
    with pytest.raises(ModelImportError, match="array 0 has sizes"):
        read_params(tmp_path / "huge")


def test_every_cut_of_a_file_is_an_error(tmp_path: Path) -> None:
    write_params(tmp_path / "whole", {"arg:b": BIAS})
    data = (tmp_path / "whole").read_bytes()
    for length in range(len(data)):
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(ModelImportError):
            read_params(tmp_path / "cut")


@pytest.mark.parametrize(
    ("at", "value", "text"),
    [
        (0, struct.pack("<Q", 0x113), "the magic is 0x113"),
        (16, struct.pack("<Q", 1 << 60), "arrays in"),
        (28, struct.pack("<i", 1), "is sparse"),
        (32, struct.pack("<i", 33), "rank 33"),
        (36, struct.pack("<q", 1 << 62), "are left"),
        (36, struct.pack("<q", -4), "sizes [-4]"),
        (52, struct.pack("<i", 99), "unknown element type 99"),
        (72, struct.pack("<Q", 2), "1 arrays, 2 names"),
        (80, struct.pack("<Q", 1 << 50), "are left"),
    ],
)
def test_a_file_that_lies_is_an_error(tmp_path: Path, at: int, value: bytes, text: str) -> None:
    write_params(tmp_path / "params", {"arg:b": BIAS})
    data = bytearray((tmp_path / "params").read_bytes())
    data[at : at + len(value)] = value
    (tmp_path / "params").write_bytes(data)
    with pytest.raises(ModelImportError) as error:
        read_params(tmp_path / "params")
    assert text in str(error.value)


# -- Symbols as text --------------------------------------------------------------------------


def test_subgraphs_are_read_and_written() -> None:
    inner = SymbolGraph([SymbolNode("null", "x"), SymbolNode("relu", "r", [Entry(0)])], [Entry(1)])
    nodes = [SymbolNode("null", "a"), SymbolNode("sub", "s", [Entry(0)], {"k": "v"}, [inner])]
    text = print_symbol(SymbolGraph(nodes, [Entry(1)], attrs={"mxnet_version": ["int", 10901]}))
    again = parse_symbol(text)
    assert again.nodes[1].subgraphs[0].nodes[1].op == "relu"
    assert print_symbol(again) == text


def test_subgraphs_without_end_are_an_error() -> None:
    graph: dict[str, Any] = {"nodes": [node("null", "x")], "heads": [[0, 0, 0]]}
    for _ in range(20):
        graph = {"nodes": [node("sub", "s") | {"subgraphs": [graph]}], "heads": [[0, 0, 0]]}
    with pytest.raises(ModelImportError, match="nested deeper"):
        parse_symbol(json.dumps(graph))
