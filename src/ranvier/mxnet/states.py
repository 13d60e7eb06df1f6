"""What runs behind a `_neuron_subgraph_op`: one state per node of an executor."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from weakref import WeakValueDictionary

import numpy as np

from ranvier.backend.neuron.interpreter.runner import Runner
from ranvier.backend.neuron.neff.decode import Neff, read_neff
from ranvier.backend.neuron.neff.header import HEADER_SIZE
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nn.types import tensor
from ranvier.importers.mxnet import import_symbol, needed_variables
from ranvier.importers.mxnet.parameters import weight_entries
from ranvier.importers.mxnet.symbol import SymbolGraph
from ranvier.importers.semantics import element_type
from ranvier.mxnet.node import SUFFIX, Deferred, Form, Interface
from ranvier.program import Program
from ranvier.program import compile as compile_program

LOG = logging.getLogger("ranvier")


class Operand(Protocol):
    """An input of a call."""

    @property
    def version(self) -> tuple[int, int] | None:
        """Address and count of writes: the same ones mean the same values. None is unknown."""
        ...

    def array(self) -> Array:
        """The values, good for the length of the call."""
        ...


@dataclass
class Held:
    """An operand in an array, of which nobody counts the writes."""

    values: Array
    version: tuple[int, int] | None = None

    def array(self) -> Array:
        return self.values


class State(Protocol):
    """Runs one node."""

    def run(self, operands: Sequence[Operand]) -> list[Array]: ...


class Loaded:
    """A program and its machine. Calls take turns: the machine has one state."""

    def __init__(self, neff: Neff, interface: Interface, names: Sequence[str]) -> None:
        self.neff = neff
        self._runner = Runner(neff)
        self._lock = threading.Lock()
        _check_outputs(neff, interface)
        ports = [port.name for port in neff.inputs]
        if len(ports) != len(names):
            raise CallerError(
                Code.FILE_INVALID, f"the NEFF takes {len(ports)} inputs, the node has {len(names)}"
            )
        same = sorted(ports) == sorted(names)
        self._order = [names.index(port) for port in ports] if same else range(len(ports))

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Outputs by position. Raises CallerError for inputs that do not fit the program."""
        ordered = [arrays[index] for index in self._order]
        for array, port in zip(ordered, self.neff.inputs, strict=True):
            check_fits(array, port.name, port.shape, port.dtype)
        with self._lock:
            return self._runner.execute(ordered)


def check_fits(array: Array, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Raises CallerError for an array of another shape or element type."""
    if array.dtype != dtype:
        raise CallerError(Code.INPUT_TYPE, f"input '{name}' is {dtype}, got {array.dtype}")
    if array.shape != tuple(shape):
        raise CallerError(
            Code.INPUT_SHAPE,
            f"input '{name}' is compiled for {list(shape)}, got {list(array.shape)}",
        )


def _check_outputs(neff: Neff, interface: Interface) -> None:
    theirs = [(tuple(port.shape), port.dtype) for port in neff.outputs]
    ours = [(form.shape, form.dtype) for form in interface.outputs]
    if theirs != ours:
        raise CallerError(
            Code.FILE_INVALID,
            f"the NEFF is of another node: it returns {_listed(theirs)}, the node {_listed(ours)}",
        )


def _listed(forms: Sequence[tuple[Sequence[int], np.dtype[Any]]]) -> str:
    return ", ".join(f"{dtype} {list(shape)}" for shape, dtype in forms)


# -- Compiled nodes ---------------------------------------------------------------------------

_LOADED: WeakValueDictionary[tuple[object, ...], Loaded] = WeakValueDictionary()
"""By the bytes of the NEFF and the interface of the node: executors share programs."""
_LOADING = threading.Lock()


class CompiledState:
    """A node whose last input is its NEFF."""

    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self._loaded: Loaded | None = None
        self._version: tuple[int, int] | None = None

    def run(self, operands: Sequence[Operand]) -> list[Array]:
        *data, neff = operands
        if self._loaded is None or neff.version is None or neff.version != self._version:
            self._loaded = load(neff.array(), self._interface)
            self._version = neff.version
        return self._loaded.run([operand.array() for operand in data])


def load(array: Array, interface: Interface) -> Loaded:
    """The program in an array of bytes, loaded once. Raises NeffError for a damaged one."""
    if array.dtype != np.uint8 or array.ndim != 1:
        raise CallerError(
            Code.INPUT_TYPE, f"a NEFF is a vector of bytes, got {array.dtype} {list(array.shape)}"
        )
    if not array[:HEADER_SIZE].any():
        raise CallerError(
            Code.INPUT_MISSING,
            f"the parameter '…{SUFFIX}' holds no NEFF: pass the parameters of the compiled model",
        )
    key = (sha256(array.data).digest(), interface)
    with _LOADING:
        if (loaded := _LOADED.get(key)) is None:
            neff = read_neff(array.copy(), Path("neff"))
            loaded = Loaded(neff, interface, [form.name for form in interface.inputs])
            _LOADED[key] = loaded
        return loaded


# -- Deferred nodes ---------------------------------------------------------------------------


class DeferredState:
    """A node that is compiled when it first runs, and again when its constants have changed.

    A constant that changes and does not stand where an op has its weights was data all along.
    """

    def __init__(self, interface: Interface, deferred: Deferred) -> None:
        self._interface = interface
        self._deferred = deferred
        needed = {node.name for node in needed_variables(deferred.graph)}
        names = [form.name for form in interface.inputs]
        read = [position for position, name in enumerate(names) if name in needed]
        self._weights = weights_of(deferred.graph)
        self._constants = [p for p in read if names[p] in deferred.constants]
        self._data = [p for p in read if names[p] not in deferred.constants]
        self._seen: dict[int, Seen] = {}
        self._compiled_for: dict[int, bytes] = {}
        self._program: Program | None = None
        self._loaded: Loaded | None = None

    def run(self, operands: Sequence[Operand]) -> list[Array]:
        digests = {
            position: self._digest(position, operands[position]) for position in self._constants
        }
        if self._loaded is None or digests != self._compiled_for:
            if self._loaded is not None:
                self._release(p for p in digests if digests[p] != self._compiled_for[p])
            self._loaded = self._compile(operands)
            self._compiled_for = {position: digests[position] for position in self._constants}
        return self._loaded.run([operands[position].array() for position in self._data])

    def _release(self, changed: Iterable[int]) -> None:
        """Make data of constants that are no weights."""
        names = [form.name for form in self._interface.inputs]
        data = {position for position in changed if names[position] not in self._weights}
        self._constants = [position for position in self._constants if position not in data]
        self._data = sorted({*self._data, *data})

    def _digest(self, position: int, operand: Operand) -> bytes:
        """A hash of a constant's bytes, taken again only if it has been written.

        MXNet counts writes, but not those through memory that is shared with NumPy; a sample of
        the elements finds nearly all of them.
        """
        array = operand.array()
        sample = sample_of(array)
        seen = self._seen.get(position)
        if seen is None or operand.version is None or seen[:2] != (operand.version, sample):
            digest = sha256(np.ascontiguousarray(array).data).digest()
            seen = self._seen[position] = (operand.version, sample, digest)
        return seen[2]

    def _compile(self, operands: Sequence[Operand]) -> Loaded:
        LOG.info("compiling for %s", "other weights" if self._loaded else "the first forward")
        forms = self._interface.inputs
        params = {forms[p].name: operands[p].array().copy() for p in self._constants}
        for form in forms:
            if form.name in params:
                check_fits(params[form.name], form.name, form.shape, form.dtype)
        inputs = {forms[p].name: type_of(forms[p]) for p in self._data}
        module = import_symbol(self._deferred.graph, params, inputs)
        self._program = compile_program(module, **self._deferred.options)
        return Loaded(self._program.neff, self._interface, list(inputs))


Seen: TypeAlias = tuple[tuple[int, int] | None, bytes, bytes]
"""Version, sample and hash of an array."""
SAMPLED = 128
"""Elements: a copy of so many costs about what finding the array does."""


def sample_of(array: Array) -> bytes:
    """Some elements at equal distances; all, where there are few."""
    return array.reshape(-1)[:: max(1, array.size // SAMPLED)].tobytes()


def weights_of(graph: SymbolGraph) -> set[str]:
    """Variables that an op reads where its weights stand."""
    return {
        graph.nodes[entry.node].name
        for node in graph.nodes
        for entry in weight_entries(node)
        if graph.nodes[entry.node].is_variable
    }


def type_of(form: Form) -> Any:
    """The tensor type of a form."""
    return tensor(form.shape, element_type(form.dtype))


def state_of(attrs: dict[str, str]) -> State:
    """The state of a node with these attributes. Raises ModelImportError for bad ones."""
    interface = Interface.parse(attrs, "subgraph")
    deferred = Deferred.parse(attrs)
    return CompiledState(interface) if deferred is None else DeferredState(interface, deferred)
