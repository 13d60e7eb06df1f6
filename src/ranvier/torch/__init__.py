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
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from ranvier.torch import op as op

if TYPE_CHECKING:
    from ranvier.torch import experimental as experimental
    from ranvier.torch.analysis import analyze_model as analyze_model
    from ranvier.torch.analysis import explain as explain
    from ranvier.torch.analysis import get_supported_operations as get_supported_operations
    from ranvier.torch.data_parallel import DataParallel as DataParallel
    from ranvier.torch.dynamo import backend as backend
    from ranvier.torch.options import Optimization as Optimization
    from ranvier.torch.tracing import export as export
    from ranvier.torch.tracing import trace as trace

_PUBLIC = {
    "trace": "tracing",
    "export": "tracing",
    "Optimization": "options",
    "analyze_model": "analysis",
    "explain": "analysis",
    "get_supported_operations": "analysis",
    "DataParallel": "data_parallel",
    "backend": "dynamo",
}
"""Where the public names are; what traces and exports is loaded when it is first used."""


def is_available() -> bool:
    """Whether compiled models run here: the machine is simulated, so everywhere."""
    return True


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"ranvier.torch.{_PUBLIC[name]}"), name)
    if name == "experimental":
        return import_module("ranvier.torch.experimental")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def install_as_torch_neuron() -> None:
    """Be `torch.neuron` too, unless something else owns that name."""
    if hasattr(torch, "neuron") or find_spec("torch.neuron") or find_spec("torch_neuron"):
        return
    sys.modules["torch.neuron"] = sys.modules[__name__]
    setattr(torch, "neuron", sys.modules[__name__])


install_as_torch_neuron()
