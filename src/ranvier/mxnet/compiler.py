"""Compile a symbol: its parts for the machine become `_neuron_subgraph_op` nodes."""

from __future__ import annotations

import itertools
import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from xdsl.utils.exceptions import PassFailedException, VerifyException

from ranvier.dialects.diagnostics import CallerError, Code, CodedError, Reason
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import Tensor, dtype_of
from ranvier.importers.builder import spelled
from ranvier.importers.mxnet import import_symbol
from ranvier.importers.mxnet.compiled import CompiledNode, binary_name
from ranvier.importers.mxnet.params import write_params
from ranvier.importers.mxnet.symbol import (
    NEURON_OP,
    Entry,
    SymbolGraph,
    SymbolNode,
    output_name,
    print_symbol,
)
from ranvier.mxnet.assemble import assemble
from ranvier.mxnet.options import CompileArgs
from ranvier.mxnet.partition import Division, divide
from ranvier.mxnet.placing import Kind, Model, Placed, place
from ranvier.mxnet.subgraph import Part, part_of
from ranvier.passes.analysis.operators import HostOp, code_of
from ranvier.placement import is_disobeyed
from ranvier.program import compile_module

LOG = logging.getLogger("mxnet")
"""The logger of MXNet itself, where its users look."""
Errors = (CodedError, PassFailedException, VerifyException)


@dataclass(frozen=True)
class CompiledPart:
    """A part with its program."""

    part: Part
    node: CompiledNode
    executable: Array
    host_ops: Sequence[HostOp]


@dataclass(frozen=True)
class CompiledModel:
    """The new graph, and the programs in it by the parameter that holds each."""

    graph: SymbolGraph
    programs: dict[str, Array]
    placed: Placed
    parts: list[CompiledPart]


@dataclass
class Compiler:
    """One compilation."""

    model: Model
    arguments: CompileArgs
    done: dict[tuple[object, ...], CompiledPart] = field(
        default_factory=dict[tuple[object, ...], CompiledPart]
    )

    def run(self) -> CompiledModel:
        """Place, divide and compile until no part has anything left for the host."""
        placed = place(self.model, self.arguments)
        while True:
            division = divide(self.model, placed, self.arguments.minimum_segment_size)
            if self._compile_all(division, placed):
                break
        self._refuse_fallback(placed)
        parts = {level: self.done[key_of(part)] for level, part in division.parts.items()}
        names = node_names(self.model.graph, len(parts))
        programs = {
            binary_name(name): part.executable
            for name, part in zip(names, parts.values(), strict=True)
        }
        for name, part in zip(names, parts.values(), strict=True):
            self._keep_files(name, part)
        nodes = {level: (part.part, part.node) for level, part in parts.items()}
        sizes = {name: array.size for name, array in programs.items()}
        graph = assemble(self.model, placed, division, nodes, names, sizes)
        return CompiledModel(graph, programs, placed, list(parts.values()))

    # -- Compiling ----------------------------------------------------------------------------

    def _compile_all(self, division: Division, placed: Placed) -> bool:
        """Whether all parts are on the machine; if not, `placed` says what is not."""
        for number, part in enumerate(division.parts.values()):
            key = key_of(part)
            if key in self.done:
                continue
            try:
                found = self._compile(part, placed, f"part{number}")
            except Errors as error:
                if is_disobeyed(error):
                    raise
                LOG.warning("a subgraph of %d operators fails: %s", len(part.members), error)
                for index in self._guilty(part, placed):
                    placed.keep(index, reason_of(error))
                return False
            self.done[key] = found
            if refused := refused_nodes(self.model.graph, found):
                for index, reason in refused.items():
                    placed.keep(index, reason)
                return False
        return True

    def _guilty(self, part: Part, placed: Placed) -> Sequence[int]:
        """The operators of a part that fail alone, if that is asked for; else all of them."""
        running = [i for i in part.members if placed.kinds[i] is not Kind.CONSTANT]
        if not self.arguments.op_by_op_compiler_retry or len(running) == 1:
            return running
        failing: list[int] = []
        for index in running:
            count = self.model.graph.output_count(index)
            entries = [Entry(index, output) for output in range(count)]
            known = [entry for entry in entries if entry in placed.types]
            try:
                self._compile(part_of(self.model.graph, [index], known), placed, f"op{index}")
            except Errors:
                failing.append(index)
        return failing or running

    def _compile(self, part: Part, placed: Placed, name: str) -> CompiledPart:
        """The program of a part. Raises what the compiler raises."""
        own = part.variables()
        data = {n: self.model.inputs[n] for n in own if n in self.model.inputs}
        data |= {name: placed.types[entry] for entry, name in part.inputs.items()}
        params = {name: self.model.params[name] for name in own if name in self.model.params}
        module = import_symbol(part.graph, params, data, name=name)
        compiled = compile_module(module, self.arguments.parts)
        outputs = [output_name(part.graph, head) for head in part.graph.heads]
        types = [placed.types[entry] for entry in part.outputs]
        node = CompiledNode(*described(data), *described(dict(zip(outputs, types, strict=True))))
        with tempfile.TemporaryDirectory(prefix="ranvier-") as folder:
            path = Path(folder) / "graph.neff"
            compiled.write(path)
            executable = np.fromfile(path, np.uint8)
        return CompiledPart(part, node, executable, compiled.host_ops)

    def _refuse_fallback(self, placed: Placed) -> None:
        """Raises CallerError if the flags forbid the host, and the machine lacks an op."""
        lacking = {i: r for i, r in placed.reasons.items() if r.code is not Code.OP_RULE}
        if self.arguments.options.fallback == "error" and lacking:
            nodes = self.model.graph.nodes
            listed = "; ".join(f"{describe(nodes[i])}: {r}" for i, r in lacking.items())
            raise CallerError(
                Code.FALLBACK_FORBIDDEN, f"operators need the host, which is forbidden: {listed}"
            )

    def _keep_files(self, name: str, compiled: CompiledPart) -> None:
        """The symbol, the parameters, the io-config, the program and a log of a part."""
        if (folder := self.arguments.folder(name)) is None:
            return
        node = compiled.node
        params = {
            n: self.model.params[n] for n in compiled.part.variables() if n in self.model.params
        }
        inputs = {
            name: [list(shape), dtype]
            for name, shape, dtype in zip(
                node.data_names, node.data_shapes, node.data_dtypes, strict=True
            )
        }
        io_config = {"inputs": inputs, "outputs": list(node.output_names)}
        log = f"{time.ctime()} {len(compiled.part.members)} operators compiled\n"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "graph-symbol.json").write_text(print_symbol(compiled.part.graph))
            write_params(folder / "graph-0000.params", {f"arg:{n}": a for n, a in params.items()})
            (folder / "graph-io-config.json").write_text(json.dumps(io_config))
            (folder / "graph.neuron-cc.log").write_text(log)
            compiled.executable.tofile(folder / "graph.neff")
        except OSError as error:
            raise CallerError(Code.FILE_UNWRITABLE, f"{folder}: {error.strerror}") from error


def described(
    types: Mapping[str, Tensor],
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...], tuple[str, ...]]:
    """Names, shapes and element types."""
    return (
        tuple(types),
        tuple(tuple(type.get_shape()) for type in types.values()),
        tuple(dtype_of(type.element_type).name for type in types.values()),
    )


def refused_nodes(graph: SymbolGraph, compiled: CompiledPart) -> dict[int, Reason]:
    """The operators that the compiler would run on the host, and why."""
    refused = {op.name: Reason(code_of(op.code), op.reason) for op in compiled.host_ops}
    return {
        index: refused[name]
        for index in compiled.part.members
        if (name := spelled(graph.nodes[index].name)) in refused
    }


def reason_of(error: Exception) -> Reason:
    return Reason(getattr(error, "code", Code.OP_COMPILE_FAILED), str(error))


def describe(node: SymbolNode) -> str:
    return f"{node.op} '{node.name}'"


def key_of(part: Part) -> tuple[object, ...]:
    return (part.members, part.outputs)


def node_names(graph: SymbolGraph, count: int) -> list[str]:
    """Names for compiled nodes that no node of the graph has."""
    taken = {node.name for node in graph.nodes}
    free = (name for k in itertools.count() if (name := f"{NEURON_OP}{k}") not in taken)
    return list(itertools.islice(free, count))
