"""On which NeuronCores models run: `torch_neuron.experimental`.

-1 stands for the next free core, and for as many cores as a model needs. On more cores a model has
replicas, which take calls in turn. The contexts are not for several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.torch.cores import AUTOMATIC, Placement, available_cores, default_placement, placing
from ranvier.torch.runtime import loaded_of


def set_neuron_cores(
    trace: torch.nn.Module, start_nc: int = AUTOMATIC, nc_count: int = AUTOMATIC
) -> None:
    """Run a traced model on other cores from now on.

    Raises ValueError for cores that the process does not have or that are too few, RuntimeError if
    the runtime cannot start.
    """
    placement = Placement(start_nc, nc_count)
    placement.check()
    place(trace, placement)


def set_multicore(trace: torch.nn.Module) -> None:
    """Replicate a traced model on all cores."""
    set_neuron_cores(trace, 0, available_cores())


@contextmanager
def neuron_cores_context(start_nc: int = AUTOMATIC, nc_count: int = AUTOMATIC) -> Generator[None]:
    """Models that are loaded with `torch.jit.load` or first run inside go to these cores."""
    load: Callable[..., Any] = torch.jit.load

    def load_placed(*args: Any, **kwargs: Any) -> Any:
        module = load(*args, **kwargs)
        for loaded in loaded_of(module):
            loaded.place(default_placement())
        return module

    with placing(Placement(start_nc, nc_count)), patch.object(torch.jit, "load", load_placed):
        yield


@contextmanager
def multicore_context() -> Generator[None]:
    """Models that are loaded inside are replicated on all cores."""
    with neuron_cores_context(0, available_cores()):
        yield


def place(trace: torch.nn.Module, placement: Placement) -> None:
    programs = loaded_of(trace)
    if not programs:
        raise CallerError(Code.INPUT_TYPE, "the model has no program for NeuronCores")
    for program in programs:
        program.place(placement)
