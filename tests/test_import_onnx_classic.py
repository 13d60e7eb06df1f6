"""Pipelines of classical learners: their ops run on the host, between those of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper
from onnx_models import Array, refused

import ranvier
from ranvier.dialects.diagnostics import Code

DOMAIN = "ai.onnx.ml"
X = np.linspace(-2, 3, 12, dtype=np.float32).reshape(3, 4).repeat(2, 0) ** 2


def classic(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(
        op_type, inputs.split(), outputs.split(), name=op_type, domain=DOMAIN, **attributes
    )


SCALE = classic("Scaler", "x", "s", offset=[0.5, 1.0, 2.0, 0.0], scale=[1.0, 0.5, 0.25, 2.0])
TREE = classic(
    *("TreeEnsembleRegressor", "t", "y"),
    n_targets=2,
    nodes_treeids=[0] * 5,
    nodes_nodeids=[0, 1, 2, 3, 4],
    nodes_featureids=[0, 1, 0, 0, 0],
    nodes_modes=["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
    nodes_values=[0.2, -0.4, 0.0, 0.0, 0.0],
    nodes_truenodeids=[1, 3, 0, 0, 0],
    nodes_falsenodeids=[2, 4, 0, 0, 0],
    target_treeids=[0] * 4,
    target_nodeids=[2, 3, 4, 4],
    target_ids=[0, 1, 0, 1],
    target_weights=[1.5, -2.0, 0.25, 4.0],
)
CLASSIFIER = classic(
    *("LinearClassifier", "t", "y scores"),
    classlabels_ints=[3, 5, 9],
    coefficients=np.sin(np.arange(12.0)).tolist(),
    intercepts=[0.1, -0.2, 0.3],
    post_transform="SOFTMAX",
)
SUPPORT = classic(
    *("SVMClassifier", "t", "y scores"),
    classlabels_ints=[0, 1],
    coefficients=[1.0, -1.0],
    kernel_type="LINEAR",
    prob_a=[-1.0],
    prob_b=[0.0],
    rho=[0.1],
    support_vectors=[0.0] * 8,
    vectors_per_class=[1, 1],
)


def pipeline(last: NodeProto) -> ModelProto:
    graph = helper.make_graph(
        [SCALE, helper.make_node("Tanh", ["s"], ["t"], name="tanh"), last],
        "pipeline",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_empty_tensor_value_info(name) for name in last.output],
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid(DOMAIN, 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("last", [TREE, CLASSIFIER], ids=lambda n: n.op_type)
def test_results_are_onnxruntimes(last: NodeProto, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.onnx"
    path.write_bytes(pipeline(last).SerializeToString())
    expected: Any = onnxruntime.InferenceSession(path).run(None, {"x": X})
    program = ranvier.compile(path, fast_math=("none",))
    results: dict[str, Array] = program.run({"x": X})
    for name, wanted in zip(last.output, expected, strict=True):
        assert results[name].dtype == wanted.dtype
        # f32 sums of four products and a few functions.
        np.testing.assert_allclose(results[name], wanted, rtol=1e-5, atol=1e-6)
    assert [op.op for op in program.host_ops] == ["Scaler", last.op_type]
    assert {op.code for op in program.host_ops} == {"RV0205"}


def test_what_would_be_wrong_is_refused(tmp_path: Path) -> None:
    """ONNX's own implementation of support vectors has its own idea of probabilities."""
    error = refused(pipeline(SUPPORT), tmp_path)
    assert error.code is Code.MODEL_UNSUPPORTED
    assert "other probabilities" in str(error)


def test_results_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    last = classic("ZipMap", "t", "y", classlabels_int64s=[0, 1, 2, 3])
    assert refused(pipeline(last), tmp_path).code is Code.SHAPE_UNKNOWN
