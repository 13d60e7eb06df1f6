"""`python benchmarks/torch_overhead.py`: what a call of `neff::execute` costs without computation.

The machine is replaced by a function that returns an array, so that what is left is the bridge: the
dispatcher, TorchScript, checks of the inputs, tensors as arrays and back. Beside it an eager op.
Times are those of this thread on the processor, the least of rounds in turn: a shared computer adds
to them, and never takes away.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

import ranvier.torch
from ranvier.torch.runtime import loaded_of

CALLS, ROUNDS = 2000, 15
LIMIT_US = 15.0


def microseconds(call: Callable[[], object]) -> float:
    started = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - started) / CALLS * 1e6


def main() -> int:
    warnings.simplefilter("ignore")
    x, y = torch.rand(3), torch.rand(3)
    traced = ranvier.torch.trace(lambda x, y: 2 * x + y, (x, y))
    traced(x, y)
    (loaded,) = loaded_of(traced)
    result = np.zeros(3, np.float32)
    for _, machine in loaded._machines.values():
        machine.execute = lambda inputs: [result]
    calls: dict[str, Callable[[], object]] = {
        "eager x + y": lambda: x + y,
        "eager 2 * x + y": lambda: 2 * x + y,
        "neff::execute": lambda: torch.ops.neff.execute([x, y], traced.neff_0),
        "traced module": lambda: traced(x, y),
    }
    with torch.no_grad():
        rounds = [{name: microseconds(call) for name, call in calls.items()} for _ in range(ROUNDS)]
    times = {name: min(each[name] for each in rounds) for name in calls}
    for name, value in times.items():
        print(f"{name:16} {value:6.2f} us")
    overhead = times["traced module"] - times["eager x + y"]
    print(f"a traced module costs {overhead:.1f} us more than an eager op; limit {LIMIT_US:g} us")
    return int(overhead > LIMIT_US)


if __name__ == "__main__":
    sys.exit(main())
