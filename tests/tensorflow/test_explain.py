"""`ranvier explain` of TensorFlow's models, where TensorFlow can say what `nn` does not know."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1


def explained(path: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "ranvier.tools", "explain", path.name, "--json", *words]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def write(path: Path, *, host: bool) -> None:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [4, 12], "x")
        h = tf.nn.relu(tf.matmul(x, tf.constant(np.eye(12, dtype=np.float32))), name="h")
        if host:
            h = tf.math.bessel_i0e(h, name="bessel")
            values = tf.unique(tf.reshape(h, [-1]), name="unique").y
            h = tf.add(h, tf.reduce_sum(values, name="total"), name="both")
        tf.nn.softmax(h, name="y")
        path.write_bytes(graph.as_graph_def().SerializeToString())


def test_types_that_tensorflow_infers_free_what_follows(tmp_path: Path) -> None:
    """The softmax runs on the machine; of the unique values only their number is unknown."""
    write(tmp_path / "net.pb", host=True)
    report = explained(tmp_path / "net.pb")
    rows = {row["framework_op"]: row for row in report["ops"]}
    placements = {name: row["placement"] for name, row in rows.items()}
    assert placements == {
        "MatMul": "neuron",
        "Relu": "neuron",
        "BesselI0e": "host",
        "Reshape": "neuron",
        "Unique": "host",
        "Sum": "host",
        "AddV2": "neuron",
        "Softmax": "neuron",
    }
    assert rows["BesselI0e"]["reason"] == "nn has no BesselI0e"
    assert "no static type" in rows["Unique"]["reason"]
    assert rows["Sum"]["reason"] == "it reads what 'unique' (Unique) gives, whose type is not known"
    assert report["operators"]["before"] == len(report["ops"])


def test_tensorflow_is_imported_only_if_it_can_help(tmp_path: Path) -> None:
    script = """
import sys
from ranvier.tools.cli import execute
assert execute(["explain", "net.pb", "--json"]) == 0
print("tensorflow" in sys.modules, file=sys.stderr)
"""
    for host in (False, True):
        write(tmp_path / "net.pb", host=host)
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stderr.splitlines()[-1] == str(host)
