"""Run the instruction streams of each core in a random order that only the waits restrict.

Program order is what a program means; the hardware runs streams side by side. If every wait that is
needed is there, any order gives the same bytes: a difference is a synchronisation bug, and an order
that cannot go on is a deadlock.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ranvier.backend.neuron import limits
from ranvier.backend.neuron.interpreter.core import CoreState, Issue
from ranvier.backend.neuron.interpreter.faults import MachineFault
from ranvier.backend.neuron.interpreter.machine import (
    Budget,
    Machine,
    WeightSource,
    bind,
    work_of,
)
from ranvier.backend.neuron.program import CoreProgram, Instruction, Program, issues
from ranvier.dialects.interfaces import Array

MAX_BURST = 8
"""Issues that one stream makes in a row before another one is drawn."""


class _Streams:
    """What each stream of a core has still to issue, and how far each has come."""

    def __init__(self, core: CoreProgram) -> None:
        self.pending: dict[str, list[tuple[Instruction, tuple[int, ...]]]] = {}
        for instruction, turns in issues(core.body):
            self.pending.setdefault(instruction.stream, []).append((instruction, turns))
        self.done = dict.fromkeys(self.pending, 0)

    def next(self, stream: str) -> tuple[Instruction, tuple[int, ...]] | None:
        """The next issue of a stream if it waits for nothing; None if it does, or has none."""
        queue, position = self.pending[stream], self.done[stream]
        if position == len(queue):
            return None
        instruction, turns = queue[position]
        for wait in instruction.waits:
            if self.done.get(wait.stream, 0) < wait.count_at(turns):
                return None
        return instruction, turns

    def blocked(self) -> list[str]:
        """What the streams that are not finished wait for."""
        texts: list[str] = []
        for stream, queue in self.pending.items():
            if (position := self.done[stream]) < len(queue):
                instruction, turns = queue[position]
                waits = ", ".join(
                    f"{wait.stream} >= {wait.count_at(turns)}" for wait in instruction.waits
                )
                texts.append(f"{stream} at {instruction.op.name} {position} for {waits}")
        return texts


def execute_interleaved(
    program: Program,
    machine: limits.Machine,
    inputs: Sequence[Array],
    weights: WeightSource,
    *,
    seed: int,
    budget: Budget | None = None,
) -> list[Array]:
    """Outputs as of `Machine.run`, in a random legal order of the streams of each core.

    Raises MachineFault for a deadlock, and for what `Machine.run` raises it.
    """
    runner = Machine(program, machine, budget=budget)
    generator = random.Random(seed)

    def run_core(index: int, state: CoreState) -> None:
        streams = _Streams(program.cores[index])
        bound: dict[int, Issue] = {}
        names = sorted(streams.pending)
        while any(streams.done[name] < len(streams.pending[name]) for name in names):
            ready = [name for name in names if streams.next(name) is not None]
            if not ready:
                raise MachineFault(f"core {index}: deadlock: {'; '.join(streams.blocked())}")
            stream = generator.choice(ready)
            for _ in range(generator.randint(1, MAX_BURST)):
                if (found := streams.next(stream)) is None:
                    break
                _issue(runner, state, bound, *found)
                streams.done[stream] += 1

    return runner.run_cores(inputs, weights, run_core)


def _issue(
    runner: Machine,
    state: CoreState,
    bound: dict[int, Issue],
    instruction: Instruction,
    turns: tuple[int, ...],
) -> None:
    if (issue := bound.get(id(instruction))) is None:
        issue = bound[id(instruction)] = bind(state, instruction)
    state.turns[:] = [*turns, *[0] * (len(state.turns) - len(turns))]
    runner.meter.add(work_of(instruction))
    issue()
