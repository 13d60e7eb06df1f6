"""SavedModels of several signatures, tags, tables, strings: what is not compiled stays as it was.

Tolerances as in test_saved_models.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small_models import weights, write_tf1

import ranvier.tensorflow as tfn

v1 = tf.compat.v1
RNG = np.random.default_rng(3)
TAGS = ["serve", "gpu"]


def run(folder: Path, tags: list[str], key: str, feed: dict[str, Any]) -> dict[str, Any]:
    with tf.Graph().as_default(), v1.Session() as session:
        signature = v1.saved_model.load(session, tags, str(folder)).signature_def[key]
        names = {name: info.name for name, info in signature.outputs.items()}
        return session.run(names, {signature.inputs[n].name: a for n, a in feed.items()})


def assert_close(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.abs(found[name] - array).max() <= 2e-2 * max(1.0, np.abs(array).max()), name


def write_crossed(folder: Path) -> dict[str, dict[str, str]]:
    """Two signatures that share outputs, and name their inputs as the other one's tensors."""
    with tf.Graph().as_default(), v1.Session() as session:
        a, b, c = (v1.placeholder(tf.float32, [None, 6], name) for name in "abc")
        hidden = tf.nn.relu(tf.matmul(a, tf.constant(weights(6, 6))) + b, name="hidden")
        end = tf.tanh(hidden * c, name="end")
        define = v1.saved_model.signature_def_utils.predict_signature_def
        signatures = {
            "plain": define({"a": a, "b": b}, {"h": hidden}),
            "crossed": define({"c": a, "b": b, "a": c}, {"y": end, "h": hidden}),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, TAGS, signatures)
        builder.add_meta_graph(["tpu"], {"plain": signatures["plain"]})
        builder.save()
    return {
        key: {name: info.name for name, info in signature.inputs.items()}
        for key, signature in signatures.items()
    }


def test_signatures_that_share_outputs_and_cross_names(tmp_path: Path) -> None:
    inputs = write_crossed(tmp_path / "model")
    arrays = {f"{name}:0": RNG.standard_normal((2, 6)).astype(np.float32) for name in "abc"}
    feeds = {key: {n: arrays[t] for n, t in names.items()} for key, names in inputs.items()}
    wanted = {key: run(tmp_path / "model", TAGS, key, feed) for key, feed in feeds.items()}
    for key, feed in feeds.items():
        new = tmp_path / key
        tfn.saved_model.compile(
            tmp_path / "model", new, signature_def_key=key, model_feed_dict=feed
        )
        for other, own in feeds.items():
            assert_close(run(new, TAGS, other, own), wanted[other])
        assert_close(run(new, ["tpu"], "plain", feeds["plain"]), wanted["plain"])
    loaded = tf.saved_model.load(str(tmp_path / "plain"), TAGS)
    assert sorted(loaded.signatures) == ["crossed", "plain"]
    tf.saved_model.save(loaded, str(tmp_path / "again"), signatures=dict(loaded.signatures))


def test_tags_in_a_string(tmp_path: Path) -> None:
    write_crossed(tmp_path / "model")
    with pytest.raises(ValueError, match="serve, gpu; tpu"):
        tfn.saved_model.compile(tmp_path / "model", tmp_path / "new", tags="serve")
    tfn.saved_model.compile(tmp_path / "model", tmp_path / "new", tags="serve,gpu", batch_size=2)
    assert (tmp_path / "new").exists()


def write_words(folder: Path) -> None:
    """Words become rows of a matrix through a table that an asset fills, beside a dense part."""
    vocabulary = folder.parent / "words.txt"
    vocabulary.write_text("one\ntwo\nthree\n")
    with tf.Graph().as_default(), v1.Session() as session:
        words, x = v1.placeholder(tf.string, [None], "words"), v1.placeholder(tf.float32, [None, 4])
        lines = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        initializer = tf.lookup.TextFileInitializer(
            str(vocabulary), tf.string, lines[0], tf.int64, lines[1]
        )
        table = tf.lookup.StaticHashTable(initializer, -1)
        rows = tf.gather(tf.constant(weights(4, 5)), table.lookup(words) + 1)
        dense = tf.nn.relu(tf.matmul(x, tf.constant(weights(4, 5))))
        session.run(v1.tables_initializer())
        define = v1.saved_model.signature_def_utils.predict_signature_def
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            TAGS[:1],
            {"serving_default": define({"words": words, "x": x}, {"y": rows * dense})},
            main_op=v1.tables_initializer(),
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
        )
        builder.save()


def test_strings_and_tables_stay_in_tensorflow(tmp_path: Path) -> None:
    write_words(tmp_path / "model")
    feed = {
        "words": np.array([b"three", b"unknown", b"one"], object),
        "x": RNG.standard_normal((3, 4)).astype(np.float32),
    }
    counts = tfn.saved_model.compile(tmp_path / "model", tmp_path / "new", batch_size=3)
    assert counts["OperationsOnNeuron"] > 0
    wanted = run(tmp_path / "model", ["serve"], "serving_default", feed)
    assert_close(run(tmp_path / "new", ["serve"], "serving_default", feed), wanted)
    function = tf.saved_model.load(str(tmp_path / "new")).signatures["serving_default"]
    assert_close({"y": function(**{n: tf.constant(a) for n, a in feed.items()})["y"]}, wanted)


class Loops(tf.Module):
    """A loop of known length, one that depends on its operand, and a gradient of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(weights(6, 6))

    @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.float32, name="x")])
    def fixed(self, x: Any) -> Any:
        steps = tf.TensorArray(tf.float32, 4)
        for i in tf.range(4):
            x = tf.tanh(x @ self.w)
            steps = steps.write(i, x)
        return {"steps": steps.stack(), "gate": tf.nn.silu(x)}

    @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.float32, name="x")])
    def dynamic(self, x: Any) -> Any:
        while tf.reduce_sum(x) < 100.0:
            x = x * 2.0 + 1.0
        return {"y": tf.nn.relu(x @ self.w) * 0.01}


def test_loops_and_gradients_of_functions(tmp_path: Path) -> None:
    module = Loops()
    signatures = {"fixed": module.fixed, "dynamic": module.dynamic}
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=signatures)
    x = tf.constant(np.abs(RNG.standard_normal((2, 6))).astype(np.float32))
    wanted = {key: function(x) for key, function in signatures.items()}
    for key in signatures:
        tfn.saved_model.compile(
            tmp_path / "model", tmp_path / key, signature_def_key=key, batch_size=2
        )
        loaded = tf.saved_model.load(str(tmp_path / key))
        for other in signatures:
            assert_close(loaded.signatures[other](x=x), wanted[other])


def test_counts_of_a_signature_among_others(tmp_path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    write_crossed(tmp_path / "model")
    counts = tfn.saved_model.compile(tmp_path / "model", tmp_path / "new", batch_size=2)
    data = (tmp_path / "new/saved_model.pb").read_bytes()
    meta = saved_model_pb2.SavedModel.FromString(data).meta_graphs[0]
    ends = meta.signature_def["crossed"].outputs.values()
    names = [info.name.partition(":")[0] for info in ends]
    nodes = v1.graph_util.extract_sub_graph(meta.graph_def, names).node
    programs = [node for node in nodes if node.op == "NeuronOp"]
    inside = sum(
        len(v1.GraphDef.FromString(node.attr["graph_def"].s).node)
        - len(node.attr["input_names"].list.s)
        for node in programs
    )
    assert counts["OperationsOnNeuron"] == inside > 0
    assert counts["OperationsAfterOptimizations"] == len(nodes) - len(programs) + inside


def test_a_session_is_saved_compiled_and_predicts(tmp_path: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 6])
        w = v1.get_variable("w", initializer=weights(6, 3))
        y = tf.nn.relu(tf.matmul(x, w)) + 1.0
        session.run(v1.global_variables_initializer())
        array = RNG.standard_normal((2, 6)).astype(np.float32)
        wanted = session.run(y, {x: array})
        counts = tfn.saved_model.simple_save(
            session, tmp_path / "new", {"x": x}, {"y": y}, batch_size=2
        )
    assert counts["OperationsOnNeuron"] > 0
    with tfn.predictor.from_saved_model(tmp_path / "new") as predict:
        assert_close(predict({"x": array}), {"y": wanted})
        with pytest.raises(ValueError, match="'z' is no input; inputs: x"):
            predict({"z": array})


def test_a_graph_predicts() -> None:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2], "x")
        tf.add(x, 1.0, "y")
    with tfn.predictor.from_graph_def(graph.as_graph_def(), {"a": "x:0"}, {"b": "y:0"}) as predict:
        assert predict({"a": [1.0, 2.0]})["b"].tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="z:0"):
        tfn.predictor.from_graph_def(graph.as_graph_def(), {"a": "x:0"}, {"b": "z:0"})


def test_subgraphs_are_bound_to_groups_of_cores(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = write_tf1(tmp_path / "m", host_op=True)
    tfn.saved_model.compile(tmp_path / "m", tmp_path / "new", batch_size=4)
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    tfn.saved_model.set_core_binding(tmp_path / "new", [-1, 2])
    tfn.saved_model.inspect_core_binding(tmp_path / "new")
    logger.removeHandler(caplog.handler)
    assert "does not bind to a NeuronCore Group" in caplog.text
    assert "binds to NeuronCore Group index 2" in caplog.text
    with tfn.predictor.from_saved_model(tmp_path / "new") as predict:
        assert_close(predict({"x": arrays["x"]}), {"y": arrays["y"]})
    with pytest.raises(ValueError, match="3 groups for 2 NeuronOps"):
        tfn.saved_model.set_core_binding(tmp_path / "new", [0, 1, 2])


@pytest.mark.parametrize("feed", ["shape_feed_dict", "feed_dict"])
def test_the_graph_of_a_session(feed: str) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 6], "x")
        y = tf.nn.relu(tf.matmul(x, tf.constant(weights(6, 6))), "y")
        z = tf.sigmoid(tf.matmul(y, tf.constant(weights(6, 3))), "z")
        array = RNG.standard_normal((2, 6)).astype(np.float32)
        wanted = session.run({"y": y, "z": z}, {x: array})
        given = {x: [2, 6]} if feed == "shape_feed_dict" else {"x:0": array}
        graph = tfn.graph_util.inference_graph_from_session(
            session, output_tensors=["y:0", z], op_whitelist={"MatMul", "Relu"}, **{feed: given}
        )
        everything = tfn.graph_util.inference_graph_from_session(session, batch_size=2)
    assert {op.type for op in graph.get_operations()} >= {"NeuronOp", "Sigmoid", "IdentityN"}
    with v1.Session(graph=graph) as session:
        assert_close(session.run({"y": "y:0", "z": "z:0"}, {"x:0": array}), wanted)
    with v1.Session(graph=everything) as session:
        assert_close({"z": session.run("z:0", {"x:0": array})}, {"z": wanted["z"]})


def graph_with_loop(stop: Any) -> Any:
    """A session on TF1's loop, whose body has a constant; `stop` gets counter and value."""
    with tf.Graph().as_default() as graph:
        v1.disable_control_flow_v2()
        x = v1.placeholder(tf.float32, [2, 4], "x")
        w = weights(4, 4)

        def step(i: Any, value: Any) -> Any:
            return i + 1, tf.nn.relu(tf.matmul(value, tf.constant(w)), "inner") + 1.0

        _, value = v1.while_loop(lambda i, value: stop(i, value), step, (0, x))
        tf.identity(value, name="y")
        v1.enable_control_flow_v2()
    return v1.Session(graph=graph)


@pytest.mark.parametrize(
    ("stop", "options", "native"),
    [
        (lambda i, _: i < 3, {}, False),
        (lambda i, _: i < 3, {"no_fuse_ops": ["while/inner"]}, True),
        (lambda i, value: tf.logical_and(i < 4, tf.reduce_sum(value) < 1e9), {}, True),
    ],
)
def test_a_loop_of_tf1_goes_as_a_whole(stop: Any, options: dict[str, Any], native: bool) -> None:
    array = np.abs(RNG.standard_normal((2, 4))).astype(np.float32)
    with graph_with_loop(stop) as session:
        wanted = session.run("y:0", {"x:0": array})
        graph = tfn.graph_util.inference_graph_from_session(
            session, output_tensors=["y:0"], **options
        )
    ops = {op.type for op in graph.get_operations()}
    assert ("LoopCond" in ops) is native
    assert ("NeuronOp" in ops) is not native
    with v1.Session(graph=graph) as session:
        assert_close({"y": session.run("y:0", {"x:0": array})}, {"y": wanted})
