"""Compile a SavedModel of TensorFlow for a NeuronCore, and run it beside TensorFlow.

The one change to a script for tensorflow-neuron is its import. The compiled model is a SavedModel:
whatever loads it imports `ranvier.tensorflow` first.

    python examples/compile_tensorflow.py --output-dir compiled
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import ranvier.tensorflow as tfn


def network() -> Any:
    """A small image classifier."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", activation="silu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile a SavedModel.")
    parser.add_argument("--output-dir", type=Path, default=Path("compiled"), metavar="DIR")
    folder: Path = parser.parse_args().output_dir
    keras.utils.set_random_seed(0)
    model = network()
    model.export(str(folder / "model"), verbose=False)

    tf.get_logger().setLevel("INFO")  # the counts of operators
    counts = tfn.saved_model.compile(
        folder / "model", folder / "model_neuron", batch_size=4, dynamic_batch_size=True
    )
    print(f"on the machine: {counts['OnNeuronRatio']:.1%} of the operators")

    compiled = tf.saved_model.load(str(folder / "model_neuron")).signatures["serving_default"]
    images = np.random.default_rng(0).random((7, 32, 32, 3), np.float32)
    (scores,) = compiled(image=tf.constant(images)).values()
    difference = np.abs(scores - model(images)).max()
    print(f"a batch of 7 differs from fp32 by {difference:.4f} at most")


if __name__ == "__main__":
    main()
