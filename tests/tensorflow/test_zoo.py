"""Networks of Keras with calibrated batch norms, compiled, against Keras.

bf16 rounds each product by 2^-8; through as many as a hundred layers the cosine stays above 0.99.
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

import ranvier.tensorflow as tfn

pytestmark = pytest.mark.slow


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


ZOO: dict[str, Callable[[], Any]] = {
    "lstm": lstm,
    "gru": gru,
    "attention": attention,
    **{
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
    },
}


@pytest.mark.parametrize("name", ZOO)
def test_a_compiled_network_is_the_network(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = ZOO[name]()
    x = np.random.default_rng(0).standard_normal((2, *model.input_shape[1:])).astype(np.float32)
    calibrate(model, x)
    wanted = model(x, training=False).numpy()
    spread = np.abs(wanted[0] - wanted[1]).max()
    assert spread > 1e-2 * np.abs(wanted).max()
    model.export(str(tmp_path / "model"), verbose=False)
    counts = tfn.saved_model.compile(tmp_path / "model", tmp_path / "new")
    assert counts["OnNeuronRatio"] > 0.9
    signature = tf.saved_model.load(str(tmp_path / "new")).signatures["serving_default"]
    found = next(iter(signature(tf.constant(x[:1])).values())).numpy()
    assert cosine(found, wanted[:1]) > 0.99


def calibrate(model: Any, x: np.ndarray) -> None:
    """Give batch norms the statistics of an input, and layer scales an effect."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(np.full(layer.gamma.shape, 0.5, np.float32))
    model(x, training=True)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
