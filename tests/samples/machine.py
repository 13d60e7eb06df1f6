"""Compile a module with the default pipeline, and run its programs on the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr, bf16, f16
from xdsl.ir import Attribute
from xdsl.passes import ModulePass

from ranvier.backend.neuron.interpreter.interleaved import execute_interleaved
from ranvier.backend.neuron.interpreter.runner import launcher
from ranvier.backend.neuron.limits import MACHINES
from ranvier.backend.neuron.neff.encode_program import program_of
from ranvier.backend.reference import Executor
from ranvier.dialects import graph, nc
from ranvier.dialects.interfaces import REASON
from ranvier.dialects.nn.materialize import Weights
from ranvier.dialects.nn.types import dtype_of, element_of, shape_of
from ranvier.passes.pipelines import default_pipeline, run_pipeline
from samples import Array


@dataclass(frozen=True)
class Refusal:
    """An op on the host, and why."""

    op: str
    code: str
    text: str


@dataclass(frozen=True)
class Compiled:
    """A module of scheduled programs, and what was decided on the way."""

    module: ModuleOp
    refusals: tuple[Refusal, ...]
    narrow: Attribute | None
    """The narrow float type that it computes in."""

    @property
    def launches(self) -> list[graph.LaunchOp]:
        return [op for op in self.module.walk() if isinstance(op, graph.LaunchOp)]

    @property
    def programs(self) -> list[nc.ProgramOp]:
        return [op for op in self.module.walk() if isinstance(op, nc.ProgramOp)]


def compiled(
    module: ModuleOp, target: str, mode: str, cores: int = 1, *, skip: str = ""
) -> Compiled:
    """Run the default pipeline in place, but for the passes of the text `skip`."""
    refusals: list[Refusal] = []
    narrow: list[Attribute | None] = []

    def after(step: ModulePass, module: ModuleOp) -> None:
        if step.name == "segment":
            refusals.extend(refusals_of(module))
            narrow.append(narrowest(module))

    pipeline = default_pipeline(target, cores, mode).replace(skip, "")
    run_pipeline(module, pipeline, after_each=after, verify=True)
    return Compiled(module, tuple(refusals), narrow[0])


def refusals_of(module: ModuleOp) -> Iterator[Refusal]:
    """Every op of a host segment that the target refuses."""
    for op in module.walk():
        if isinstance(reason := op.attributes.get(REASON), ArrayAttr):
            code, text = (str(entry.data) for entry in reason if isinstance(entry, StringAttr))
            yield Refusal(op.name, code, text)


def narrowest(module: ModuleOp) -> Attribute | None:
    """The narrow float type that a module computes in, if any."""
    found = {
        element_of(value)
        for op in module.walk()
        if op.dialect_name() == "nn"
        for value in (*op.operands, *op.results)
    }
    return next((element for element in (bf16, f16) if element in found), None)


def ran(module: ModuleOp, inputs: Mapping[str, Array], *, exact: bool = False) -> list[Array]:
    """The results of a compiled module, in program order, which is what its programs mean."""
    return list(Executor(module, launch=launcher(module, exact=exact)).run(inputs).values())


def ran_interleaved(module: ModuleOp, inputs: Mapping[str, Array], seed: int) -> list[Array]:
    """The same with the streams of each core in a random order that only their waits restrict."""
    weights = Weights(module)
    programs = {op.symbol: op for op in module.walk() if isinstance(op, nc.ProgramOp)}
    launches = {op.symbol: op for op in module.walk() if isinstance(op, graph.LaunchOp)}

    def launch(symbol: str, arrays: Sequence[Array]) -> Sequence[Array]:
        program = program_of(programs[symbol])
        machine = MACHINES[program.target]
        results = execute_interleaved(program, machine, arrays, weights.array, seed=seed)
        return [
            array.astype(dtype_of(element_of(value))).reshape(shape_of(value))
            for array, value in zip(results, launches[symbol].outputs, strict=True)
        ]

    return list(Executor(module, launch=launch).run(inputs).values())
