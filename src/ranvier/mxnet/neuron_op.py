"""`_neuron_subgraph_op` in MXNet: what the extension library calls, through ctypes.

Callbacks run on MXNet's threads: those of the caller for shapes and types, those of its engine for
computation. An exception becomes a text and a zero; MXNet raises an MXNetError with the text, for
computation when the caller waits for an output.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
from collections.abc import Callable, Sequence
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ranvier.dialects.diagnostics import Code, CodedError
from ranvier.dialects.interfaces import Array
from ranvier.importers.errors import ModelImportError
from ranvier.importers.mxnet.params import DTYPES, type_flag
from ranvier.mxnet.node import Deferred, Interface
from ranvier.mxnet.states import State, state_of

LOG = logging.getLogger("ranvier")

TEXTS, NUMBERS = POINTER(c_char_p), POINTER(c_int64)
INTS, SIZES, ADDRESSES, SHAPES = (
    POINTER(c_int),
    POINTER(c_size_t),
    POINTER(c_void_p),
    POINTER(NUMBERS),
)
ASK = CFUNCTYPE(c_int, c_int, TEXTS, TEXTS, c_int, NUMBERS, c_int)
RUN = CFUNCTYPE(
    c_int, c_int64, c_int, c_int,
    ADDRESSES, SHAPES, INTS, INTS, SIZES,
    ADDRESSES, SHAPES, INTS, INTS,
)  # fmt: skip
DESTROY = CFUNCTYPE(None, c_int64)

UNKNOWN = 2**31
"""Sizes from here on are MXNet's -1, which says that a size is not known."""
UINT8 = type_flag(np.dtype(np.uint8))

_STATES: dict[int, State] = {}
_NUMBERS = count(1)


def live_states() -> list[State]:
    """Of the nodes that are bound, the latest last."""
    return list(_STATES.values())


class Answer:
    """The functions of the library that take what a callback has to say."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.PyDLL(str(path))
        self.library.ranvier_fail.argtypes = [c_char_p]
        self.library.ranvier_answer.argtypes = [NUMBERS, c_int]
        for function in ("ranvier_fail", "ranvier_answer", "ranvier_connect"):
            getattr(self.library, function).restype = None

    def fail(self, error: BaseException) -> int:
        self.library.ranvier_fail(report(error).encode())
        return 0

    def give(self, numbers: Sequence[int]) -> int:
        self.library.ranvier_answer((c_int64 * len(numbers))(*numbers), len(numbers))
        return 1


def report(error: BaseException) -> str:
    """The text of an error for a user, with its code."""
    if isinstance(error, CodedError):
        return error.report()
    LOG.error("internal error in a subgraph of MXNet", exc_info=error)
    return f"{type(error).__name__}: {error} [{Code.INTERNAL.number}]"


def connect(path: Path) -> tuple[Any, ...]:
    """Let a loaded library call Python. The result must live as long as the process."""
    answer = Answer(path)

    def ask(question: int, keys: Any, values: Any, attributes: int, given: Any, size: int) -> int:
        try:
            attrs = {keys[i].decode(): values[i].decode() for i in range(attributes)}
            return answer.give(QUESTIONS[question](attrs, given[:size]))
        except BaseException as error:  # nothing may pass through C
            return answer.fail(error)

    def run(number: int, inputs: int, outputs: int, data: Any, shapes: Any, ranks: Any, types: Any,
            versions: Any, out_data: Any, out_shapes: Any, out_ranks: Any, out_types: Any,
    ) -> int:  # fmt: skip
        try:
            operands = [
                Memory(data[i], types[i], shapes[i], ranks[i], versions[i]) for i in range(inputs)
            ]
            results = _STATES[number].run(operands)
            for i in range(outputs):
                target = view(out_data[i], out_types[i], out_shapes[i][: out_ranks[i]])
                np.copyto(target, results[i], casting="no")
            return 1
        except BaseException as error:
            return answer.fail(error)

    def destroy(number: int) -> None:
        _STATES.pop(number, None)

    callbacks = (ASK(ask), RUN(run), DESTROY(destroy))
    answer.library.ranvier_connect(*callbacks)
    # MXNet's threads outlive the interpreter; they must find nobody to call.
    atexit.register(answer.library.ranvier_connect, None, None, None)
    return (answer, *callbacks)


class Memory:
    """An operand in MXNet's memory."""

    __slots__ = ("_address", "_flag", "_rank", "_sizes", "_version")

    def __init__(self, address: int | None, flag: int, sizes: Any, rank: int, writes: int) -> None:
        self._address, self._flag, self._sizes, self._rank = address, flag, sizes, rank
        self._version = (address or 0, writes)

    @property
    def version(self) -> tuple[int, int]:
        return self._version

    def array(self) -> Array:
        return view(self._address, self._flag, self._sizes[: self._rank])


def view(address: int | None, flag: int, shape: Sequence[int]) -> Array:
    """Memory of MXNet as an array, not copied."""
    dtype = DTYPES[flag]
    size = prod(shape) * dtype.itemsize
    if not size or address is None:
        return np.empty(shape, dtype)
    memory: Any = (ctypes.c_char * size).from_address(address)
    return np.ndarray(shape, dtype, memory)


# -- Questions --------------------------------------------------------------------------------


def counts(attrs: dict[str, str], _: Sequence[int]) -> list[int]:
    """How many inputs and outputs a node has."""
    interface = Interface.parse(attrs, "subgraph")
    return [len(interface.inputs) + ("deferred" not in attrs), len(interface.outputs)]


def shapes(attrs: dict[str, str], given: Sequence[int]) -> list[int]:
    """Shapes of inputs and outputs, each as rank and sizes, for given shapes of inputs."""
    interface = Interface.parse(attrs, "subgraph")
    known = shapes_of(given)
    for form, shape in zip(interface.inputs, known, strict=False):
        if shape and not _fits(shape, form.shape):
            raise ModelImportError(
                Code.INPUT_SHAPE,
                f"input '{form.name}' is compiled for {list(form.shape)}, got {list(shape)}",
            )
    # The size of the NEFF is not in the node: what is unknown stays 0.
    rest = [tuple(0 if size >= UNKNOWN else size for size in s) for s in known]
    answer = [
        *(form.shape for form in interface.inputs),
        *rest[len(interface.inputs) :],
        *(form.shape for form in interface.outputs),
    ]
    return [number for shape in answer for number in (len(shape), *shape)]


def _fits(given: Sequence[int], shape: Sequence[int]) -> bool:
    """Equal but for sizes that MXNet does not know."""
    return len(given) == len(shape) and all(
        size in (0, want) or size >= UNKNOWN for size, want in zip(given, shape, strict=True)
    )


def shapes_of(numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """Shapes from ranks and sizes; an unknown rank gives an empty one."""
    found: list[tuple[int, ...]] = []
    at = 0
    while at < len(numbers):
        rank = max(0, numbers[at])
        found.append(tuple(numbers[at + 1 : at + 1 + rank]))
        at += 1 + rank
    return found


def types(attrs: dict[str, str], given: Sequence[int]) -> list[int]:
    """Element types of inputs and outputs, for given ones of inputs; -1 is unknown."""
    interface = Interface.parse(attrs, "subgraph")
    inputs = [type_flag(form.dtype) for form in interface.inputs]
    for form, flag, want in zip(interface.inputs, given, inputs, strict=False):
        if flag not in (-1, want):
            got = DTYPES[flag] if 0 <= flag < len(DTYPES) else flag
            raise ModelImportError(
                Code.INPUT_TYPE, f"input '{form.name}' is compiled for {form.dtype}, got {got}"
            )
    neff = [] if "deferred" in attrs else [UINT8]
    return [*inputs, *neff, *(type_flag(form.dtype) for form in interface.outputs)]


def mutable(attrs: dict[str, str], _: Sequence[int]) -> list[int]:
    """Positions of inputs that are auxiliary states, which MXNet knows by being written."""
    if (deferred := Deferred.parse(attrs)) is None:
        return []
    total = len(Interface.parse(attrs, "subgraph").inputs)
    return list(range(total - deferred.states, total))


def create(attrs: dict[str, str], _: Sequence[int]) -> list[int]:
    """A new state, by its number."""
    number = next(_NUMBERS)
    _STATES[number] = state_of(attrs)
    return [number]


QUESTIONS: tuple[Callable[[dict[str, str], Sequence[int]], list[int]], ...] = (
    counts,
    shapes,
    types,
    mutable,
    create,
)
"""In the order of the library's."""
