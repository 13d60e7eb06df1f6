"""Compile a network of Gluon for a NeuronCore, save it, load it and run it.

With MXNet the result is MXNet's own symbol, and MXNet runs it; the files run without MXNet too.

    python examples/compile_mxnet.py --network resnet18_v1 --cores 4
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np

import ranvier.mxnet as neuron


def export(name: str, prefix: Path) -> None:
    """Write a network with random weights as MXNet writes a model."""
    import mxnet as mx

    network = mx.gluon.model_zoo.vision.get_model(name)
    network.initialize(mx.init.Xavier())
    network.hybridize()
    network(mx.nd.zeros((1, 3, 224, 224)))
    network.export(str(prefix))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18_v1", help="a name of Gluon's model zoo")
    parser.add_argument("--cores", type=int, default=1, help="NeuronCores of the pipeline")
    parser.add_argument("--output-dir", type=Path, default=Path("mxnet-output"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s:%(name)s: %(message)s")

    folder: Path = arguments.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    export(arguments.network, folder / "original")
    sym, args, aux = neuron.load_checkpoint(folder / "original", 0)
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    compiled = neuron.compile(
        *(sym, args, aux),
        inputs={"data": image},
        **{"--neuroncore-pipeline-cores": arguments.cores},
    )
    neuron.save_checkpoint(folder / "compiled", 0, *compiled)

    for name in ("original", "compiled"):
        sym, args, aux = neuron.read_checkpoint(folder / name, 0)
        executor = sym.bind(neuron.neuron(0), {**args, "data": image}, aux_states=aux)
        (scores,) = executor.forward(is_train=False)
        print(f"{name}: {scores.asnumpy()[0, :4]}")


if __name__ == "__main__":
    main()
