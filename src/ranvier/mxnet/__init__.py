"""MXNet models on the machine, with MXNet and without it.

    import ranvier.mxnet as neuron

    sym, args, aux = neuron.load_checkpoint("resnet-50", 0)
    sym, args, aux = neuron.compile(sym, args, aux, inputs={"data": image})
    neuron.save_checkpoint("compiled", 0, sym, args, aux)

`sym` and `nd` are symbols and arrays of ranvier's own, which need no MXNet. Where it is installed,
`mx.contrib.neuron` is this module, `mx.neuron(i)` a context, and `compile` gives what it is given.
Compiled symbols load and run in it, and `enable_subgraph_backend()` compiles what it binds.
"""

from __future__ import annotations

from ranvier.mxnet import ndarray as nd
from ranvier.mxnet import symbol as sym
from ranvier.mxnet.backend import (
    disable_subgraph_backend,
    enable_from_environment,
    enable_subgraph_backend,
)
from ranvier.mxnet.binding import attach
from ranvier.mxnet.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from ranvier.mxnet.compat import installed
from ranvier.mxnet.compiling import compile
from ranvier.mxnet.context import Context, cpu, neuron
from ranvier.mxnet.contrib import add_contrib
from ranvier.mxnet.executor import Executor
from ranvier.mxnet.ndarray import NDArray
from ranvier.mxnet.symbol import Symbol

__all__ = [
    "Context",
    "Executor",
    "NDArray",
    "Symbol",
    "compile",
    "cpu",
    "disable_subgraph_backend",
    "enable_subgraph_backend",
    "load_checkpoint",
    "nd",
    "neuron",
    "read_checkpoint",
    "save_checkpoint",
    "sym",
]

if installed() and add_contrib():
    attach()
    enable_from_environment()
