"""ranvier: an open compiler for NeuronCore-style accelerators.

    program = ranvier.compile("model.onnx", shapes={"x": (1, 3, 224, 224)})
    program.save("model.neff")
    outputs = ranvier.load("model.neff").run({"x": image})

ranvier is independent of any vendor. Its NEFF files run on its own interpreter, not on devices.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranvier.program import Program as Program
    from ranvier.program import compile as compile
    from ranvier.program import load as load

__version__ = version("ranvier")

_PUBLIC = {"compile": "ranvier.program", "load": "ranvier.program", "Program": "ranvier.program"}


def __getattr__(name: str) -> Any:
    """The public names, imported on first use: `import ranvier` stays instant."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'ranvier' has no attribute '{name}'")
