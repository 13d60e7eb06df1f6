"""When every issue would run: streams, semaphores, shared DMA engines, memory ports.

Events happen in order of time. A stream issues its instructions in order; an issue starts when its
waits are met and its engine, its port and, for a transfer, DMA engines are free. Loops are expanded
lazily. The result is a documented-cost estimate, not a measurement of a device.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ranvier.backend.neuron.cost import (
    ACCESS_CYCLES,
    DMA_LATENCY,
    DmaCost,
    clock_of,
    cycles,
    dma_cost,
)
from ranvier.backend.neuron.interpreter.faults import MachineFault
from ranvier.backend.neuron.limits import Machine
from ranvier.backend.neuron.program import (
    CoreProgram,
    Instruction,
    Loop,
    Program,
    Record,
)
from ranvier.dialects import nc
from ranvier.dialects.nc import Wait
from ranvier.dialects.nc.types import PSUM_BANK_BYTES, Space

MICROSECOND = 1e6

Observer: TypeAlias = Callable[[int, str, Instruction, float, float], None]
"""Core, stream, instruction, start and end in seconds of the core's own time."""


@dataclass
class EngineUse:
    busy_us: float = 0.0
    instructions: int = 0


@dataclass
class DmaUse:
    bytes: int = 0
    busy_us: float = 0.0
    """Mean over the DMA engines."""


@dataclass
class CoreTimeline:
    """One core, from its first issue to its last."""

    makespan_us: float = 0.0
    engines: dict[str, EngineUse] = field(default_factory=dict[str, EngineUse])
    dma: DmaUse = field(default_factory=DmaUse)
    macs: int = 0


@dataclass
class Timeline:
    """A program: its cores follow each other for one inference, and overlap for many."""

    cores: list[CoreTimeline]
    assumed: frozenset[str]
    """Machine parameters that are guesses; not empty for `inf1`."""

    @property
    def makespan_us(self) -> float:
        """Latency of one inference: the sum over the cores."""
        return sum(core.makespan_us for core in self.cores)

    @property
    def interval_us(self) -> float:
        """Time between two inferences of a full pipeline: the slowest core."""
        return max(core.makespan_us for core in self.cores)

    @property
    def macs(self) -> int:
        return sum(core.macs for core in self.cores)

    @property
    def engines(self) -> dict[str, EngineUse]:
        """Sums over the cores."""
        total: dict[str, EngineUse] = {}
        for core in self.cores:
            for name, use in core.engines.items():
                entry = total.setdefault(name, EngineUse())
                entry.busy_us += use.busy_us
                entry.instructions += use.instructions
        return total

    @property
    def dma(self) -> DmaUse:
        return DmaUse(
            sum(core.dma.bytes for core in self.cores),
            sum(core.dma.busy_us for core in self.cores),
        )


def simulate(
    program: Program,
    machine: Machine,
    *,
    hazards: bool = True,
    observe: Observer | None = None,
) -> Timeline:
    """The timeline of a verified program. Without `hazards` memory ports are never contended.

    Raises MachineFault if the streams wait for each other for ever.
    """
    cores: list[CoreTimeline] = []
    for index, core in enumerate(program.cores):
        simulation = _CoreSimulation(index, core, machine, hazards, observe)
        cores.append(simulation.run())
    return Timeline(cores, machine.assumed)


@dataclass(slots=True)
class _Cost:
    """What is the same for all issues of an instruction."""

    instruction: Instruction
    seconds: float
    visible: float
    """Seconds from the end of an issue until other streams see it."""
    port: str | None
    dma: DmaCost | None
    macs: int


_Turns: TypeAlias = tuple[int, ...]


class _Stream:
    """One engine or queue: its issues in order, and how many it has completed."""

    def __init__(self, name: str, pending: Iterator[tuple[_Cost, _Turns]]) -> None:
        self.name = name
        self.pending = pending
        self.next = next(pending, None)
        self.done = 0
        self.free = 0.0
        self.ended = 0.0
        self.waiters: list[tuple[int, _Stream]] = []


class _CoreSimulation:
    def __init__(
        self,
        index: int,
        core: CoreProgram,
        machine: Machine,
        hazards: bool,
        observe: Observer | None,
    ) -> None:
        self.index = index
        self.machine = machine
        self.hazards = hazards
        self.observe = observe
        self.timeline = CoreTimeline()
        names = dict.fromkeys(instruction.stream for instruction, _ in core.instructions())
        costs = {id(i): self._cost(i) for i, _ in core.instructions()}
        self.streams = {name: _Stream(name, _issues_of(core.body, name, costs)) for name in names}
        self.events: list[tuple[float, int, bool, _Stream]] = []
        """(time, order, whether an issue ends, stream)."""
        self.order = 0
        self.ports: dict[str, float] = {}
        self.dma_free = [0.0] * machine.dma_engines

    def run(self) -> CoreTimeline:
        for stream in self.streams.values():
            self._try(stream, 0.0)
        end = 0.0
        while self.events:
            time, _, ends, stream = heapq.heappop(self.events)
            if ends:
                end = max(end, time)
                self._complete(stream, time)
            else:
                self._start(stream, time)
        if stuck := [stream for stream in self.streams.values() if stream.next is not None]:
            raise MachineFault(f"core {self.index}: deadlock: {'; '.join(map(_blocked, stuck))}")
        self.timeline.makespan_us = end * MICROSECOND
        return self.timeline

    def _push(self, time: float, ends: bool, stream: _Stream) -> None:
        self.order += 1
        heapq.heappush(self.events, (time, self.order, ends, stream))

    def _try(self, stream: _Stream, time: float) -> None:
        """Start the next issue as soon as its stream is free, or sleep on its first open wait."""
        if stream.next is None:
            return
        cost, turns = stream.next
        for wait in cost.instruction.waits:
            count = wait.count_at(turns)
            producer = self.streams.get(wait.stream)
            if count > 0 and (producer is None or producer.done < count):
                if producer is not None:
                    producer.waiters.append((count, stream))
                return
        self._push(max(time, stream.free), False, stream)

    def _start(self, stream: _Stream, time: float) -> None:
        assert stream.next is not None
        cost, _ = stream.next
        stream.next = next(stream.pending, None)
        if cost.dma is not None:
            start, end = time, self._transfer(cost.dma, stream, time)
        else:
            start = max(time, self.ports.get(cost.port, 0.0)) if cost.port else time
            end = start + cost.seconds
            stream.free = end
            if cost.port:
                self.ports[cost.port] = end
        use = self.timeline.engines.setdefault(cost.instruction.engine, EngineUse())
        use.busy_us += (end - start) * MICROSECOND
        use.instructions += 1
        self.timeline.macs += cost.macs
        if self.observe is not None:
            self.observe(self.index, stream.name, cost.instruction, start, end)
        self._push(end + cost.visible, True, stream)
        self._try(stream, time if cost.dma is not None else end)

    def _transfer(self, cost: DmaCost, stream: _Stream, time: float) -> float:
        """The end of a transfer: its descriptors go to the DMA engines that are free first.

        A queue may prepare its next transfer meanwhile, but transfers end in its order.
        """
        engines = min(len(self.dma_free), cost.descriptors)
        seconds = cost.seconds(engines, self.machine)
        chosen = sorted(range(len(self.dma_free)), key=self.dma_free.__getitem__)[:engines]
        ready = time + DMA_LATENCY
        end = ready
        for engine in chosen:
            self.dma_free[engine] = max(ready, self.dma_free[engine]) + seconds
            end = max(end, self.dma_free[engine])
        self.timeline.dma.bytes += cost.nbytes
        share = seconds * engines / len(self.dma_free)
        self.timeline.dma.busy_us += share * MICROSECOND
        stream.ended = max(stream.ended, end)
        return stream.ended

    def _complete(self, stream: _Stream, time: float) -> None:
        stream.done += 1
        if stream.waiters:
            ready = [waiter for count, waiter in stream.waiters if count <= stream.done]
            stream.waiters = [entry for entry in stream.waiters if entry[0] > stream.done]
            for waiter in ready:
                self._try(waiter, time)

    def _cost(self, instruction: Instruction) -> _Cost:
        machine = self.machine
        if instruction.engine == "dma":
            return _Cost(instruction, 0.0, 0.0, None, dma_cost(instruction), 0)
        clock = clock_of(instruction.engine, machine)
        macs = 0
        if instruction.op is nc.MatmulOp:
            columns = instruction.operands["stationary"].access.free_size
            macs = instruction.operands["moving"].access.size * columns
        return _Cost(
            instruction,
            cycles(instruction, machine) / clock,
            ACCESS_CYCLES / clock,
            _port(instruction) if self.hazards else None,
            None,
            macs,
        )


def _port(instruction: Instruction) -> str | None:
    """The memory port that an issue holds alone: DVE or Pool on SBUF, DVE or ACT on PSUM.

    An instruction on both memories holds the one that is contended more: PSUM for ACT and DVE.
    """
    spaces = {operand.space for operand in instruction.operands.values()}
    if instruction.engine in ("dve", "act") and Space.PSUM in spaces:
        return "psum"
    if instruction.engine in ("dve", "pool") and Space.SBUF in spaces:
        return "sbuf"
    return None


def _issues_of(
    records: Sequence[Record], stream: str, costs: dict[int, _Cost]
) -> Iterator[tuple[_Cost, _Turns]]:
    """The issues of one stream, in order."""
    return _expand(_only(records, stream, costs), ())


_Plan: TypeAlias = list[Any]
"""A cost, or (trip, plan) for a loop that has issues of the stream."""


def _only(records: Sequence[Record], stream: str, costs: dict[int, _Cost]) -> _Plan:
    plan: _Plan = []
    for record in records:
        if isinstance(record, Loop):
            if inner := _only(record.body, stream, costs):
                plan.append((record.trip, inner))
        elif record.stream == stream:
            plan.append(costs[id(record)])
    return plan


def _expand(plan: _Plan, turns: _Turns) -> Iterator[tuple[_Cost, _Turns]]:
    for entry in plan:
        if isinstance(entry, _Cost):
            yield entry, turns
        else:
            trip, inner = entry
            for turn in range(trip):
                yield from _expand(inner, (*turns, turn))


def _blocked(stream: _Stream) -> str:
    assert stream.next is not None
    cost, turns = stream.next
    waits: tuple[Wait, ...] = cost.instruction.waits
    text = ", ".join(f"{wait.stream} >= {wait.count_at(turns)}" for wait in waits)
    return f"{stream.name} at {cost.instruction.op.name} for {text}"


def metrics_of(programs: Sequence[Program], machine: Machine) -> dict[str, Any]:
    """Estimates and sizes of a file's programs, which share the cores in time.

    The interval is that of one program after the other, each as a full pipeline.
    """
    timelines = [simulate(program, machine) for program in programs]
    cores = [core for program in programs for core in program.cores]
    instructions: dict[str, int] = {}
    for timeline in timelines:
        for name, use in timeline.engines.items():
            instructions[name] = instructions.get(name, 0) + use.instructions
    return {
        "simulated_us": {
            "latency": round(sum(timeline.makespan_us for timeline in timelines), 3),
            "interval": round(sum(timeline.interval_us for timeline in timelines), 3),
        },
        "basis": "documented-cost estimate",
        "assumed": sorted(machine.assumed),
        "macs": sum(timeline.macs for timeline in timelines),
        "dma_bytes": sum(timeline.dma.bytes for timeline in timelines),
        "sbuf_bytes": max((_used(core, Space.SBUF) for core in cores), default=0),
        "psum_bytes": max((_used(core, Space.PSUM) for core in cores), default=0),
        "dram_bytes": sum(
            core.scratch_bytes + sum(tensor.nbytes for tensor in core.tensors) for core in cores
        ),
        "instructions": instructions,
    }


def _used(core: CoreProgram, space: Space) -> int:
    """Bytes of each partition up to the highest one that an instruction touches."""
    highest = 0
    for instruction, trips in core.instructions():
        for operand in instruction.operands.values():
            if operand.space == space:
                _, last = operand.access.extent(trips)
                end = operand.address + (last + 1) * operand.dtype.itemsize
                highest = max(highest, end)
    if space == Space.PSUM:
        return -(-highest // PSUM_BANK_BYTES) * PSUM_BANK_BYTES
    return highest
