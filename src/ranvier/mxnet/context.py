"""Devices, which scripts name when they bind: every one of them is this machine here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Context:
    """A device as MXNet's scripts name it. It changes nothing."""

    device_type: str
    device_id: int = 0

    def __str__(self) -> str:
        return f"{self.device_type}({self.device_id})"


def cpu(device_id: int = 0) -> Context:
    """The host."""
    return Context("cpu", device_id)


def neuron(device_id: int = 0) -> Context:
    """A NeuronCore, or a group of them. Programs run on the reference machine."""
    return Context("neuron", device_id)
