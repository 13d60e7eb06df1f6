"""Which simulated NeuronCores a model runs on.

A process sees the cores of `NEURON_RT_VISIBLE_CORES` (`0-3`, `1,2`) or `NEURON_RT_NUM_CORES`, 4 by
default, numbered from 0. Each core runs one program at a time. A model that is placed on more cores
than it needs is replicated, and its calls go round the replicas.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

AUTOMATIC = -1
DEFAULT_CORES = 4
"""Of an inf1.xlarge, the smallest machine with NeuronCores."""

VISIBLE, NUMBER = "NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES"


def available_cores() -> int:
    """NeuronCores of this process. Raises RuntimeError for a setting that names none."""
    visible, number = os.environ.get(VISIBLE), os.environ.get(NUMBER)
    try:
        if visible:
            return len(_listed(visible))
        cores = int(number) if number else DEFAULT_CORES
    except ValueError as error:
        raise RuntimeError(
            f"the runtime cannot start: {VISIBLE}={visible}, {NUMBER}={number}: {error}"
        ) from error
    if cores < 0:
        raise RuntimeError(f"the runtime cannot start: {NUMBER}={number}")
    return cores or DEFAULT_CORES


def _listed(text: str) -> set[int]:
    """The cores of `0-3,6`."""
    cores: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        span = range(int(first), int(last or first) + 1)
        if not span or len(span) > 1024:
            raise ValueError(f"'{part}' names no cores")
        cores.update(span)
    return cores


@dataclass(frozen=True)
class Placement:
    """`count` cores from `start` on; -1 is the next free one, and as many as needed."""

    start: int = AUTOMATIC
    count: int = AUTOMATIC

    def check(self) -> None:
        """Raises ValueError for cores that the process does not have."""
        cores = available_cores()
        start = max(self.start, 0)
        if self.start < AUTOMATIC or start >= cores:
            raise ValueError(
                f"start_nc is {self.start}, this process has NeuronCores 0-{cores - 1}"
            )
        if self.count < AUTOMATIC or self.count == 0 or start + self.count > cores:
            raise ValueError(
                f"nc_count is {self.count} from NeuronCore {start} on, this process has {cores}"
            )

    def replicas(self, needed: int) -> Replicas:
        """The first cores of the replicas of a model that needs some cores."""
        if self == Placement():
            return Replicas((next(_NEXT) % available_cores(),))
        start = max(self.start, 0)
        if self.count == AUTOMATIC:
            return Replicas((start,))
        if self.count < needed:
            raise ValueError(f"nc_count is {self.count}, the model needs {needed} NeuronCores")
        return Replicas(tuple(start + needed * k for k in range(self.count // needed)))


_NEXT = count()


class Replicas:
    """The first cores of a model's replicas, in turn."""

    def __init__(self, cores: tuple[int, ...]) -> None:
        self.cores = cores
        self._turn = count()

    def next(self) -> int:
        """The core of the next call: the caller's own, if it runs for one."""
        if _CALLER.core is not None:
            return _CALLER.core
        if len(self.cores) == 1:
            return self.cores[0]
        return self.cores[next(self._turn) % len(self.cores)]


@dataclass
class _Caller(threading.local):
    """What the calls of this thread ask for."""

    core: int | None = None
    cut_batches: bool = False


_CALLER = _Caller()


@dataclass
class _Default:
    placement: Placement = field(default_factory=Placement)


_DEFAULT = _Default()


def default_placement() -> Placement:
    """Where models that are first run, or loaded, now go."""
    return _DEFAULT.placement


def cuts_batches() -> bool:
    """Whether calls of this thread may have any batch size."""
    return _CALLER.cut_batches


@contextmanager
def placing(placement: Placement) -> Generator[None]:
    """Place models that are first run inside. For one thread at a time, as in the original."""
    placement.check()
    before, _DEFAULT.placement = _DEFAULT.placement, placement
    try:
        yield
    finally:
        _DEFAULT.placement = before


@contextmanager
def calling(core: int, *, cut_batches: bool) -> Generator[None]:
    """Run the calls of this thread on one core, and let them cut batches if asked to."""
    before = _CALLER.core, _CALLER.cut_batches
    _CALLER.core, _CALLER.cut_batches = core, cut_batches
    try:
        yield
    finally:
        _CALLER.core, _CALLER.cut_batches = before
