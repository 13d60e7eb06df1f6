"""Run decoded programs: cores one after another in pipeline order, instructions in program order.

A loop is Python's loop around bound instructions, so a turn costs no decoding.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod

import numpy as np
from threadpoolctl import ThreadpoolController

from ranvier.backend.neuron import limits
from ranvier.backend.neuron.interpreter import act, compiled, dma, dve, kernels, pe
from ranvier.backend.neuron.interpreter.core import (
    POISON,
    CoreState,
    Counters,
    Issue,
    Transfer,
    on_chip,
    workspaces,
)
from ranvier.backend.neuron.interpreter.faults import MachineFault
from ranvier.backend.neuron.interpreter.nests import bind_matmul_nest, matmul_nest
from ranvier.backend.neuron.program import CoreProgram, Instruction, Loop, Program, Record
from ranvier.backend.neuron.program_rules import verify_program
from ranvier.dialects import nc
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nc.structure import INPUT, OUTPUT
from ranvier.dialects.nc.types import PSUM_BANK_BYTES, PSUM_BANKS, element_dtype

BINDERS: dict[type[nc.InstructionOp], Callable[[CoreState, Instruction], Issue]] = {
    nc.MatmulOp: pe.bind_matmul,
    nc.TransposeOp: pe.bind_transpose,
    nc.ActivationOp: act.bind_activation,
    nc.TensorTensorOp: dve.bind_tensor_tensor,
    nc.TensorScalarOp: dve.bind_tensor_scalar,
    nc.ScalarTensorTensorOp: dve.bind_scalar_tensor_tensor,
    nc.ReduceOp: dve.bind_reduce,
    nc.CopyOp: dve.bind_copy,
    nc.MemsetOp: dve.bind_memset,
    nc.ReciprocalOp: dve.bind_reciprocal,
    nc.CopyPredicatedOp: dve.bind_copy_predicated,
    nc.DmaOp: dma.bind_dma,
    nc.GatherOp: dma.bind_gather,
    nc.ScatterOp: dma.bind_scatter,
    nc.SendOp: dma.bind_send,
    nc.ReceiveOp: dma.bind_receive,
}

WeightSource = Callable[[str], Array]


@dataclass
class Budget:
    """What one run may use; a program in a file of unknown origin cannot hang its reader."""

    instructions: int = 1 << 28
    seconds: float = 3600.0
    dram_bytes: int = 16 << 30
    """Inputs, outputs and scratch of one core."""


@dataclass
class Meter:
    """Counts issues as they happen, and stops a run that exceeds its budget."""

    budget: Budget
    counters: Counters = field(default_factory=Counters)
    started: float = field(default_factory=time.monotonic)

    def restart(self) -> Counters:
        """Begin a run; gives what counts it."""
        self.counters, self.started = Counters(), time.monotonic()
        return self.counters

    def add(self, work: Counters) -> None:
        """Raises MachineFault when the budget is used up."""
        counters = self.counters
        counters.macs += work.macs
        counters.elements += work.elements
        counters.instructions += work.instructions
        if counters.instructions > self.budget.instructions:
            raise MachineFault(f"the program issues more than {self.budget.instructions}")
        if time.monotonic() - self.started > self.budget.seconds:
            raise MachineFault(f"the program runs longer than {self.budget.seconds} s")


@cache
def controller() -> ThreadpoolController:
    """The thread pools of this process, found once."""
    return ThreadpoolController()


def threads() -> int:
    """Threads of one product: one, or what the user asks OpenBLAS for.

    Its threads spin between products, which costs a busy machine several times what it gains.
    """
    asked = os.environ.get("OPENBLAS_NUM_THREADS", "1")
    return max(1, int(asked)) if asked.isdecimal() else 1


def work_of(instruction: Instruction) -> Counters:
    """What one issue counts for."""
    if instruction.op is nc.MatmulOp:
        moving = instruction.operands["moving"].access
        columns = instruction.operands["stationary"].access.free_size
        return Counters(macs=moving.size * columns, instructions=1)
    # A scatter writes the rows that it brings, not all of its table.
    roles = ("src",) if instruction.op is nc.ScatterOp else instruction.writes()
    written = sum(instruction.operands[role].access.size for role in roles)
    steps = (instruction.fields.get("op0"), instruction.fields.get("op1"))
    if instruction.op is nc.ScalarTensorTensorOp and steps == ("mult", "add"):
        return Counters(macs=written, instructions=1)
    return Counters(elements=written, instructions=1)


class Machine:
    """The NeuronCores of a program, with memories of their own. Runs one program at a time."""

    def __init__(
        self,
        program: Program,
        machine: limits.Machine,
        *,
        exact: bool = False,
        budget: Budget | None = None,
    ) -> None:
        """Raises NeffProgramError for a program that breaks a rule of the machine.

        `exact` issues every instruction by itself, which is the definition. Otherwise a nest of
        products into one accumulator runs as one product (see `nests`): its sums may differ in the
        last bit of f32.
        """
        verify_program(program, machine)
        self.program = program
        self.exact = exact
        self.budget = budget or Budget()
        self.counters = Counters()
        """Of the last run."""
        self.meter = Meter(self.budget)
        self.channels: dict[Transfer, deque[Array]] = {}
        sbuf, psum = on_chip(machine.sbuf_bytes), on_chip(PSUM_BANKS * PSUM_BANK_BYTES)
        spaces = workspaces()
        self.states = [
            CoreState(
                index,
                sbuf,
                psum,
                spaces,
                self.channels,
                kernels=kernels.kernels(),
                threads=kernels.threads(),
            )
            for index in range(len(program.cores))
        ]
        self._bodies: dict[int, Issue] = {}

    def run(self, inputs: Sequence[Array], weights: WeightSource) -> list[Array]:
        """Outputs by number, flat. `inputs` are in any shape; truth values become 0 and 1.

        Raises CallerError for arrays that do not fit, MachineFault for what is undefined.
        """
        return self.run_cores(inputs, weights, self._run_core)

    def run_cores(
        self,
        inputs: Sequence[Array],
        weights: WeightSource,
        run_core: Callable[[int, CoreState], None],
    ) -> list[Array]:
        """As `run`, with another way to run the instructions of a core."""
        self.counters = self.meter.restart()
        self.channels.clear()
        outputs: dict[int, Array] = {}
        with controller().limit(limits=threads(), user_api="blas"), np.errstate(all="ignore"):
            for index, state in enumerate(self.states):
                self._prepare(state, self.program.cores[index], inputs, weights, outputs)
                run_core(index, state)
                state.place(())
        return [outputs[number] for number in sorted(outputs)]

    def _prepare(
        self,
        state: CoreState,
        core: CoreProgram,
        inputs: Sequence[Array],
        weights: WeightSource,
        outputs: dict[int, Array],
    ) -> None:
        """Poisoned memories, and the tensors of the core in DRAM."""
        own = sum(tensor.nbytes for tensor in core.tensors if tensor.kind == OUTPUT)
        if (needed := own + core.scratch_bytes) > self.budget.dram_bytes:
            raise MachineFault(f"{needed} bytes of DRAM exceed {self.budget.dram_bytes}")
        state.poison()
        areas: list[Array] = []
        for tensor in core.tensors:
            source = tensor.source
            dtype = element_dtype(tensor.element)
            if isinstance(source, str):
                areas.append(area_of(weights(source), dtype, tensor.length, f"weight @{source}"))
            elif tensor.kind == INPUT:
                if source >= len(inputs):
                    raise CallerError(Code.INPUT_MISSING, f"input {source} of {len(inputs)}")
                areas.append(area_of(inputs[source], dtype, tensor.length, f"input {source}"))
            else:
                area = np.full(tensor.nbytes, POISON, np.uint8)
                outputs[source] = area.view(dtype)
                areas.append(area)
        areas.append(np.full(core.scratch_bytes, POISON, np.uint8))
        state.place(areas)

    def _run_core(self, index: int, state: CoreState) -> None:
        if index not in self._bodies:
            self._bodies[index] = self._bind(state, self.program.cores[index].body, 0)
        self._bodies[index]()

    def _bind(self, state: CoreState, records: Sequence[Record], depth: int) -> Issue:
        """One function that runs a body once; its issues are counted together."""
        steps: list[Issue] = []
        work, meter = Counters(), self.meter  # without the machine a body is no cycle
        for record in records:
            if isinstance(record, Loop):
                steps.append(self._bind_loop(state, record, depth))
            else:
                steps.append(bind(state, record))
                work.add(work_of(record))

        def run() -> None:
            meter.add(work)
            for step in steps:
                step()

        return run

    def _bind_loop(self, state: CoreState, loop: Loop, depth: int) -> Issue:
        if (nest := self._bind_nest(state, loop, depth)) is not None:
            return nest
        state.trips[depth] = loop.trip
        body, turns = self._bind(state, loop.body, depth + 1), state.turns
        state.trips[depth] = 0

        def run() -> None:
            for turn in range(loop.trip):
                turns[depth] = turn
                body()
            turns[depth] = 0

        return run

    def _bind_nest(self, state: CoreState, loop: Loop, depth: int) -> Issue | None:
        """One function for a loop nest of products that may run as one; None for others."""
        if self.exact or (nest := matmul_nest(loop, depth)) is None:
            return None
        instruction, trips = nest
        work, meter = work_of(instruction).times(prod(trips)), self.meter

        issue = None
        if state.kernels is not None:
            issue = compiled.bind_product(state, state.kernels, instruction, trips, depth)
        issue = issue or bind_matmul_nest(state, instruction, trips, depth)

        def run() -> None:
            meter.add(work)
            issue()

        return run


def bind(state: CoreState, instruction: Instruction) -> Issue:
    """The function that issues an instruction in the current turns of its loops."""
    issue = compiled.bind_compiled(state, instruction)
    return issue or BINDERS[instruction.op](state, instruction)


def area_of(array: Array, dtype: np.dtype[np.generic], length: int, what: str) -> Array:
    """The bytes of a tensor in DRAM, without a copy where it is contiguous.

    Raises CallerError where element type or count differ from the program's.
    """
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    elif array.dtype == np.int64 and dtype == np.int32:
        array = narrowed(array, what)
    if array.dtype != dtype or array.size != length:
        raise CallerError(
            Code.INPUT_SHAPE,
            f"{what} is {length} elements of {dtype}, got {array.size} of {array.dtype}",
        )
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def narrowed(array: Array, what: str) -> Array:
    """An i64 tensor at the program's edge as i32. Raises CallerError for values beyond it."""
    info = np.iinfo(np.int32)
    if array.size and not (info.min <= array.min() and array.max() <= info.max):
        worst = array.max() if array.max() > info.max else array.min()
        raise CallerError(Code.INPUT_RANGE, f"{what} holds {worst}, beyond 32 bits")
    return array.astype(np.int32)
