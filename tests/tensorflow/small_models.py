"""SavedModels small enough to compile in a second, of both generations of TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
RNG = np.random.default_rng(1)


def weights(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def write_tf1(folder: Path, *, host_op: bool = False, signatures: int = 1) -> dict[str, Any]:
    """A perceptron with variables in TF1's form; `host_op` puts an op between that nn lacks.

    A second signature doubles the hidden layer, which it shares with the first.
    """
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 12], "input")
        w = v1.get_variable("layer/w", initializer=weights(12, 16), use_resource=False)
        b = v1.get_variable("layer/b", initializer=weights(16), use_resource=True)
        hidden = tf.nn.relu(tf.matmul(x, w) + b, name="hidden")
        if host_op:
            hidden = tf.linalg.inv(tf.linalg.matrix_transpose(tf.eye(16) * 3.0)) @ tf.transpose(
                tf.sort(hidden, axis=0)
            )
            hidden = tf.transpose(tf.math.bessel_i0e(hidden))
        v = v1.get_variable("head/w", initializer=weights(16, 5))
        y = tf.nn.softmax(tf.matmul(hidden, v), name="probabilities")
        twice = tf.multiply(hidden, 2.0, name="twice")
        session.run(v1.global_variables_initializer())
        predict = v1.saved_model.signature_def_utils.predict_signature_def
        named = {"serving_default": predict({"x": x}, {"y": y})}
        if signatures > 1:
            named["hidden"] = predict({"x": x}, {"h": hidden, "twice": twice})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], named)
        builder.save()
        array = RNG.standard_normal((4, 12)).astype(np.float32)
        wanted = session.run({"y": y, "h": hidden, "twice": twice}, {x: array})
        return {"x": array, **wanted}


def write_keras(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """A convolution net with a batch norm whose statistics are calibrated."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization(momentum=0.0)(x)
    x = layers.MaxPooling2D()(layers.ReLU()(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    scores = layers.Dense(5)(layers.Flatten()(x))
    model = keras.Model(image, scores)
    array = RNG.standard_normal((4, 12, 12, 3)).astype(np.float32)
    model(array, training=True)
    model.export(str(folder), verbose=False)
    return array, model(array, training=False).numpy()


def write_loop(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """A recurrence in TF1's loops, with its steps in a TensorArray."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.disable_control_flow_v2()
        x = v1.placeholder(tf.float32, [None, 6, 4], "steps")
        w = tf.constant(weights(8, 4))
        rows = tf.TensorArray(tf.float32, 6).unstack(tf.transpose(x, [1, 0, 2]))
        out = tf.TensorArray(tf.float32, 6)

        def step(i: Any, state: Any, kept: Any) -> Any:
            state = tf.tanh(tf.matmul(tf.concat([rows.read(i), state], 1), w))
            return i + 1, state, kept.write(i, state)

        _, _, kept = tf.while_loop(
            lambda i, *_: i < 6, step, (0, tf.zeros_like(x[:, 0]), out), parallel_iterations=1
        )
        y = tf.transpose(kept.stack(), [1, 0, 2], name="states")
        v1.enable_control_flow_v2()
        v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})
        array = RNG.standard_normal((2, 6, 4)).astype(np.float32)
        return array, session.run(y, {x: array})
