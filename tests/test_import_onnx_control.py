"""Branches, loops and sequences of ONNX, which leave nothing of themselves in the module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx_models import Array, imported, model, node, ops_of

from ranvier.backend.reference import Executor
from ranvier.dialects.diagnostics import Code
from ranvier.importers.errors import ModelImportError

X = np.linspace(-2, 3, 6, dtype=np.float32).reshape(2, 3)
ROW = X[:1] + np.float32(0.5)
F, I64, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def graph(
    nodes: Sequence[NodeProto], outputs: str, inputs: Sequence[tuple[str, int, Any]] = ()
) -> GraphProto:
    """A graph inside a node: `outputs` are tensors of floats but for `going`."""
    return helper.make_graph(
        nodes,
        "inner",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [
            helper.make_tensor_value_info(name, B if name == "going" else F, None)
            for name in outputs.split()
        ],
    )


def branch(condition: str, then: NodeProto, other: NodeProto) -> NodeProto:
    sides = (graph([side], "z") for side in (then, other))
    return node("If", condition, **dict(zip(("then_branch", "else_branch"), sides, strict=True)))


BODY = [
    node("Add", "state x", "next"),
    node("Cast", "step", "s", to=F),
    node("Mul", "next s", "out"),
    node("Identity", "on", "going"),
]
STEP = [("step", I64, ()), ("on", B, ())]
LOOP = graph(BODY, "going next out", [*STEP, ("state", F, (None, 3))])
GROW = graph(
    [node("SequenceInsert", "list x", "longer"), node("Identity", "on", "going")],
    "going longer",
    [*STEP, ("list", F, (None, 3))],
)
for infos in (GROW.input[2], GROW.output[1]):
    infos.type.sequence_type.elem_type.tensor_type.elem_type = F
SUM = graph(
    [node("Add", "sum row", "next"), node("Relu", "next", "out")],
    "next out",
    [("sum", F, (3,)), ("row", F, (3,))],
)

# Name of the case: nodes, constants, outputs, opset
CASES: dict[str, tuple[list[NodeProto], dict[str, Any], str, int]] = {
    "a branch that is constant": (
        [branch("c", node("Relu", "x", "z"), node("Neg", "x", "z"))],
        {"c": np.array(False)},
        "y",
        11,
    ),
    "a branch that shapes fix, whose other side would be wrong": (
        [
            node("Shape", "x", "shape"),
            node("Gather", "shape i", "rows"),
            node("Equal", "rows one", "c"),
            branch("c", node("Squeeze", "x first", "z"), node("Exp", "x", "z")),
        ],
        {"i": np.array(0), "one": np.array(1), "first": np.array([0])},
        "y",
        17,
    ),
    "a branch that an input takes": (
        [
            node("ReduceSum", "x", "total", keepdims=1),
            node("Reshape", "total shape", "one"),
            node("Greater", "one zero", "c"),
            branch("c", node("Relu", "x", "z"), node("Neg", "x", "z")),
        ],
        {"shape": np.array([1]), "zero": np.zeros(1, np.float32)},
        "y",
        17,
    ),
    "a loop of a constant length": (
        [node("Loop", "n c x", "y all", body=LOOP)],
        {"n": np.array(4), "c": np.array(True)},
        "y all",
        17,
    ),
    "a loop without a condition": (
        [node("Loop", "n _ x", "y all", body=LOOP)],
        {"n": np.array(3)},
        "y all",
        13,
    ),
    "a list that a loop makes": (
        [
            node("SequenceEmpty", "", "none"),
            node("Loop", "n c none", "list", body=GROW),
            node("ConcatFromSequence", "list", "y", axis=1, new_axis=1),
        ],
        {"n": np.array(3), "c": np.array(True)},
        "y",
        13,
    ),
    "a scan": (
        [node("Scan", "start x", "y all", body=SUM, num_scan_inputs=1)],
        {"start": X[0]},
        "y all",
        17,
    ),
    "a scan backwards, joined at the other axis": (
        [
            node(
                *("Scan", "start x", "y all"),
                body=SUM,
                num_scan_inputs=1,
                scan_input_directions=[1],
                scan_output_directions=[1],
                scan_output_axes=[-1],
            )
        ],
        {"start": X[0]},
        "y all",
        17,
    ),
    "a list in pieces": (
        [
            node("SplitToSequence", "x two", "list", axis=-1),
            node("SequenceAt", "list last", "y"),
            node("SequenceInsert", "list y first", "longer"),
            node("SequenceErase", "longer last", "shorter"),
            node("SequenceLength", "shorter", "length"),
            node("ConcatFromSequence", "shorter", "joined", axis=-1),
        ],
        {"two": np.array(2), "last": np.array(-1), "first": np.array(0)},
        "y length joined",
        17,
    ),
    "a list that grows before its last": (
        [
            node("SplitToSequence", "x", "list", axis=1, keepdims=1),
            node("SequenceInsert", "list x last", "longer"),
            helper.make_node("SequenceInsert", ["longer", "x"], ["longest"], "at the end"),
            node("ConcatFromSequence", "longest", "y", axis=1),
        ],
        {"last": np.array(-1)},
        "y",
        17,
    ),
    "a list of columns": (
        [
            node("SplitToSequence", "x", "list", axis=1, keepdims=0),
            node("SequenceAt", "list i", "y"),
        ],
        {"i": np.array(1)},
        "y",
        17,
    ),
    "a list of given lengths": (
        [
            node("SplitToSequence", "x sizes", "list", axis=1),
            node("ConcatFromSequence", "list", "z", axis=1),
            node("SequenceAt", "list i", "y"),
        ],
        {"sizes": np.array([1, 2]), "i": np.array(1)},
        "y z",
        17,
    ),
    "a list of two": (
        [
            node("SequenceConstruct", "x x", "list"),
            node("ConcatFromSequence", "list", "y", axis=-1, new_axis=1),
        ],
        {},
        "y",
        17,
    ),
}


def oracle(proto: ModelProto, inputs: dict[str, Array]) -> Any:
    """onnxruntime, but it refuses branches of which one would be wrong; ONNX's own reference joins
    what a loop gives where it should stack it."""
    if any(n.op_type == "If" for n in proto.graph.node):
        return ReferenceEvaluator(proto).run(None, inputs)
    proto.ir_version = 10
    return onnxruntime.InferenceSession(proto.SerializeToString()).run(None, inputs)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("x", [X, ROW, -X], ids=["x", "row", "negative"])
def test_control_flow_leaves_its_results(name: str, x: Array, tmp_path: Path) -> None:
    nodes, constants, outputs, opset = CASES[name]
    names = outputs.split()
    proto = model(nodes, {"x": x}, constants=constants, outputs=names, opset=opset)
    expected = oracle(proto, {"x": x})
    module = imported(proto, tmp_path)
    assert "nn.opaque" not in ops_of(module)
    results = Executor(module).run({"x": x})
    for name, wanted in zip(names, expected, strict=True):
        assert results[name].dtype == wanted.dtype
        np.testing.assert_allclose(results[name], wanted, rtol=1e-6, strict=True)


NEVER = {"n": np.array(0), "many": np.array(5000), "c": np.array(True)}
REFUSED: dict[str, tuple[NodeProto, Code]] = {
    "its condition 'b' depends on an input, and its branches differ": (
        branch("b", node("Squeeze", "x", "z"), node("Flatten", "x", "z", axis=0)),
        Code.NODE_NOT_STATIC,
    ),
    "how often the loop runs depends on an input": (
        node("Loop", "_ b x", "y all", body=LOOP),
        Code.NODE_NOT_STATIC,
    ),
    "it runs more than 4096 times": (
        node("Loop", "many c x", "y all", body=LOOP),
        Code.MODEL_UNSUPPORTED,
    ),
    "it runs no iteration": (node("Loop", "n c x", "z y", body=LOOP), Code.MODEL_UNSUPPORTED),
    "position 3 is not in a sequence of 0": (
        node("SequenceAt", "empty three", "y"),
        Code.NODE_INVALID,
    ),
    "operand 'empty' is a sequence, not a tensor": (node("Relu", "empty"), Code.NODE_INVALID),
    "expected a sequence, got a tensor": (node("SequenceLength", "x"), Code.NODE_INVALID),
    "output 'y' is a sequence, not a tensor": (
        node("SequenceConstruct", "x x"),
        Code.MODEL_UNSUPPORTED,
    ),
    "graph 'inner' takes 3 operands, got 2": (node("Loop", "many c", body=LOOP), Code.NODE_INVALID),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_static_is_refused(text: str, tmp_path: Path) -> None:
    last, code = REFUSED[text]
    proto = model(
        [node("SequenceEmpty", "", "empty"), last],
        {"x": X, "b": np.array(True)},
        constants=NEVER | {"three": np.array(3)},
    )
    with pytest.raises(ModelImportError, match=text) as caught:
        imported(proto, tmp_path)
    assert caught.value.code == code
