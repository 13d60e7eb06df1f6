"""A second thread for the halves of large instructions.

NumPy releases the interpreter lock while it works, so two halves run side by side. There is one
thread for the process: when it is busy with another machine's half, or the process may use one
processor only, a caller runs both of its halves itself.
"""

from __future__ import annotations

import os
import threading
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
        threading.Thread(target=self._work, name="ranvier-helper", daemon=True).start()

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


@cache
def helper() -> Helper | None:
    """The thread of this process; None where there is only one processor for it."""
    return Helper() if len(os.sched_getaffinity(0)) > 1 else None
