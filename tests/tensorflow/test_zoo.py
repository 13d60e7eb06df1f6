"""Networks of Keras with calibrated batch norms, compiled, in a fresh process, against Keras.

Without casts a program gives what Keras gives but for the order of f32 sums. With bf16 operands the
error is that of bf16 itself: Keras makes it as well under its policy mixed_bfloat16. Both round in
other places, so one may be twice the other.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import ranvier.tensorflow as tfn


def lstm() -> Any:
    steps = keras.Input((12, 20))
    x = layers.LSTM(32, return_sequences=True)(steps)
    return keras.Model(steps, layers.Dense(10)(layers.LSTM(24)(x)))


def gru() -> Any:
    steps = keras.Input((10, 16))
    x = layers.GRU(24, return_sequences=True)(steps)
    return keras.Model(steps, layers.Dense(10)(layers.Bidirectional(layers.GRU(16))(x)))


def attention() -> Any:
    tokens = keras.Input((24, 64))
    x = layers.LayerNormalization()(tokens)
    x = layers.MultiHeadAttention(4, 16)(x, x) + tokens
    y = layers.Dense(128, activation="gelu")(layers.LayerNormalization()(x))
    x = layers.Dense(64)(y) + x
    return keras.Model(tokens, layers.Dense(7)(layers.GlobalAveragePooling1D()(x)))


def application(name: str, size: int) -> Callable[[], Any]:
    build = getattr(keras.applications, name)
    return lambda: build(weights=None, input_shape=(size, size, 3), classifier_activation=None)


RECURRENT_AND_ATTENTION: dict[str, Callable[[], Any]] = {
    "attention": attention,
    "lstm": lstm,
    "gru": gru,
}
APPLICATIONS = {
    name: application(name, 299 if name == "InceptionV3" else 224)
    for name in (
        "MobileNetV2",
        "ResNet50",
        "EfficientNetB0",
        "DenseNet121",
        "InceptionV3",
        "ConvNeXtTiny",
        "VGG16",
    )
}
ZOO = RECURRENT_AND_ATTENTION | APPLICATIONS
SLOW = ("lstm", "gru", *APPLICATIONS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ZOO]
)
def test_a_compiled_network_is_the_network(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = ZOO[name]()
    x = operands(model)
    calibrate(model, x)
    wanted = model(x, training=False).numpy()
    spread = np.abs(wanted[0] - wanted[1]).max()
    assert spread > 1e-1 * np.abs(wanted).max()
    model.export(str(tmp_path / "model"), verbose=False)
    for kind, arguments in (("exact", ["--fast-math", "none"]), ("bf16", None)):
        compile_model = tfn.saved_model.compile
        compile_model(tmp_path / "model", tmp_path / kind, compiler_args=arguments)
        assert part_on_machine(tmp_path / kind) >= 0.98
    np.save(tmp_path / "x.npy", x[:1])
    subprocess.run([sys.executable, "-c", FRESH, tmp_path], check=True, capture_output=True)
    exact, narrow = (np.load(tmp_path / f"{kind}.npy") for kind in ("exact", "bf16"))
    assert distance(exact, wanted[:1]) < 1e-4
    limit = 2 * distance(in_bf16(name, model, x[:1]), wanted[:1])
    assert distance(narrow, wanted[:1]) < max(limit, 1e-2)


FRESH = """
import sys, numpy as np, tensorflow as tf, ranvier.tensorflow
for kind in ("exact", "bf16"):
    function = tf.saved_model.load(f"{sys.argv[1]}/{kind}").signatures["serving_default"]
    y = function(tf.constant(np.load(f"{sys.argv[1]}/x.npy")))
    np.save(f"{sys.argv[1]}/{kind}.npy", next(iter(y.values())).numpy())
"""


def operands(model: Any) -> np.ndarray:
    """Steps, or smooth images: after many layers noise differs by less than it is rounded."""
    shape, rng = model.input_shape[1:], np.random.default_rng(0)
    if len(shape) < 3:
        return rng.standard_normal((4, *shape)).astype(np.float32)
    coarse = rng.uniform(0, 255, (4, 9, 9, 3)).astype(np.float32)
    return tf.image.resize(coarse, shape[:2]).numpy()


def calibrate(model: Any, x: np.ndarray) -> None:
    """Give batch norms the statistics of an input, and layer scales an effect."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(np.full(layer.gamma.shape, 0.5, np.float32))
    model(x, training=True)


def in_bf16(name: str, model: Any, x: np.ndarray) -> np.ndarray:
    """What Keras computes with bf16 operands."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        narrow = ZOO[name]()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    narrow.set_weights(model.get_weights())
    return tf.cast(narrow(x, training=False), tf.float32).numpy()


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


NO_ARITHMETIC = {"Placeholder", "Const", "Identity", "IdentityN", "NoOp", "NeuronOp"}


def part_on_machine(folder: Path) -> float:
    """Of the ops that the signature runs, counted in the file that was written."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    meta = model.meta_graphs[0]
    ends = meta.signature_def["serving_default"].outputs.values()
    names = [info.name.partition(":")[0] for info in ends]
    graph = tf.compat.v1.graph_util.extract_sub_graph(meta.graph_def, names)
    host = [node.name for node in graph.node if node.op not in NO_ARITHMETIC]
    inside = 0
    for node in graph.node:
        if node.op == "NeuronOp":
            subgraph = tf.compat.v1.GraphDef.FromString(node.attr["graph_def"].s)
            inside += sum(inner.op not in NO_ARITHMETIC for inner in subgraph.node)
    return inside / (inside + len(host))
