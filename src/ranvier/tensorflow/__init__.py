"""TensorFlow models on the machine: the interface of `tensorflow.neuron`.

    import ranvier.tensorflow as tfn

    tfn.saved_model.compile("resnet50", "resnet50_neuron", batch_size=1)
    model = tfn.trace(keras_model, example)

Importing this registers the op `NeuronOp`, so that compiled models load.
"""

from __future__ import annotations

from ranvier.tensorflow import graph_util as graph_util
from ranvier.tensorflow import performance as performance
from ranvier.tensorflow import predictor as predictor
from ranvier.tensorflow import saved_model as saved_model
from ranvier.tensorflow.analysis import analyze_model as analyze_model
from ranvier.tensorflow.fuse import fuse as fuse
from ranvier.tensorflow.model import AwsNeuronModel as AwsNeuronModel
from ranvier.tensorflow.model import trace as trace
from ranvier.tensorflow.neuron_op import register
from ranvier.tensorflow.performance import measure_performance as measure_performance

register()
