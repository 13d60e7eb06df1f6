"""ranvier for PyTorch: what `torch_neuron` and `torch.neuron` did.

    import ranvier.torch

    traced = torch.neuron.trace(model, example_inputs)
    traced.save("model.pt")
    torch.jit.load("model.pt")(x)      # in any process that has imported ranvier.torch

Importing this registers the operator `neff::execute`, which compiled models call, and this module
as `torch.neuron` unless something else has that name.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from ranvier.torch import op as op

if TYPE_CHECKING:
    from ranvier.torch.options import Optimization as Optimization
    from ranvier.torch.tracing import trace as trace

_PUBLIC = {
    "trace": "ranvier.torch.tracing",
    "Optimization": "ranvier.torch.options",
}
"""Where the public names are; what traces and exports is loaded when it is first used."""


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'ranvier.torch' has no attribute '{name}'")


if not hasattr(torch, "neuron") and "torch.neuron" not in sys.modules:
    sys.modules["torch.neuron"] = sys.modules[__name__]
    setattr(torch, "neuron", sys.modules[__name__])
