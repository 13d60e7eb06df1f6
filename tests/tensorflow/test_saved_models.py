"""`saved_model.compile`: what it writes, counts, logs and refuses.

bf16 operands with f32 sums: a relative error of 2^-8 per product, so 2e-2 of the largest value.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small_models import write_keras, write_loop, write_tf1

import ranvier.tensorflow as tfn
from ranvier.dialects.diagnostics import CallerError, CodedError

v1 = tf.compat.v1
compile_model = tfn.saved_model.compile


def close(found: Any, wanted: np.ndarray) -> None:
    assert np.abs(np.asarray(found) - wanted).max() <= 2e-2 * max(1.0, np.abs(wanted).max())


def parse(folder: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())


def nodes_of(folder: Path) -> list[Any]:
    return list(parse(folder).meta_graphs[0].graph_def.node)


@pytest.fixture(scope="module")
def tf1(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tf1") / "model"
    return folder, write_tf1(folder)


@pytest.fixture(scope="module")
def compiled(tf1: tuple[Path, dict[str, Any]]) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    folder, arrays = tf1
    counts = compile_model(folder, folder.parent / "compiled", batch_size=4)
    return folder.parent / "compiled", arrays, counts


Compiled = tuple[Path, dict[str, Any], dict[str, Any]]


def test_a_tf1_model_runs_in_a_session(compiled: Compiled) -> None:
    folder, arrays, _ = compiled
    with tf.Graph().as_default(), v1.Session() as session:
        meta = v1.saved_model.load(session, ["serve"], str(folder))
        info = meta.signature_def["serving_default"]
        assert info.outputs["y"].name == "probabilities:0"
        assert info.inputs["x"].name == "input:0"
        assert [d.size for d in info.outputs["y"].tensor_shape.dim] == [-1, 5]
        y = session.graph.get_tensor_by_name("probabilities:0")
        assert y.shape.as_list() == [4, 5]
        assert y.op.type == "IdentityN"
        close(session.run(y, {"input:0": arrays["x"]}), arrays["y"])


def test_it_loads_in_tensorflow_2_and_runs_in_threads(compiled: Compiled) -> None:
    folder, arrays, _ = compiled
    function = tf.saved_model.load(str(folder)).signatures["serving_default"]
    results: list[np.ndarray] = []
    x = tf.constant(arrays["x"])
    threads = [
        threading.Thread(target=lambda: results.append(function(x=x)["y"].numpy()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(np.array_equal(result, results[0]) for result in results)
    close(results[0], arrays["y"])


def test_it_is_saved_again_and_wrapped(compiled: Compiled, tmp_path: Path) -> None:
    folder, arrays, _ = compiled
    model = tf.saved_model.load(str(folder))
    tf.saved_model.save(model, str(tmp_path / "again"), signatures=model.signatures)
    again = tf.saved_model.load(str(tmp_path / "again")).signatures["serving_default"]
    close(again(x=tf.constant(arrays["x"]))["y"], arrays["y"])


FRESH = """
import sys, numpy as np, tensorflow as tf
try:
    tf.saved_model.load(sys.argv[1]); print("loaded")
except Exception as error:
    print("NeuronOp" in str(error))
import ranvier.tensorflow
x = np.load(sys.argv[2])
y = tf.saved_model.load(sys.argv[1]).signatures["serving_default"](x=tf.constant(x))["y"]
np.save(sys.argv[3], y.numpy())
ranvier.tensorflow.saved_model.compile(sys.argv[4], sys.argv[5], batch_size=4)
"""


def test_a_fresh_process_needs_our_import_alone(
    compiled: Compiled, tf1: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """It also writes the bytes that this process wrote."""
    folder, arrays, _ = compiled
    np.save(tmp_path / "x.npy", arrays["x"])
    done = subprocess.run(
        [
            *(sys.executable, "-c", FRESH, folder),
            *(tmp_path / "x.npy", tmp_path / "y.npy", tf1[0], tmp_path / "again"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True"]
    close(np.load(tmp_path / "y.npy"), arrays["y"])
    first, second = (f / "saved_model.pb" for f in (folder, tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()


def test_counts_are_those_of_the_written_graph(compiled: Compiled) -> None:
    folder, _, counts = compiled
    nodes = nodes_of(folder)
    inside = 0
    for node in nodes:
        if node.op == "NeuronOp":
            graph = tf.compat.v1.GraphDef.FromString(node.attr["graph_def"].s)
            inside += len(graph.node) - len(node.attr["input_names"].list.s)
    neuron = sum(node.op == "NeuronOp" for node in nodes)
    assert counts["OperationsOnNeuron"] == inside > 0
    assert counts["OperationsAfterOptimizations"] == len(nodes) - neuron + inside
    assert counts["OnNeuronRatio"] == inside / (len(nodes) - neuron + inside)


def test_the_node_has_the_attributes_of_the_original(compiled: Compiled) -> None:
    (node,) = [node for node in nodes_of(compiled[0]) if node.op == "NeuronOp"]
    assert node.name.rpartition("/")[2].startswith("neuron_op_")
    assert list(node.attr["input_names"].list.s) == [b"input:0"]
    assert [d.size for d in node.attr["input_shapes"].list.shape[0].dim] == [4, 12]
    assert list(node.attr["input_dtypes"].list.type) == [tf.float32.as_datatype_enum]
    assert [d.size for d in node.attr["output_shapes"].list.shape[0].dim] == [4, 5]
    assert len(node.attr["output_names"].list.s) == 1
    assert len(node.attr["executable"].s) > 1024
    assert list(node.attr["model_config"].list.i) == [1, 1, 64, 10]


def test_three_lines_are_logged(
    tf1: tuple[Path, dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, "tensorflow"):
        counts = compile_model(tf1[0], tmp_path / "new")
    logger.removeHandler(caplog.handler)
    session = len(nodes_of(tf1[0]))
    wanted = [
        f"Number of operations in TensorFlow session: {session}",
        "Number of operations after tf.neuron optimizations: "
        f"{counts['OperationsAfterOptimizations']}",
        f"Number of operations placed on Neuron runtime: {counts['OperationsOnNeuron']}",
        f"Successfully converted {tf1[0]} to {tmp_path / 'new'}",
    ]
    assert [line for line in wanted if line in caplog.messages] == wanted


def test_the_lines_and_the_reasons_are_shown_without_asking(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tf1(tmp_path / "m", host_op=True)
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.WARNING)
    compile_model(tmp_path / "m", tmp_path / "new", batch_size=4, no_fuse_ops=["MatMul"])
    assert logger.level == logging.WARNING
    compile_model(tmp_path / "m", tmp_path / "other", batch_size=4, minimum_segment_size=50)
    logger.removeHandler(caplog.handler)
    logger.setLevel(level)
    assert "Number of operations in TensorFlow session" in caplog.text
    assert "on the host: BesselI0e 'bessel_i0e/BesselI0e': nn has no BesselI0e" in caplog.text
    assert "on the host: MatMul 'MatMul': rule line 1: no_fuse_ops [RV0208]" in caplog.text
    assert "nodes; one with fewer than 50 is not compiled [RV0209]" in caplog.text


def test_a_keras_model_keeps_its_other_signatures(tmp_path: Path) -> None:
    x, y = write_keras(tmp_path / "keras")
    assert np.abs(y[0] - y[1]).max() > 0.1 * np.abs(y).max()
    counts = compile_model(tmp_path / "keras", tmp_path / "new", batch_size=4)
    assert counts["OnNeuronRatio"] > 0.8
    signatures = tf.saved_model.load(str(tmp_path / "new")).signatures
    for name, limit in (("serving_default", 2e-2), ("serve", 1e-5)):
        found = next(iter(signatures[name](tf.constant(x)).values())).numpy()
        assert np.abs(found - y).max() <= limit * np.abs(y).max(), name


def test_signatures_that_share_nodes(tmp_path: Path) -> None:
    arrays = write_tf1(tmp_path / "two", signatures=2)
    compile_model(tmp_path / "two", tmp_path / "new", signature_def_key="hidden", batch_size=4)
    signatures = tf.saved_model.load(str(tmp_path / "new")).signatures
    x = tf.constant(arrays["x"])
    close(signatures["hidden"](x=x)["h"], arrays["h"])
    close(signatures["hidden"](x=x)["twice"], arrays["twice"])
    other = signatures["serving_default"](x=x)["y"].numpy()
    np.testing.assert_allclose(other, arrays["y"], rtol=1e-5)
    shorter = signatures["serving_default"](x=x[:1])["y"].numpy()
    np.testing.assert_allclose(shorter, arrays["y"][:1], rtol=1e-5)


def test_what_the_machine_lacks_stays_in_tensorflow(tmp_path: Path) -> None:
    arrays = write_tf1(tmp_path / "model", host_op=True)
    compile_model(tmp_path / "model", tmp_path / "new", batch_size=4, minimum_segment_size=1)
    ops = [node.op for node in nodes_of(tmp_path / "new")]
    assert ops.count("NeuronOp") >= 2
    assert "BesselI0e" in ops
    found = tf.saved_model.load(str(tmp_path / "new")).signatures["serving_default"]
    close(found(x=tf.constant(arrays["x"]))["y"], arrays["y"])


def test_a_loop_of_tf1_is_unrolled(tmp_path: Path) -> None:
    x, y = write_loop(tmp_path / "loop")
    compile_model(tmp_path / "loop", tmp_path / "new", batch_size=2)
    ops = [node.op for node in nodes_of(tmp_path / "new")]
    assert "LoopCond" not in ops
    found = tf.saved_model.load(str(tmp_path / "new")).signatures["serving_default"]
    close(found(x=tf.constant(x))["y"], y)


def test_any_batch_runs_in_pieces(tf1: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, arrays = tf1
    compile_model(folder, tmp_path / "new", batch_size=2, dynamic_batch_size=True)
    function = tf.saved_model.load(str(tmp_path / "new")).signatures["serving_default"]
    for batch in (1, 2, 3, 4):
        found = function(x=tf.constant(arrays["x"][:batch]))["y"]
        assert found.shape == (batch, 5)
        close(found, arrays["y"][:batch])


def test_another_batch_is_refused_and_both_shapes_named(compiled: Compiled) -> None:
    folder, arrays, _ = compiled
    function = tf.saved_model.load(str(folder)).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"4x12.*2x12"):
        function(x=tf.constant(arrays["x"][:2]))


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"no_fuse_ops": ["hidden"]}, {"Relu"}),
        ({"no_fuse_ops": "hidden:0"}, {"Relu"}),
        ({"supported_op_types": ["MatMul"]}, {"Relu", "Softmax"}),
        ({"minimum_segment_size": 100}, {"Relu", "MatMul", "Softmax"}),
        (
            {"supported_op_types": ["MatMul"], "force_fuse_ops": ["hidden"]},
            {"Softmax"},
        ),
    ],
)
def test_options_place_ops(
    tf1: tuple[Path, dict[str, Any]], tmp_path: Path, options: dict[str, Any], left: set[str]
) -> None:
    folder, arrays = tf1
    options = {"minimum_segment_size": 1} | options
    compile_model(folder, tmp_path / "new", batch_size=4, **options)
    ops = {node.op for node in nodes_of(tmp_path / "new")}
    assert left <= ops
    found = tf.saved_model.load(str(tmp_path / "new")).signatures["serving_default"]
    close(found(x=tf.constant(arrays["x"]))["y"], arrays["y"])


def test_shapes_come_from_feeds(tf1: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, arrays = tf1
    for number, feed in enumerate(
        (
            {"model_shape_feed_dict": {"x": [3, 12]}},
            {"model_shape_feed_dict": {"input:0": [3, 12]}},
            {"model_feed_dict": {"x": arrays["x"][:3]}},
        )
    ):
        compile_model(folder, tmp_path / str(number), **feed)
        (node,) = [n for n in nodes_of(tmp_path / str(number)) if n.op == "NeuronOp"]
        assert [d.size for d in node.attr["input_shapes"].list.shape[0].dim] == [3, 12]


def test_a_work_directory_keeps_the_files(tf1: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    compile_model(tf1[0], tmp_path / "new", compiler_workdir=tmp_path / "work")
    names = {path.name for path in (tmp_path / "work").rglob("graph_def*")}
    assert names == {
        "graph_def.pb",
        "graph_def.neff",
        "graph_def.neuron-cc.log",
        "graph_def.io-config.json",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tags": "train"}, ["train", "serve"]),
        ({"signature_def_key": "classify"}, ["classify", "serving_default"]),
        ({"model_shape_feed_dict": {"y": [1, 12]}}, ["'y'", "x"]),
        ({"model_feed_dict": {"x": np.zeros(12)}}, ["'x'", "rank 2"]),
        ({"model_shape_feed_dict": {"x": [1, 13]}}, ["1x13", "?x12"]),
        ({"model_shape_feed_dict": {"x": [None, 12]}}, ["'x'", "None"]),
        ({"model_feed_dict": {"x": [[1.0], [2.0, 3.0]]}}, ["'x'", "no array"]),
        ({"model_feed_dict": np.zeros((1, 12))}, ["model_feed_dict", "ndarray"]),
        ({"model_shape_feed_dict": [1, 12]}, ["model_shape_feed_dict", "list"]),
        ({"batch_size": 0}, ["batch_size", "got 0"]),
        ({"minimum_segment_size": "two"}, ["minimum_segment_size", "'two'"]),
        ({"compiler_timeout": "long"}, ["compiler_timeout", "long"]),
        ({"no_fuse_ops": 3}, ["nodes", "got 3"]),
        ({"compiler_args": ["--fast-maths", "none"]}, ["--fast-maths"]),
        ({"compiler_workdir": "/dev/null/work"}, ["/dev/null/work"]),
    ],
)
def test_bad_arguments_are_named(
    tf1: tuple[Path, dict[str, Any]], tmp_path: Path, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(CallerError) as refused:
        compile_model(tf1[0], tmp_path / "new", **options)
    assert [word for word in words if word not in str(refused.value)] == []
    assert list(tmp_path.iterdir()) == []


def test_names_of_no_node_are_warned_of(
    tf1: tuple[Path, dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    compile_model(tf1[0], tmp_path / "new", no_fuse_ops=["hiden"])
    logger.removeHandler(caplog.handler)
    assert "hiden" in caplog.text


def test_what_does_not_compile_in_time_stays_or_is_an_error(
    tf1: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, arrays = tf1
    counts = compile_model(folder, tmp_path / "new", batch_size=4, compiler_timeout=1e-9)
    assert counts["OperationsOnNeuron"] == 0
    found = tf.saved_model.load(str(tmp_path / "new")).signatures["serving_default"]
    close(found(x=tf.constant(arrays["x"]))["y"], arrays["y"])
    monkeypatch.setenv("NEURON_CC_FLAGS", "--must-compile")
    with pytest.raises(TimeoutError):
        compile_model(folder, tmp_path / "other", compiler_timeout=1e-9)
    assert not (tmp_path / "other").exists()


def test_a_directory_that_exists_is_left_alone(
    tf1: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="Export directory already exists"):
        compile_model(tf1[0], tmp_path)


def test_a_path_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, what in (("file", "no folder"), ("absent", "no folder"), ("empty", "saved_model.pb")):
        with pytest.raises(CodedError, match=rf"{name}: .*{what}"):
            compile_model(tmp_path / name, tmp_path / "new")


def test_a_damaged_model_is_refused(tf1: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    data = (tf1[0] / "saved_model.pb").read_bytes()
    (tmp_path / "bad/saved_model.pb").write_bytes(data[: len(data) // 2])
    with pytest.raises(CodedError, match=r"saved_model\.pb"):
        compile_model(tmp_path / "bad", tmp_path / "new")
    assert not (tmp_path / "new").exists()
