"""Measure latency and throughput of calls, of one function or of all compiled programs."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.tensorflow import neuron_op

PERCENTILES = (0, 50, 90, 95, 99, 100)


class Measured:
    """A function that notes when each of its calls began and ended; safe in threads.

    Without a function it is a decorator, or a context that notes all runs of `NeuronOp`s.
    """

    def __init__(self, function: Callable[..., Any] | None, window_size: int) -> None:
        if window_size < 1:
            raise CallerError(Code.OPTION_INVALID, f"window_size is at least 1, got {window_size}")
        if function is not None:
            functools.update_wrapper(self, function)
        self._function = function
        self._window = window_size
        self._lock = threading.Lock()
        self._spans: list[tuple[float, float]] = []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self._function is None:
            return Measured(*arguments, window_size=self._window)
        began = time.perf_counter()
        result = self._function(*arguments, **named)
        self.note(began, time.perf_counter())
        return result

    def note(self, began: float, ended: float) -> None:
        """A call, in seconds of one clock."""
        with self._lock:
            self._spans.append((began, ended))

    def __enter__(self) -> Self:
        if self._function is None:
            neuron_op.OBSERVERS.append(self.note)
        return self

    def __exit__(self, *raised: object) -> None:
        if self._function is None:
            neuron_op.OBSERVERS.remove(self.note)

    def statistics(self) -> dict[str, float]:
        """Seconds and calls per second. Throughput counts windows of `window_size` calls."""
        with self._lock:
            spans = sorted(self._spans)
        if not spans:
            return {"count": 0}
        latencies = np.array([end - began for began, end in spans])
        ends = np.sort([end for _, end in spans])
        begins = np.array([began for began, _ in spans])
        calls = np.minimum(self._window, len(spans))
        starts = range(0, len(spans) - calls + 1, calls)
        rates = [calls / (ends[i + calls - 1] - begins[i]) for i in starts]
        named = {f"latency_p{p}": float(np.percentile(latencies, p)) for p in PERCENTILES}
        return {
            "count": len(spans),
            "throughput": len(spans) / float(ends[-1] - begins[0]),
            "throughput_peak": float(max(rates)),
            "latency_average": float(latencies.mean()),
            **named,
        }

    def report(self, verbosity: int = 0) -> str:
        """The statistics as JSON; with verbosity all latencies as well."""
        found: dict[str, Any] = self.statistics()
        if verbosity:
            found["latencies"] = [end - began for began, end in self._spans]
        return json.dumps(found)


def measure(func: Callable[..., Any] | None = None, window_size: int = 1) -> Measured:
    """Wrap a function so that `.report()` tells p50, p99 and throughput; also a decorator.

    In a `with` statement without a function, all runs of compiled programs count.
    """
    return Measured(func, window_size)


measure_performance = measure
