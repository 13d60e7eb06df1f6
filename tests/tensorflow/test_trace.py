"""`trace` and its company on functions and Keras models.

Products are f16 with f32 sums unless flags say otherwise: 2^-11 each, so 2e-3 of the largest value.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import ranvier.tensorflow as tfn
from ranvier.dialects.diagnostics import CodedError

RNG = np.random.default_rng(2)
A, B = RNG.standard_normal((2, 8, 8)).astype(np.float32)


def close(found: Any, wanted: Any, limit: float = 2e-3) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max(initial=0) <= limit * max(1, np.abs(wanted).max(initial=0))


@pytest.fixture(scope="module")
def net() -> Any:
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    return keras.Model(image, layers.Dense(4)(x))


def images(batch: int) -> np.ndarray:
    return RNG.standard_normal((batch, 8, 8, 3)).astype(np.float32)


def test_a_keras_model(net: Any, tmp_path: Path) -> None:
    x = images(2)
    model = tfn.trace(net, x)
    assert isinstance(model, keras.Model)
    assert model.on_neuron_ratio == 1.0
    close(model(x), net(x))
    close(model(x, training=False), net(x))
    close(model.predict(x, verbose=0), net(x))
    with pytest.raises(ValueError, match="does not train"):
        model(x, training=True)
    model.save(tmp_path / "saved")
    again = tf.saved_model.load(str(tmp_path / "saved"))
    close(again.aot_function(x), net(x))
    signature = again.signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    assert name == net.inputs[0].name
    assert signature.structured_outputs["output_0"].shape == (2, 4)
    close(signature(**{name: tf.constant(x)})["output_0"], net(x))


def test_flags_of_the_environment(
    net: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEURON_CC_FLAGS", f"--dynamic-batch-size --workdir {tmp_path}")
    model = tfn.trace(net, images(2))
    for batch in (0, 1, 2, 5):
        x = images(batch)
        assert model(x).shape == (batch, 4)
        if batch:
            close(model(x), net(x))
    assert list(tmp_path.rglob("graph_def.neff"))


MIXING: dict[str, Callable[[Any], Any]] = {
    "Softmax": lambda x: tf.nn.relu(tf.nn.softmax(tf.tanh(x), axis=0)),
    "twice the batch": lambda x: tf.tanh(x[:-1]) + 1.0,
    "StridedSlice": lambda x: tf.tanh(x)[: tf.shape(x)[0] // 2] + 1.0,
}


@pytest.mark.parametrize("name", MIXING)
def test_mixing_a_batch_forbids_any_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURON_CC_FLAGS", "--dynamic-batch-size")
    with pytest.raises(CodedError, match=name):
        tfn.trace(MIXING[name], A)


@pytest.mark.parametrize("example", [(A, B), {"a": A, "b": B}])
def test_operands_and_results_keep_their_structure(example: Any) -> None:
    def function(a: Any, b: Any) -> Any:
        return {"product": a @ b, "parts": (tf.nn.relu(a), [b + 1.0])}

    model = tfn.trace(function, example)
    results = model(**example) if isinstance(example, dict) else model(*example)
    wanted = function(A, B)
    tf.nest.assert_same_structure(results, wanted)
    for found, expected in zip(tf.nest.flatten(results), tf.nest.flatten(wanted), strict=True):
        close(found, expected)


def test_other_ops_stay_and_a_caller_may_choose() -> None:
    def function(a: Any) -> Any:
        return tf.linalg.inv(tf.nn.relu(tf.tanh(a @ a)) + tf.eye(8) * 40.0) @ a

    close(tfn.trace(function, A)(A), function(A))
    kept = tfn.trace(function, A, subgraph_builder_function=lambda node: node.op != "Relu")
    ops = [op.type for op in kept.aot_function.get_concrete_function(A).graph.get_operations()]
    assert {"Relu", "MatrixInverse", "NeuronOp"} <= set(ops)
    close(kept(A), function(A))


def test_results_that_are_no_tensors_or_several() -> None:
    def function(a: Any) -> Any:
        rows = tf.RaggedTensor.from_row_lengths(a[0] + 1.0, [3, 1, 4])
        return {"rows": rows, "none": None, "product": a @ a}

    found = tfn.trace(function, A)(A)
    assert found["none"] is None
    close(found["rows"].flat_values, A[0] + 1)
    assert found["rows"].row_lengths().numpy().tolist() == [3, 1, 4]
    close(found["product"], A @ A)
    with pytest.raises(CodedError, match="no result"):
        tfn.trace(lambda a: None, A)


def test_an_example_without_a_static_shape_is_named() -> None:
    for shape in ([None, 8], None):
        with pytest.raises(CodedError, match="operand 1 of the example"):
            tfn.trace(lambda a, b: a + b, (A, tf.TensorSpec(shape)))


def branch(a: Any) -> Any:
    """Python that TensorFlow converts."""
    if tf.reduce_sum(a) > 0:
        a = a @ B
    for _ in range(2):
        a = tf.nn.relu(a)
    return a


def test_python_in_a_function_is_converted(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    x = tf.abs(tf.constant(A))
    close(tfn.trace(branch, x)(x), branch(x))
    within = tf.function(lambda x: tfn.fuse(branch)(x) + 1.0)
    close(within(x), branch(x) + 1.0, 2e-2)
    logger.removeHandler(caplog.handler)
    assert "AutoGraph" not in caplog.text


def test_a_function_without_operands_is_returned() -> None:
    def function() -> Any:
        return tf.constant(1.0)

    assert tfn.trace(function, ()) is function


def test_analysis(capsys: pytest.CaptureFixture[str]) -> None:
    found = tfn.analyze_model(lambda a: tf.linalg.inv(tf.nn.relu(a) + 3.0), A)
    assert found["unsupported_operators"] == ["MatrixInverse"]
    assert found["supported_operators"] == {"Relu", "AddV2"}
    assert (found["supported_count"], found["total_count"]) == (2, 3)
    assert found["operator_count"] == {"Relu": 1, "AddV2": 1, "MatrixInverse": 1}
    assert "66.67% of all operations (2 of 3) are supported" in capsys.readouterr().out


def test_fuse_in_a_graph() -> None:
    @tfn.fuse(batch_size=4)
    def layer(x: Any) -> Any:
        return tf.nn.relu(x @ tf.constant(B))

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8])
        y = layer(x)
        assert "NeuronOp" in {op.type for op in session.graph.get_operations()}
        close(session.run(y, {x: A[:4]}), np.maximum(A[:4] @ B, 0), 2e-2)


def test_fuse_for_any_batch_with_arrays_and_a_gradient() -> None:
    @tfn.fuse(input_shapes=[[3, 8]], dynamic_batch_size=True)
    def layer(x: Any, weights: Any) -> Any:
        return tf.tanh(x @ weights), tf.nn.relu(x)

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8])
        results = layer(x, B)
        assert [y.shape.as_list() for y in results] == [[None, 8], [None, 8]]
        for batch in (2, 7):
            found = session.run(results, {x: A[:1].repeat(batch, 0)})
            close(found[0], np.tanh(A[:1].repeat(batch, 0) @ B), 2e-2)
    double = tfn.fuse(lambda x: x * 2.0, grad_func=lambda x, dy: dy * 5.0)
    x = tf.constant(A)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = double(x)
    close(y, A * 2, 2e-2)
    close(tape.gradient(y, x), np.full_like(A, 5.0))


def test_runs_of_all_programs_are_measured() -> None:
    model = tfn.trace(lambda x: tf.nn.relu(x) + 1.0, A)
    with tfn.measure_performance() as measured:
        for _ in range(3):
            model(A)
    model(A)
    assert json.loads(measured.report())["count"] == 3


def test_strings_pass_a_traced_function() -> None:
    model = tfn.trace(
        lambda s, x: (tf.strings.length(s), tf.nn.relu(x) + 1.0), (tf.constant(["a", "bc"]), A)
    )
    lengths, y = model(tf.constant(["a", "bc"]), A)
    assert lengths.numpy().tolist() == [1, 2]
    close(y, np.maximum(A, 0) + 1)
    assert 0 < model.on_neuron_ratio < 1


def test_measured_calls() -> None:
    function = tfn.performance.measure(lambda x: x + 1)
    assert [function(n) for n in range(20)] == list(range(1, 21))
    report = json.loads(function.report())
    assert report["count"] == 20
    assert 0 < report["latency_p50"] <= report["latency_p99"]
    assert report["throughput"] > 0
