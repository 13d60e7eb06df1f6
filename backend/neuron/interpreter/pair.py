"""A second thread for the halves of large instructions.

NumPy releases the interpreter lock while it works, so two halves run side by side. There is one
thread for the process: when it is busy with another machine's half, or the process may use one
processor only, a caller runs both of its halves itself.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from queue import SimpleQueue

import numpy as np

from ranvier.backend.neuron.interpreter.core import Issue


class Helper:
    """A thread that runs one half at a time."""

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._halves: SimpleQueue[Issue] = SimpleQueue()
        self._results: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="ranvier-helper", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        with np.errstate(all="ignore"):
            while True:
                half = self._halves.get()
                try:
                    half()
                except BaseException as error:  # handed to the thread that waits for this half
                    self._results.put(error)
                else:
                    self._results.put(None)

    @contextmanager
    def apart(self) -> Generator[None]:
        """Keep the caller on its processor and the helper on the others, where Linux can.

        A scheduler that packs threads, or wakes one where its waker runs, would put both halves on
        one processor.
        """
        allowed, here = _placement()
        if not (others := allowed - {here}):
            yield
            return
        os.sched_setaffinity(self._thread.native_id or 0, others)
        os.sched_setaffinity(0, {here})
        try:
            yield
        finally:
            os.sched_setaffinity(0, allowed)

    def run(self, first: Issue, second: Issue) -> None:
        """Both, side by side where possible. Raises what either raises."""
        if not self._free.acquire(blocking=False):
            first()
            second()
            return
        try:
            self._halves.put(second)
            try:
                first()
            finally:
                error = self._results.get()
        finally:
            self._free.release()
        if error is not None:
            raise error


def processors() -> int:
    """How many this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _placement() -> tuple[set[int], int]:
    """The processors that the caller may use, and the one that it runs on; none if not on Linux."""
    if sys.platform != "linux":
        return set(), 0
    return os.sched_getaffinity(0), ctypes.CDLL(None).sched_getcpu()


@cache
def helper() -> Helper | None:
    """The thread of this process; None where there is only one processor for it."""
    return Helper() if processors() > 1 else None
