"""Placement rules of a user, and of the options that place ops, in `ranvier.tensorflow`."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ruled import BF16, F32, ONE, TWO, X, error, products_in, write

import ranvier.tensorflow as tfn
from ranvier.dialects.diagnostics import Code, CodedError

v1: Any = tf.compat.v1


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rules") / "model"
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [4, 8], "x")
        with tf.name_scope("encoder"):
            hidden = tf.tanh(tf.matmul(x, ONE, name="one"), name="mid")
        y = tf.nn.softmax(tf.matmul(tf.identity(hidden, "same"), TWO, name="two"), name="y")
        v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})
    return folder


def compiled(network: Path, folder: Path, rules: str, *arguments: str, **options: Any) -> Any:
    """The new model's function. A folder may be used several times."""
    new = folder / f"new{len(list(folder.glob('new*')))}"
    args = ["--rules", write(folder, rules), *arguments]
    tfn.saved_model.compile(network, new, compiler_args=args, **options)
    return tf.saved_model.load(str(new)).signatures["serving_default"]


def left(function: Any, kinds: Collection[str] = ("MatMul", "Softmax", "Tanh")) -> list[str]:
    """Ops of TensorFlow that compute."""
    return sorted(op.type for op in function.graph.get_operations() if op.type in kinds)


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ('host name ~ "encoder/.*"', ["MatMul", "Tanh"]),
        ('host framework_op == "Tanh"', ["MatMul", "Tanh"]),  # the first is left alone
        ("host nn.softmax where shape == [4, ?]", ["Softmax"]),
        ("host nn.softmax where shape == [5, ?]", []),
        ('host *\nneuron nn.tanh where name == "encoder/mid"', ["MatMul", "MatMul", "Softmax"]),
        ('neuron *\nhost framework_op == "Softmax"', ["Softmax"]),
    ],
)
def test_rules_place_nodes(network: Path, rules: str, wanted: list[str], tmp_path: Path) -> None:
    function = compiled(network, tmp_path, rules)
    assert left(function) == wanted
    assert error(function(x=tf.constant(X))["y"]) < BF16


def test_rules_in_the_environment_are_those_of_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def function(x: Any) -> Any:
        return tf.nn.softmax(tf.tanh(x @ ONE) @ TWO)

    monkeypatch.setenv("NEURON_CC_FLAGS", f"--rules {write(tmp_path, 'host nn.softmax')}")
    model = tfn.trace(function, tf.constant(X))
    graph = model.aot_function.get_concrete_function(tf.constant(X)).graph
    kinds = {op.type for op in graph.get_operations()}
    assert {"NeuronOp", "Softmax"} <= kinds
    assert "Tanh" not in kinds
    assert error(model(tf.constant(X))) < BF16


def test_a_rule_beats_options_and_lines_are_those_of_the_file(
    network: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    one: dict[str, Any] = {"minimum_segment_size": 1}
    supported: dict[str, Any] = {"supported_op_types": ["MatMul"], **one}
    found = [
        left(compiled(network, tmp_path, "# two lines\nhost nn.softmax", **one, no_fuse_ops="y")),
        left(compiled(network, tmp_path, "# two lines\nhost nn.softmax", **supported)),
        left(compiled(network, tmp_path, 'neuron framework_op == "Tanh"', **supported)),
        left(compiled(network, tmp_path, "", **supported, force_fuse_ops=["encoder/mid"])),
        left(compiled(network, tmp_path, "host nn.tanh", force_fuse_ops=["encoder/mid"], **one)),
    ]
    logger.removeHandler(caplog.handler)
    assert found == [["Softmax"], ["Softmax", "Tanh"], ["Softmax"], ["Softmax"], ["Tanh"]]
    assert "Tanh 'encoder/mid': rule line 1: supported_op_types [RV0208]" in caplog.text
    assert "Softmax 'y': rule line 2 [RV0208]" in caplog.text


@pytest.mark.parametrize(
    ("rules", "options", "wanted"),
    [
        ("", {"no_fuse_ops": "conv"}, ["Conv2D", "NeuronOp"]),
        ('host framework_op == "Conv2D"', {}, ["Conv2D", "NeuronOp"]),
        ('host framework_op ~ "Fused.*"', {}, ["FusedBatchNormV3", "NeuronOp", "NeuronOp"]),
    ],
)
def test_a_node_that_stays_takes_no_other_with_it(
    rules: str, options: dict[str, Any], wanted: list[str], tmp_path: Path
) -> None:
    """Batch norm would be folded into the convolution before it."""
    image = np.random.default_rng(0).random((1, 6, 6, 2), np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, image.shape, "x")
        ones = tf.ones([4])
        hidden = tf.nn.conv2d(x, tf.ones([3, 3, 2, 4]), 1, "SAME", name="conv")
        norm = v1.nn.fused_batch_norm(hidden, ones, ones, ones, ones * 3.0, is_training=False)[0]
        y = tf.nn.relu(norm, name="y")
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
        expected = session.run(y, {x: image})
    function = compiled(tmp_path / "m", tmp_path, rules, minimum_segment_size=1, **options)
    assert left(function, {"Conv2D", "FusedBatchNormV3", "Relu", "NeuronOp"}) == wanted
    # bf16 operands of products with 1.
    assert np.abs(function(x=tf.constant(image))["y"] - expected).max() < 2e-2 * expected.max()


def test_a_small_subgraph_that_a_rule_wants_is_compiled(network: Path, tmp_path: Path) -> None:
    rules = 'host framework_op == "Tanh"\nneuron name == "encoder/one"'
    assert left(compiled(network, tmp_path, rules)) == ["Tanh"]


@pytest.mark.parametrize("rule", ['framework_op == "BesselI0e"', "nn.opaque"])
def test_what_cannot_be_on_the_machine_is_an_error(rule: str, tmp_path: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [4, 8], "x")
        y = tf.math.bessel_i0e(tf.exp(x), name="bessel")
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
    with pytest.raises(CodedError, match=r"rule line 1: .*'bessel/BesselI0e'.*RV0205") as caught:
        compiled(tmp_path / "m", tmp_path, f"neuron {rule}")
    assert caught.value.code is Code.RULE_IMPOSSIBLE


@pytest.mark.parametrize("core", [0, 1])
def test_a_rule_chooses_the_core(network: Path, core: int, tmp_path: Path) -> None:
    work = tmp_path / "work"
    arguments = (f"core {core} *", "--neuroncore-pipeline-cores", "2")
    function = compiled(network, tmp_path, *arguments, compiler_workdir=work)
    assert products_in(work) == {core: 2}
    assert error(function(x=tf.constant(X))["y"]) < BF16


def test_a_core_that_is_not_there_is_an_error(network: Path, tmp_path: Path) -> None:
    with pytest.raises(CodedError, match="core 2; the pipeline has cores 0 to 1") as caught:
        compiled(network, tmp_path, "core 2 *", "--num-neuroncores", "2")
    assert caught.value.code is Code.RULE_IMPOSSIBLE


def test_kept_ops_compute_in_f32(network: Path, tmp_path: Path) -> None:
    assert error(compiled(network, tmp_path, "keep f32 *")(x=tf.constant(X))["y"]) < F32
    narrow = compiled(network, tmp_path, "keep f32 nn.tanh")(x=tf.constant(X))["y"]
    assert F32 < error(narrow) < BF16
