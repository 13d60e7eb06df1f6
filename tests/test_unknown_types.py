"""Ops whose results nobody knows the types of: they stop no import of the rest of a model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import W, X, model_of, ranvier
from onnx import TensorProto, helper, save_model
from test_import_mxnet import files
from test_import_tensorflow import Graph
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin
from xdsl.dialects.func import Func
from xdsl.parser import Parser
from xdsl.printer import Printer

from ranvier import compile
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.nn import NN
from ranvier.dialects.nn.types import UNKNOWN
from ranvier.explanation import explain_module
from ranvier.importers.errors import ModelImportError
from ranvier.importers.registry import import_model
from ranvier.passes.errors import PassError
from ranvier.passes.pipelines import default_pipeline
from ranvier.program import Options

SHAPES = {"x": (4, 8)}


def onnx_model(folder: Path) -> list[Path]:
    """`tanh(a)` is known, `relu(fancy(a))` is not, and the sum of both is not."""
    make = helper.make_node
    nodes = [
        make("MatMul", ["x", "w"], ["a"], name="first"),
        make("Fancy", ["a"], ["b", "c"], name="fancy", domain="my.ops"),
        make("Identity", ["b"], ["same"], name="same"),
        make("Relu", ["same"], ["d"], name="behind"),
        make("Tanh", ["a"], ["e"], name="beside"),
        make("Add", ["d", "e"], ["y"], name="sum"),
    ]
    model = model_of(nodes, {"x": X}, {"w": W})
    model.opset_import.append(helper.make_opsetid("my.ops", 1))
    save_model(model, folder / "m.onnx")
    return [folder / "m.onnx"]


def tensorflow_model(folder: Path) -> list[Path]:
    graph = Graph()
    product = graph.add("MatMul", "first", [graph.placeholder("x", (4, 8)), graph.constant("w", W)])
    fancy = graph.add("Fancy", "fancy", [product])
    behind = graph.add("Relu", "behind", [graph.add("Identity", "same", [fancy])])
    graph.add("AddV2", "sum", [behind, graph.add("Tanh", "beside", [product])])
    return [graph.write(folder / "m.pb")]


def mxnet_model(folder: Path) -> list[Path]:
    def node(op: str, name: str, *inputs: int, **attrs: str) -> dict[str, Any]:
        return {"op": op, "name": name, "attrs": attrs, "inputs": [[i, 0, 0] for i in inputs]}

    nodes = [
        node("null", "x"),
        node("null", "w"),
        node("dot", "first", 0, 1),
        node("Fancy", "fancy", 2),
        node("_copy", "same", 3),
        node("relu", "behind", 4),
        node("tanh", "beside", 2),
        node("broadcast_add", "sum", 5, 6),
    ]
    symbol = {"nodes": nodes, "arg_nodes": [0, 1], "heads": [[7, 0, 0]]}
    return files(folder, symbol, {"arg:w": W})


MODELS = [onnx_model, tensorflow_model, mxnet_model]
Make = Callable[[Path], list[Path]]


@pytest.mark.parametrize("make", MODELS)
def test_what_is_known_is_placed_and_what_is_not_says_why(make: Make, tmp_path: Path) -> None:
    module = import_model(
        make(tmp_path), shapes=SHAPES if make is mxnet_model else {}, untyped=True
    )
    module.verify()
    found = explain_module(module, Options())
    rows = {row.name: row for row in found.ops}
    placements = {name: row.placement for name, row in rows.items()}
    assert placements == {
        "first": "neuron",
        "beside": "neuron",
        "fancy": "host",
        "behind": "host",
        "sum": "host",
    }
    assert {rows[name].code for name in ("fancy", "behind", "sum")} == {"RV0205"}
    assert "nn has no Fancy" in rows["fancy"].reason
    for name in ("behind", "sum"):
        assert rows[name].reason == "it reads what 'fancy' (Fancy) gives, whose type is not known"
    counts = found.operators
    assert (counts.before, counts.on_neuron, counts.host) == (5, 2, 3)
    names = [row.name for row in found.ops]
    edges = {(names[a], names[b]) for a, b in found.edges}
    assert {("first", "fancy"), ("fancy", "behind"), ("behind", "sum"), ("beside", "sum")} <= edges


@pytest.mark.parametrize("make", MODELS)
def test_forbidden_fallback_lists_them_and_compiling_refuses(make: Make, tmp_path: Path) -> None:
    paths, shapes = make(tmp_path), SHAPES if make is mxnet_model else {}
    module = import_model(paths, shapes=shapes, untyped=True)
    with pytest.raises(PassError, match="3 ops need the host") as caught:
        explain_module(module, Options(fallback="error"))
    assert caught.value.code is Code.FALLBACK_FORBIDDEN
    for name in ("fancy", "behind", "sum"):
        assert f"'{name}'" in str(caught.value)
    with pytest.raises(ModelImportError, match="nn has no Fancy"):
        import_model(paths, shapes=shapes)


@pytest.mark.parametrize("make", MODELS)
def test_such_modules_are_complete_as_text(make: Make, tmp_path: Path) -> None:
    module = import_model(
        make(tmp_path), shapes=SHAPES if make is mxnet_model else {}, untyped=True
    )
    text = StringIO()
    Printer(text, print_debuginfo=True).print_op(module)
    context = Context()
    for dialect in (Builtin, Func, NN):
        context.load_dialect(dialect)
    again = Parser(context, text.getvalue()).parse_module()
    assert again.is_structurally_equivalent(module)
    assert sum(r.type == UNKNOWN for op in again.walk() for r in op.results) >= 3


@pytest.mark.parametrize("make", [onnx_model, tensorflow_model])
def test_the_command_has_rows_and_status_0(make: Make, tmp_path: Path) -> None:
    (path,) = make(tmp_path)
    done = ranvier("explain", path.name, "--json", "--html", "p.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["operators"] == {
        "before": 5,
        "after": 4,
        "on_neuron": 2,
        "host": 3,
        "segments": 1,
    }
    done = ranvier("explain", path.name, "--fallback", "error", cwd=tmp_path)
    assert done.returncode == 1
    assert "'fancy' (Fancy)" in done.stderr
    imported = ranvier("import", path.name, cwd=tmp_path)
    assert imported.returncode == 0
    assert "-> tensor<*xnone>" in imported.stdout


def test_a_module_of_unknown_types_is_not_compiled(tmp_path: Path) -> None:
    module = import_model(onnx_model(tmp_path), untyped=True)
    with pytest.raises(PassError, match="'fancy'") as caught:
        compile(module)
    assert caught.value.code is Code.SHAPE_UNKNOWN


@pytest.mark.parametrize(
    ("nodes", "reason", "code"),
    [
        (
            [helper.make_node("Unique", ["x"], ["y"], name="it")],
            "nn has no Unique, and the shape of its result 'y' is not known before it runs",
            "RV0205",
        ),
        (
            [
                helper.make_node("Shape", ["u"], ["s"], name="shape"),
                helper.make_node("Expand", ["w", "s"], ["y"], name="it"),
            ],
            "operand 1 's' is not a constant of the model",
            "RV0207",
        ),
        (
            [helper.make_node("Cast", ["x"], ["y"], name="it", to=8)],
            "tensors of strings are not supported",
            "RV0202",
        ),
    ],
)
def test_reasons_are_the_errors_of_the_strict_import(
    nodes: list[Any], reason: str, code: str, tmp_path: Path
) -> None:
    """As for shapes that follow from values, and elements that nn does not hold."""
    if nodes[0].op_type == "Shape":  # of the lengths of values, which the model does not fix
        nodes = [helper.make_node("Cast", ["x"], ["u"], to=7), *nodes]
        nodes[1] = helper.make_node("ReduceMax", ["u"], ["s0"], keepdims=0, name="shape")
        nodes.insert(2, helper.make_node("Unsqueeze", ["s0", "zero"], ["s"]))
    constants = {"w": W[0], "zero": np.array([0], np.int64)}
    save_model(model_of(nodes, {"x": X}, constants), tmp_path / "m.onnx")
    found = explain_module(import_model([tmp_path / "m.onnx"], untyped=True), Options())
    (row,) = (row for row in found.ops if row.name == "it")
    assert (row.reason, row.code) == (reason, code)


def test_a_wrong_model_is_still_an_error(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["y"], name="product"),
    ]
    save_model(model_of(nodes, {"x": X}, {"w": W}), tmp_path / "m.onnx")
    with pytest.raises(ModelImportError, match="contracted dimensions differ") as caught:
        import_model([tmp_path / "m.onnx"], untyped=True)
    assert caught.value.code is Code.NODE_INVALID


def test_an_op_that_its_framework_does_not_have_is_an_error_at_a_run(tmp_path: Path) -> None:
    """A model may state the type of what only its own library computes."""
    nodes = [
        helper.make_node("Fancy", ["x"], ["a"], name="fancy", domain="my.ops"),
        helper.make_node("Relu", ["a"], ["y"], name="act"),
    ]
    model = model_of(nodes, {"x": X})
    model.opset_import.append(helper.make_opsetid("my.ops", 1))
    model.graph.value_info.append(helper.make_tensor_value_info("a", 1, X.shape))
    save_model(model, tmp_path / "m.onnx")
    program = compile(tmp_path / "m.onnx")
    assert dict(program.operators)["host"] == 1
    with pytest.raises(CallerError, match=r"has no 'my\.ops\.Fancy'") as caught:
        program.run({"x": X})
    assert caught.value.code is Code.PROVIDER_MISSING


def test_opt_runs_the_passes_on_unknown_types(tmp_path: Path) -> None:
    (path,) = onnx_model(tmp_path)
    assert ranvier("import", path.name, "-o", "m.mlir", cwd=tmp_path).returncode == 0
    passes = default_pipeline("inf2")
    for words in ([], ["--verify-execution"]):
        opt = Path(sys.executable).with_name("ranvier-opt")
        command = [str(opt), "m.mlir", "-p", passes, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "nc.matmul" in done.stdout
        assert 'nn.opaque "ONNX" "my.ops.Fancy"' in done.stdout


def test_a_loop_that_the_model_does_not_fix_is_a_row(tmp_path: Path) -> None:
    """Its body reads `w` first, and is forgotten; what reads `w` after it has `w` again."""
    make, value = helper.make_node, helper.make_tensor_value_info
    f, i64, boolean = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    body = helper.make_graph(
        [
            make("MatMul", ["s", "w"], ["t"]),
            make("ReduceMax", ["t"], ["most"], keepdims=0),
            make("Cast", ["most"], ["going"], to=boolean),
        ],
        "body",
        [value("i", i64, []), value("c", boolean, []), value("s", f, [4, 8])],
        [value("going", boolean, []), value("t", f, [4, 8])],
    )
    nodes = [
        make("Loop", ["three", "", "x"], ["a"], name="loop", body=body),
        make("Relu", ["a"], ["b"], name="behind"),
        make("MatMul", ["x", "w"], ["c"], name="beside"),
        make("Add", ["b", "c"], ["y"], name="sum"),
    ]
    constants = {"w": np.eye(8, dtype=np.float32), "three": np.array(3)}
    save_model(model_of(nodes, {"x": X}, constants), tmp_path / "m.onnx")
    module = import_model([tmp_path / "m.onnx"], untyped=True)
    module.verify()
    rows = {row.name: row for row in explain_module(module, Options()).ops}
    assert {name for name, row in rows.items() if row.placement == "neuron"} == {"beside"}
    assert rows["loop"].reason == "how often the loop runs depends on an input"
    assert rows["sum"].reason == "it reads what 'loop' (Loop) gives, whose type is not known"
