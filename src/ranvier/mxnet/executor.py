"""Run a symbol without MXNet: compiled nodes on the machine, all others by the reference executor.

Nodes that are not compiled are imported as `nn`, in groups between the compiled ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ranvier.backend import reference
from ranvier.backend.neuron.interpreter.runner import Runner
from ranvier.backend.neuron.neff.decode import read_neff
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.shapes import format_shape
from ranvier.dialects.nn.types import Tensor, tensor, type_of
from ranvier.importers.mxnet import import_symbol
from ranvier.importers.mxnet.compiled import (
    CompiledNode,
    check_binary,
    compiled_node,
    data_entries,
    is_compiled,
    programs,
)
from ranvier.importers.mxnet.symbol import Entry, SymbolGraph, output_name
from ranvier.importers.semantics import element_type
from ranvier.mxnet.ndarray import NDArray
from ranvier.mxnet.subgraph import Part, part_of
from ranvier.passes.segment.levels import PlacedGraph, earliest_levels

Values = dict[Entry, Array]


class Executor:
    """A symbol with arrays for its variables, as `bind` and `simple_bind` of MXNet give it."""

    def __init__(
        self, graph: SymbolGraph, arguments: Mapping[str, NDArray], states: Mapping[str, NDArray]
    ) -> None:
        self._graph = graph
        self.arg_dict = dict(arguments)
        self.aux_dict = dict(states)
        self.outputs: list[NDArray] = []
        self._steps: list[_Step] | None = None
        for name in programs(graph):
            check_binary(self.arg_dict[name].view() if name in self.arg_dict else None, name)

    @property
    def arg_arrays(self) -> list[NDArray]:
        return list(self.arg_dict.values())

    @property
    def aux_arrays(self) -> list[NDArray]:
        return list(self.aux_dict.values())

    @property
    def output_names(self) -> list[str]:
        return [output_name(self._graph, head) for head in self._graph.heads]

    @property
    def output_dict(self) -> dict[str, NDArray]:
        return dict(zip(self.output_names, self.outputs, strict=False))

    def forward(self, is_train: bool = False, **kwargs: Any) -> list[NDArray]:
        """Run on the arrays, after `kwargs` are copied into those of their names.

        Returns the outputs, which are in `outputs` too. Raises CallerError for `is_train=True`, and
        for arrays that are unknown or do not fit.
        """
        if is_train:
            self.backward()
        for name, value in kwargs.items():
            self._assign(self.arg_dict, name, value, "argument")
        graph = self._graph
        arrays = {**self.arg_dict, **self.aux_dict}
        values: Values = {
            Entry(index): arrays[node.name].view()
            for index, node in enumerate(graph.nodes)
            if node.is_variable and node.name in arrays
        }
        if self._steps is None:
            self._steps = steps_of(graph, arrays)
        for step in self._steps:
            step.run(values, arrays)
        heads = (values[Entry(head.node, head.output)] for head in graph.heads)
        self.outputs = [NDArray(np.array(head)) for head in heads]
        return self.outputs

    def backward(self, *_: object, **__: object) -> NoReturn:
        """Raises CallerError: there is no training."""
        raise CallerError(
            Code.OPTION_INVALID, "training is not supported: bind and forward with is_train=False"
        )

    def copy_params_from(
        self,
        arg_params: Mapping[str, Any],
        aux_params: Mapping[str, Any] | None = None,
        allow_extra_params: bool = False,
    ) -> None:
        """Copy parameters into the arrays of their names. Raises CallerError for unknown names."""
        for arrays, params, kind in (
            (self.arg_dict, arg_params, "argument"),
            (self.aux_dict, aux_params or {}, "auxiliary state"),
        ):
            for name, value in params.items():
                if name in arrays or not allow_extra_params:
                    self._assign(arrays, name, value, kind)

    def _assign(self, arrays: dict[str, NDArray], name: str, value: Any, kind: str) -> None:
        if name not in arrays:
            raise CallerError(
                Code.INPUT_UNKNOWN, f"no {kind} '{name}'; there are: {', '.join(arrays)}"
            )
        source = array_of(value, name)
        if source.shape != arrays[name].shape:
            raise CallerError(
                Code.INPUT_SHAPE,
                f"{kind} '{name}' is {format_shape(arrays[name].shape)}, got "
                f"{format_shape(source.shape)}; bind again for another shape",
            )
        arrays[name][:] = source


def array_of(value: Any, name: str) -> Array:
    """A NumPy array of an array of any library, not to be written to.

    Raises CallerError for what holds no numbers.
    """
    if isinstance(value, NDArray):
        return value.view()
    found = value.asnumpy() if hasattr(value, "asnumpy") else np.asarray(value)
    if found.dtype.kind not in "fiub":
        raise CallerError(Code.INPUT_TYPE, f"'{name}' is no array of numbers: {found.dtype}")
    return found


def bound(
    given: Mapping[str, Any] | Sequence[Any] | None, names: Sequence[str], kind: str
) -> dict[str, NDArray]:
    """Arrays by name. Raises CallerError for a missing one, and for a list of another length."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        if len(given) != len(names):
            raise CallerError(
                Code.INPUT_MISSING, f"{len(names)} {kind}s are needed in order, got {len(given)}"
            )
        given = dict(zip(names, given, strict=True))
    if missing := [name for name in names if name not in given]:
        raise CallerError(Code.INPUT_MISSING, f"{kind} '{missing[0]}' is missing")
    return {
        name: value if isinstance(value := given[name], NDArray) else NDArray(array_of(value, name))
        for name in names
    }


# -- Steps ------------------------------------------------------------------------------------


class _Step(Protocol):
    def run(self, values: Values, arrays: Mapping[str, NDArray]) -> None: ...


@dataclass
class _HostStep:
    """Nodes without compiled ones between them."""

    part: Part
    executor: reference.Executor

    def run(self, values: Values, arrays: Mapping[str, NDArray]) -> None:
        inputs = {name: values[entry] for entry, name in self.part.inputs.items()}
        for name in self.executor.inputs:
            if name not in inputs:
                inputs[name] = arrays[name].view()
        results = self.executor.run(inputs).values()
        values.update(zip(self.part.outputs, results, strict=True))


@dataclass
class _NeuronStep:
    """One compiled node. Its program is read when it first runs, and when it was replaced."""

    name: str
    index: int
    node: CompiledNode
    entries: list[Entry]
    binary: str
    loaded: tuple[NDArray, int, Runner] | None = None

    def run(self, values: Values, arrays: Mapping[str, NDArray]) -> None:
        inputs = [values[Entry(entry.node, entry.output)] for entry in self.entries]
        named = dict(zip(self.node.data_names, inputs, strict=True))
        results = self.runner(arrays[self.binary]).run(named)
        for output, array in enumerate(results.values()):
            values[Entry(self.index, output)] = array

    def runner(self, binary: NDArray) -> Runner:
        if self.loaded is None or self.loaded[:2] != (binary, binary.version):
            neff = read_neff(np.ascontiguousarray(binary.view()), Path(self.binary))
            expected = (self.node.data_names, self.node.output_names)
            found = tuple(tuple(p.name for p in ports) for ports in (neff.inputs, neff.outputs))
            if found != expected:
                raise CallerError(
                    Code.FILE_INVALID,
                    f"node '{self.name}': its program takes and returns {found}, not {expected}",
                )
            self.loaded = (binary, binary.version, Runner(neff))
        return self.loaded[2]


def steps_of(graph: SymbolGraph, arrays: Mapping[str, NDArray]) -> list[_Step]:
    """What to run, in order. Raises ModelImportError for a node that `nn` cannot hold."""
    needed = graph.needed()
    nodes = [i for i, node in enumerate(graph.nodes) if i in needed and not node.is_variable]
    number = {index: place for place, index in enumerate(nodes)}
    after = [
        [number[entry.node] for entry in graph.nodes[index].inputs if entry.node in number]
        for index in nodes
    ]
    on_host = [not is_compiled(graph.nodes[index]) for index in nodes]
    levels: dict[int, list[int]] = {}
    for index, level in zip(nodes, earliest_levels(PlacedGraph(on_host, after)), strict=True):
        levels.setdefault(level, []).append(index)
    types: dict[Entry, Tensor] = {}
    steps: list[_Step] = []
    for level in sorted(levels):
        if level % 2:
            steps += [neuron_step(graph, index, types) for index in levels[level]]
        else:
            steps.append(host_step(graph, levels[level], types, arrays))
    return steps


def neuron_step(graph: SymbolGraph, index: int, types: dict[Entry, Tensor]) -> _NeuronStep:
    node = graph.nodes[index]
    compiled = compiled_node(node)
    for output, type in enumerate(compiled.output_types):
        types[Entry(index, output)] = type
    binary = graph.nodes[node.inputs[-1].node].name
    return _NeuronStep(node.name, index, compiled, data_entries(node), binary)


def host_step(
    graph: SymbolGraph,
    members: Sequence[int],
    types: dict[Entry, Tensor],
    arrays: Mapping[str, NDArray],
) -> _HostStep:
    inside = set(members)
    read = {
        Entry(entry.node, entry.output): None
        for reader in (
            graph.heads,
            *(node.inputs for index, node in enumerate(graph.nodes) if index not in inside),
        )
        for entry in reader
        if entry.node in inside
    }
    part = part_of(graph, members, list(read))
    needed = {part.graph.nodes[index].name for index in part.graph.needed()}
    inputs = {name: types[entry] for entry, name in part.inputs.items()}
    inputs |= {
        name: type_of_array(arrays[name].view())
        for name in part.variables()
        if name in arrays and name in needed
    }
    module: ModuleOp = import_symbol(part.graph, {}, inputs, where="symbol")
    executor = reference.Executor(module)
    terminator = executor.main.body.block.last_op
    assert terminator is not None
    types.update(zip(part.outputs, map(type_of, terminator.operands), strict=True))
    return _HostStep(part, executor)


def type_of_array(array: Array) -> Tensor:
    return tensor(array.shape, element_type(array.dtype))
