"""Loops of TensorFlow 2: unrolled for the machine with their lists, or left as they are.

Without casts only the order of f32 sums and the machine's polynomials differ: 1e-5 of the largest
value.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from small_models import weights

import ranvier.tensorflow as tfn

RNG = np.random.default_rng(7)
EXACT = ["--fast-math", "none"]
LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "last step": (lambda: layers.LSTM(6), (5, 4)),
    "all steps": (lambda: layers.GRU(6, return_sequences=True), (5, 4)),
    "both ways": (lambda: layers.Bidirectional(layers.LSTM(3)), (5, 4)),
    "images": (lambda: layers.ConvLSTM2D(2, 3, padding="same"), (3, 5, 5, 2)),
}


def check(folder: Path, x: np.ndarray, **options: Any) -> set[str]:
    """Compile, compare with the original, and return the types of the new graph's nodes."""
    tfn.saved_model.compile(
        folder, folder / "new", batch_size=len(x), compiler_args=EXACT, **options
    )
    found, wanted = (
        tf.saved_model.load(str(path)).signatures["serving_default"](tf.constant(x))
        for path in (folder / "new", folder)
    )
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert np.abs(found[name] - value).max() <= 1e-5 * np.abs(value).max()
    loaded = tf.saved_model.load(str(folder / "new")).signatures["serving_default"]
    return {op.type for op in loaded.graph.get_operations()}


@pytest.mark.parametrize("name", LAYERS)
def test_a_recurrent_layer_that_ends_a_model(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    build, shape = LAYERS[name]
    steps = keras.Input(shape)
    keras.Model(steps, build()(steps)).export(str(tmp_path), verbose=False)
    ops = check(tmp_path, RNG.standard_normal((2, *shape)).astype(np.float32))
    assert "NeuronOp" in ops
    assert not {op for op in ops if "While" in op or "TensorList" in op}


class Loop(tf.Module):
    """A product with a variable until the values are large, and one more outside the loop."""

    def __init__(self) -> None:
        self.matrix = tf.Variable(weights(4, 4) + 2 * np.eye(4, dtype=np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def __call__(self, x: Any) -> Any:
        kept = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[None, 4])
        count = tf.constant(0)
        while tf.reduce_max(tf.abs(x)) < 50.0:
            x = tf.matmul(x, self.matrix)
            kept = kept.write(count, x)
            count += 1
        return {"x": tf.nn.relu(tf.matmul(x, self.matrix)) + 1.0, "steps": kept.stack()}


def test_a_loop_of_unknown_length_stays_with_its_variables_and_lists(tmp_path: Path) -> None:
    loop = Loop()
    tf.saved_model.save(loop, str(tmp_path), signatures=loop.__call__)
    ops = check(tmp_path, RNG.standard_normal((3, 4)).astype(np.float32))
    assert {"NeuronOp", "StatelessWhile"} <= ops or {"NeuronOp", "While"} <= ops


@pytest.mark.parametrize("kept", ["while", "TensorArrayV2Stack/TensorListStack"])
def test_what_shares_a_list_is_placed_alike(kept: str, tmp_path: Path) -> None:
    steps = keras.Input((5, 4))
    keras.Model(steps, layers.GRU(6)(steps)).export(str(tmp_path), verbose=False)
    named: list[str] = []
    x = RNG.standard_normal((2, 5, 4)).astype(np.float32)
    tfn.saved_model.compile(tmp_path, tmp_path / "first", batch_size=2, compiler_workdir=tmp_path)
    for path in tmp_path.rglob("graph_def.pb"):
        graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
        named += [node.name for node in graph.node if node.name.endswith(kept)]
    assert named
    ops = check(tmp_path, x, no_fuse_ops=named)
    assert {op for op in ops if "While" in op}
