"""Measure latency and throughput of calls."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

PERCENTILES = (0, 50, 90, 95, 99, 100)


class Measured:
    """A function that notes when each of its calls began and ended; safe in threads."""

    def __init__(self, function: Callable[..., Any], window_size: int) -> None:
        if window_size < 1:
            raise ValueError(f"window_size is at least 1, got {window_size}")
        functools.update_wrapper(self, function)
        self._function = function
        self._window = window_size
        self._lock = threading.Lock()
        self._spans: list[tuple[float, float]] = []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = self._function(*arguments, **named)
        with self._lock:
            self._spans.append((began, time.perf_counter()))
        return result

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


def measure(func: Callable[..., Any] | None = None, window_size: int = 1) -> Any:
    """Wrap a function so that `.report()` tells p50, p99 and throughput; also a decorator."""
    if func is None:
        return functools.partial(Measured, window_size=window_size)
    return Measured(func, window_size)


measure_performance = measure
