"""MXNet models on the machine.

    import ranvier.mxnet

    ranvier.mxnet.enable_subgraph_backend()
    executor = symbol.simple_bind(ctx=mx.cpu(), data=(1, 3, 224, 224), grad_req="null")

Where MXNet is installed, importing this extends it: compiled symbols load and run.
"""

from __future__ import annotations

from ranvier.mxnet.backend import disable_subgraph_backend as disable_subgraph_backend
from ranvier.mxnet.backend import enable_from_environment
from ranvier.mxnet.backend import enable_subgraph_backend as enable_subgraph_backend
from ranvier.mxnet.binding import attach
from ranvier.mxnet.compat import installed

if installed():
    attach()
    enable_from_environment()
