"""TensorFlow models on the machine: the interface of `tensorflow.neuron`.

    import ranvier.tensorflow as tfn

    tfn.saved_model.compile("resnet50", "resnet50_neuron", batch_size=1)

Importing this registers the op `NeuronOp`, so that compiled models load.
"""

from __future__ import annotations

from ranvier.tensorflow import saved_model as saved_model
from ranvier.tensorflow.neuron_op import register

register()
