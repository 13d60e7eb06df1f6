"""What a compiled graph begins and ends with: results that are fed, inputs that nothing reads,
outputs that stay as they were, and values between that are known beforehand.

bf16 operands with f32 sums: 2e-2 of the largest value, as in test_saved_models.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from small_models import weights, write_tf1
from tensorflow.core.protobuf import saved_model_pb2

import ranvier.tensorflow as tfn
from ranvier.dialects.diagnostics import CodedError

v1 = tf.compat.v1
RNG = np.random.default_rng(11)
SQUARE = weights(8, 8)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def close(found: Any, wanted: Any) -> None:
    wanted = np.asarray(wanted)
    assert np.shape(found) == wanted.shape
    assert np.abs(np.asarray(found) - wanted).max() <= 2e-2 * max(1.0, np.abs(wanted).max())


def save(folder: Path, function: Callable[..., Any], *specs: Any) -> Path:
    module = tf.Module()
    module.call = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures=module.call)
    return folder


def compiled(folder: Path, **options: Any) -> Any:
    tfn.saved_model.compile(folder, folder / "new", **options)
    return tf.saved_model.load(str(folder / "new")).signatures["serving_default"]


def op_types(graph: Any) -> list[str]:
    return [op.type for op in graph.get_operations()]


@pytest.mark.parametrize("dynamic", [False, True])
def test_results_between_are_fed(dynamic: bool) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        a, b = (v1.placeholder(tf.float32, [None, 8], name) for name in "ab")
        text = v1.placeholder(tf.string, name="text")
        first, _, second = tf.identity_n([a, text, b], "between")
        y = tf.nn.relu(first @ SQUARE + second @ SQUARE, "y")
        z = tf.nn.relu(tf.sigmoid(y) @ SQUARE, "z")
        feeds = [
            {"between:0": normal(n, 8), "between:2": normal(n, 8)}
            for n in ((3, 1, 7) if dynamic else (3,))
        ]
        wanted = [session.run([y, z], feed) for feed in feeds]
        graph = tfn.graph_util.inference_graph_from_session(
            session,
            feed_dict=feeds[0],
            output_tensors=["y:0", "z:0"],
            no_fuse_ops=["Sigmoid"],
            dynamic_batch_size=dynamic,
        )
    assert op_types(graph).count("NeuronOp") == 2
    with v1.Session(graph=graph) as session:
        for feed, expected in zip(feeds, wanted, strict=True):
            for found, value in zip(session.run(["y:0", "z:0"], feed), expected, strict=True):
                close(found, value)


def test_inputs_that_nothing_reads_stay(tmp_path: Path) -> None:
    def function(x: Any, unused: Any, text: Any) -> Any:
        return {"y": tf.nn.relu(x @ SQUARE) + 1.0}

    specs = [
        tf.TensorSpec([None, 8], name="x"),
        tf.TensorSpec(None, name="unused"),
        tf.TensorSpec([], tf.string, name="text"),
    ]
    folder = save(tmp_path, function, *specs)
    x = normal(1, 8)
    call = compiled(folder, model_shape_feed_dict={"x": [1, 8], "unused": [2], "text": []})
    given = {"x": tf.constant(x), "unused": tf.zeros([5, 1]), "text": tf.constant("a")}
    close(call(**given)["y"], np.maximum(x @ SQUARE, 0) + 1)


def test_an_output_that_stays_keeps_its_node(tmp_path: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [2, 8], "x")
        y = tf.nn.relu(x @ SQUARE, "y")
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
    with tfn.predictor.from_saved_model(tmp_path / "m") as original:
        before = op_types(original.graph)
    tfn.saved_model.compile(tmp_path / "m", tmp_path / "new", no_fuse_ops=["y", "matmul"])
    with tfn.predictor.from_saved_model(tmp_path / "new") as predict:
        assert sorted(op_types(predict.graph)) == sorted(before)
        x = normal(2, 8)
        close(predict({"x": x})["y"], np.maximum(x @ SQUARE, 0))


def test_an_output_that_stays_is_the_compiled_one_where_signatures_share_it(tmp_path: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [2, 8], "x")
        y = tf.linalg.inv(tf.nn.relu(x @ SQUARE)[:, :2] + 9 * tf.eye(2), name="y")
        define = v1.saved_model.signature_def_utils.predict_signature_def
        signature = define({"x": x}, {"y": y})
        builder = v1.saved_model.Builder(str(tmp_path / "m"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"a": signature, "b": signature})
        builder.save()
    tfn.saved_model.compile(tmp_path / "m", tmp_path / "new", signature_def_key="a")
    loaded = tf.saved_model.load(str(tmp_path / "new")).signatures
    x = tf.constant(normal(2, 8))
    assert "NeuronOp" in op_types(loaded["a"].graph)
    assert "NeuronOp" not in op_types(loaded["b"].graph)
    close(loaded["a"](x=x)["y"], loaded["b"](x=x)["y"])


def test_a_default_stays_where_nothing_is_fed(tmp_path: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder_with_default(tf.ones([2, 8]), [None, 8], "x")
        y = tf.nn.relu(x @ SQUARE) + 1.0
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
    tfn.saved_model.compile(tmp_path / "m", tmp_path / "new", batch_size=2)
    with tfn.predictor.from_saved_model(tmp_path / "new") as predict:
        assert "NeuronOp" in op_types(predict.graph)
        for x, given in ((normal(2, 8), True), (np.ones((2, 8), np.float32), False)):
            found = predict({"x": x} if given else {})["y"]
            close(found, np.maximum(x @ SQUARE, 0) + 1)


def test_a_compiled_model_is_compiled_again(tmp_path: Path) -> None:
    arrays = write_tf1(tmp_path / "0", signatures=2)
    for number, key in enumerate(("serving_default", "hidden", "serving_default")):
        tfn.saved_model.compile(
            tmp_path / str(number),
            tmp_path / str(number + 1),
            batch_size=4,
            signature_def_key=key,
        )
    loaded = tf.saved_model.load(str(tmp_path / "3")).signatures
    for key, name in (("serving_default", "y"), ("hidden", "h")):
        assert "NeuronOp" in op_types(loaded[key].graph)
        close(loaded[key](x=tf.constant(arrays["x"]))[name], arrays[name])


def test_a_model_in_text_is_read(tmp_path: Path) -> None:
    arrays = write_tf1(tmp_path / "m")
    path = tmp_path / "m" / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    path.with_suffix(".pbtxt").write_text(text_format.MessageToString(model))
    path.unlink()
    tfn.saved_model.compile(tmp_path / "m", tmp_path / "new", batch_size=4)
    loaded = tf.saved_model.load(str(tmp_path / "new")).signatures["serving_default"]
    assert "NeuronOp" in op_types(loaded.graph)
    close(loaded(x=tf.constant(arrays["x"]))["y"], arrays["y"])


@pytest.mark.parametrize(("axis", "shape"), [(0, (8, 6)), (1, (3, 200)), (0, (9000, 2))])
def test_a_variable_in_slices_is_put_together(
    axis: int, shape: tuple[int, int], tmp_path: Path
) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [2, shape[0]], "x")
        parts = v1.fixed_size_partitioner(2, axis)
        with v1.variable_scope("layer", partitioner=parts, use_resource=False):
            matrix = v1.get_variable("matrix", shape)
        y = tf.nn.relu(tf.matmul(x, matrix)) + 1.0
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
        operand = normal(2, shape[0])
        wanted = session.run(y, {x: operand})
    tfn.saved_model.compile(tmp_path / "m", tmp_path / "new")
    with tfn.predictor.from_saved_model(tmp_path / "new") as predict:
        assert "NeuronOp" in op_types(predict.graph)
        close(predict({"x": operand})["y"], wanted)


def test_slices_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [2, 8], "x")
        parts = v1.fixed_size_partitioner(2)
        with v1.variable_scope("layer", partitioner=parts, use_resource=False):
            y = tf.matmul(x, v1.get_variable("matrix", [8, 8]))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "m"), {"x": x}, {"y": y})
    index = tmp_path / "m/variables/variables.index"
    data = index.read_bytes()
    at = data.index(b"layer/matrix") + len("layer/matrix")
    place = data.index(bytes([0x12, 2, 8, 8]), at)  # the first size in the shape of the whole
    index.write_bytes(data[: place + 3] + b"\x09" + data[place + 4 :])
    with pytest.raises(CodedError, match="'layer/matrix'"):
        tfn.saved_model.compile(tmp_path / "m", tmp_path / "new")


def test_shapes_that_are_known_do_not_tie_nodes_together(tmp_path: Path) -> None:
    """A random op reads the shape of a product, and is added to it."""

    def function(x: Any) -> Any:
        y = tf.nn.relu(x @ SQUARE)
        return {"y": (y + tf.random.uniform(tf.shape(y))) @ SQUARE - y}

    call = compiled(save(tmp_path, function, tf.TensorSpec([None, 8], name="x")), batch_size=3)
    x = tf.constant(normal(3, 8))
    one, two = call(x=x)["y"], call(x=x)["y"]
    relu = np.maximum(x @ SQUARE, 0)
    most = np.abs(SQUARE).sum(0).max()
    assert np.abs(one - (relu @ SQUARE - relu)).max() <= most + 1e-1
    assert np.abs(one - two).max() > 1e-2  # drawn again at each call
    assert "RandomUniform" in op_types(call.graph)


class Words(tf.Module):
    def __init__(self) -> None:
        keys = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64))
        self.table = tf.lookup.StaticHashTable(keys, 0)
        self.rows = tf.Variable(weights(3, 8))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.string, name="words")])
    def __call__(self, words: Any) -> Any:
        rows = tf.gather(self.rows, self.table.lookup(words))
        return {"y": tf.nn.softmax(tf.reduce_mean(rows, 1) @ SQUARE)}


def test_what_follows_a_table_of_words_is_compiled(tmp_path: Path) -> None:
    model = Words()
    tf.saved_model.save(model, str(tmp_path), signatures=model.__call__)
    call = compiled(tmp_path, batch_size=2)
    types = op_types(call.graph)
    assert "NeuronOp" in types
    assert not {"MatMul", "Softmax", "Mean"} & set(types)
    words = tf.constant([["a", "b"], ["z", "b"]])
    close(call(words=words)["y"], model(words)["y"])
