"""Run compiled files, and modules in memory, on the reference machine.

There is one execution path: a module's programs are encoded to bytes and decoded before they run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from ranvier.backend.neuron.interpreter.core import Counters
from ranvier.backend.neuron.interpreter.machine import Budget, Machine
from ranvier.backend.neuron.limits import MACHINES
from ranvier.backend.neuron.neff.decode import Neff, Port, Step
from ranvier.backend.neuron.neff.decode_program import decode_program
from ranvier.backend.neuron.neff.encode_program import encode_program, program_of
from ranvier.backend.neuron.neff.host import HostProgram, TensorForm, run_host
from ranvier.backend.neuron.program import Program
from ranvier.backend.reference import check_input
from ranvier.dialects import graph, nc
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.materialize import Weights
from ranvier.dialects.nn.types import dtype_of, element_of, shape_of


class Runner:
    """A compiled file, ready to run. Programs are bound to the machine when they first run."""

    def __init__(self, neff: Neff, *, budget: Budget | None = None) -> None:
        self.neff = neff
        self.budget = budget
        self.counters = Counters()
        """Of the last run, over all device programs."""
        self._machines: dict[tuple[int, bool], Machine] = {}

    def run(self, inputs: Mapping[str, Array], *, exact: bool = False) -> dict[str, Array]:
        """Outputs by name; `exact` as of Machine.

        Raises CallerError for missing, unknown or unfitting inputs.
        """
        ports = self.neff.inputs
        if unknown := sorted(set(inputs) - {port.name for port in ports}):
            known = ", ".join(port.name for port in ports)
            raise CallerError(Code.INPUT_UNKNOWN, f"no input '{unknown[0]}'; inputs: {known}")
        values = [_input(port, inputs.get(port.name)) for port in ports]
        outputs = self.execute(values, exact=exact)
        return {port.name: out for port, out in zip(self.neff.outputs, outputs, strict=True)}

    def execute(self, inputs: Sequence[Array], *, exact: bool = False) -> list[Array]:
        """Outputs by position, of inputs that fit their ports: nothing is checked here."""
        self.counters = Counters()
        values = list(inputs)
        for index, step in enumerate(self.neff.steps):
            operands = [values[operand] for operand in step.operands]
            values.extend(self._step((index, exact), step, operands))
        return [values[port.value] for port in self.neff.outputs]

    def _step(
        self, key: tuple[int, bool], step: Step, operands: Sequence[Array]
    ) -> Sequence[Array]:
        if isinstance(step.program, HostProgram):
            return run_host(step.program, operands, step.weights.__getitem__)
        if (machine := self._machines.get(key)) is None:
            limits = MACHINES[step.program.target]
            machine = Machine(step.program, limits, exact=key[1], budget=self.budget)
            self._machines[key] = machine
        outputs = machine.run(operands, step.weights.__getitem__)
        self.counters.add(machine.counters)
        return [shaped(output, form) for output, form in zip(outputs, step.results, strict=True)]


def _input(port: Port, array: Array | None) -> Array:
    return check_input(port.name, Block(arg_types=[port.form.type]).args[0], array)


def shaped(flat: Array, form: TensorForm) -> Array:
    """An output of the machine as a tensor; truth values are 0 and 1 there, i64 is i32."""
    if form.dtype == np.bool_:
        flat = flat != 0
    return flat.astype(form.dtype, copy=False).reshape(form.shape)


def launcher(
    module: ModuleOp, *, exact: bool = False, budget: Budget | None = None
) -> Callable[[str, Sequence[Array]], list[Array]]:
    """A function that runs the device programs of a module, for the reference executor.

    `exact` as of Machine.

    Raises NeffProgramError for programs without addresses, or that break a rule of the machine.
    """
    programs = {op.symbol: op for op in module.body.block.ops if isinstance(op, nc.ProgramOp)}
    launches = {op.symbol: op for op in module.walk() if isinstance(op, graph.LaunchOp)}
    weights = Weights(module)
    machines: dict[str, Machine] = {}

    def launch(symbol: str, inputs: Sequence[Array]) -> list[Array]:
        if symbol not in programs:
            raise CallerError(Code.FILE_INVALID, f"no program @{symbol} in the module")
        if symbol not in machines:
            program: Program = decode_program(encode_program(program_of(programs[symbol])))
            limits = MACHINES[program.target]
            machines[symbol] = Machine(program, limits, exact=exact, budget=budget)
        outputs = machines[symbol].run(inputs, weights.array)
        results: Sequence[SSAValue] = launches[symbol].outputs
        return [
            shaped(output, TensorForm(dtype_of(element_of(result)), shape_of(result)))
            for output, result in zip(outputs, results, strict=True)
        ]

    return launch
