"""`python benchmarks/linear.py`: times that are to grow no faster than the program.

Ten small programs against one that is ten times as large, in turn, as the median of the ratios of
one run: both sides touch as much memory. Beside them the start of `ranvier-opt` against that of
`xdsl-opt`. The tests count calls instead, since times of a shared computer are noisy.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code, Reason
from ranvier.dialects.nn.types import tensor
from ranvier.passes.partition_pipeline import partition_pipeline
from ranvier.passes.segment import segment

ROUNDS = 5
OPS = 50_000
LIMIT, LIMIT_SECONDS = 1.1, 10.0


@dataclass(frozen=True)
class Toy:
    """Runs everything but `nn.erf`."""

    name: str = "toy"
    weight_capacity: int = 1 << 20
    max_cores: int = 16

    def why_unsupported(self, op: Operation) -> Reason | None:
        return Reason(Code.OP_NO_LOWERING, "no unit") if isinstance(op, nn.ErfOp) else None

    def cost(self, op: Operation) -> float:
        return 1.0

    def pipeline(self, cores: int) -> str:
        return ""


def chain(count: int, period: int) -> ModuleOp:
    """Every op reads one of the three before it and the one before; one in a period is lacked."""
    type = tensor((4,), f32)
    main = FuncOp("main", ([type], [type]))
    values: list[SSAValue] = [main.body.block.args[0]] * 3
    for i in range(count):
        lhs, rhs = values[-1 - i % 3], values[-2]
        op = nn.ErfOp(lhs) if i % period == 0 else nn.AddOp(lhs, rhs)
        main.body.block.add_op(op)
        values.append(op.results[0])
    main.body.block.add_op(ReturnOp(values[-1]))
    return ModuleOp([main])


def segmented(count: int) -> ModuleOp:
    module = chain(count, 1000)
    segment(module, Toy())
    return module


def seconds(work: Callable[[ModuleOp], object], modules: list[ModuleOp]) -> float:
    gc.collect()
    gc.disable()
    started = time.process_time()
    for module in modules:
        work(module)
    spent = time.process_time() - started
    gc.enable()
    return spent


def growth(
    table: Table, name: str, build: Callable[[int], ModuleOp], work: Callable[[ModuleOp], object]
) -> bool:
    """Adds a row; whether both limits hold."""
    rounds: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        small = seconds(work, [build(OPS // 10) for _ in range(10)])
        rounds.append((small, seconds(work, [build(OPS)])))
    large = median(large for _, large in rounds)
    ratio = median(large / small for small, large in rounds)
    small = median(small for small, _ in rounds)
    table.add_row(name, f"{small:.2f}", f"{large:.2f}", f"{ratio:.2f}", f"{LIMIT:g}")
    return ratio <= LIMIT and large <= LIMIT_SECONDS


def start(table: Table) -> None:
    """Adds a row: `--help` of ours beside that of xDSL."""
    folder = Path(sys.executable).parent
    rounds: list[list[float]] = []
    for _ in range(5):
        times: list[float] = []
        for tool in ("xdsl-opt", "ranvier-opt"):
            started = time.perf_counter()
            subprocess.run([folder / tool, "--help"], capture_output=True, check=True)
            times.append(time.perf_counter() - started)
        rounds.append(times)
    theirs, ours = (median(times[i] for times in rounds) for i in range(2))
    ratio = median(ours / theirs for theirs, ours in rounds)
    table.add_row("--help: xdsl-opt, ranvier-opt", f"{theirs:.2f}", f"{ours:.2f}", f"{ratio:.2f}")


def main() -> int:
    table = Table("step", "10 x 5,000 ops, s", "50,000 ops, s", "ratio", "limit")
    linear = [
        growth(
            table, "segment, 50 host ops", lambda n: chain(n, 1000), lambda m: segment(m, Toy())
        ),
        growth(
            table,
            "segment, every 2nd on the host",
            lambda n: chain(n, 2),
            lambda m: segment(m, Toy()),
        ),
        growth(
            table,
            "partition, 16 cores",
            segmented,
            lambda m: partition_pipeline(m, Toy(), cores=16),
        ),
    ]
    start(table)
    Console().print(table)
    return int(not all(linear))


if __name__ == "__main__":
    sys.exit(main())
