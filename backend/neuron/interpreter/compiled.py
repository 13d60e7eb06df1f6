"""Instructions bound to compiled kernels, where the kernels take their operands.

They take f32 and bf16, and copies of any type. An instruction that may read what it has already
written stays with NumPy, which reads all of its inputs first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TypeAlias

import numpy as np

from ranvier.backend.neuron.interpreter.core import CoreState, Issue
from ranvier.backend.neuron.interpreter.dve import constant
from ranvier.backend.neuron.interpreter.kernels import (
    DIMS,
    FIRST,
    OPS,
    TURNS,
    TYPES,
    WINDOW,
    Combination,
    Dims,
    Kernels,
    Matrix,
    Places,
    Product,
    Turns,
)
from ranvier.backend.neuron.interpreter.kernels import View as KernelView
from ranvier.backend.neuron.interpreter.layout import Layout, align, joined, shape_of, strides_of
from ranvier.backend.neuron.interpreter.pe import Sums
from ranvier.backend.neuron.interpreter.values import Elementwise, disown
from ranvier.backend.neuron.program import Instruction, Operand
from ranvier.dialects import nc
from ranvier.dialects.nc.types import Space

Address: TypeAlias = Callable[[], int]
Binder: TypeAlias = Callable[[CoreState, Kernels, Instruction], Issue | None]

_THREADED_MACS = 1 << 18
_THREADED_ELEMENTS = 1 << 14
"""Work that is worth a second thread: some ten microseconds."""


def bind_product(
    state: CoreState,
    kernels: Kernels,
    instruction: Instruction,
    trips: Sequence[int] = (),
    depth: int = 0,
) -> Issue | None:
    """`dst (+)= stationary^T . moving`, over the turns of a nest that opens at `depth`."""
    roles = ("dst", "stationary", "moving")
    operands = [instruction.operands[role] for role in roles]
    matrices = [_matrix(state, operand, trips, depth) for operand in operands]
    dst, stationary, moving = matrices
    if dst is None or stationary is None or moving is None:
        return None
    source, columns = instruction.operands["moving"].access, operands[1].access.free_size
    turns = [*[1] * (TURNS - len(trips)), *trips]
    shape = Product(
        stationary, moving, dst, Turns(*turns), source.partitions, columns, source.free_size
    )
    macs = source.size * columns * prod(trips)
    threads = state.threads if macs >= _THREADED_MACS else 1
    to, left, right = (_address(state, operand) for operand in operands)
    sums = Sums(state, operands[0], f"core {state.index}: nc.matmul")
    first_at: tuple[int, ...] | None = instruction.fields.get("first_at")
    outer = [turn for turn in first_at or () if not depth <= turn < depth + len(trips)]
    run, where, current = kernels.product, ctypes.byref(shape), state.turns

    def issue() -> None:
        goes_on = first_at is None or any(current[turn] for turn in outer)
        if goes_on:
            sums.go_on()
        run(where, to(), left(), right(), goes_on, threads)
        if not goes_on:
            sums.begin()

    return issue


def bind_transpose(state: CoreState, kernels: Kernels, instruction: Instruction) -> Issue | None:
    """`dst = src^T`, as a product with the identity in f32, which keeps every number."""
    operands = [instruction.operands[role] for role in ("dst", "src")]
    dst, stationary = (_matrix(state, operand, (), 0) for operand in operands)
    if dst is None or stationary is None:
        return None
    rows, columns = operands[1].access.partitions, operands[1].access.free_size
    identity = np.eye(rows, dtype=np.float32)
    strides, counts = Turns(0, 0, 0, identity.itemsize), Turns(1, 1, 1, rows)
    moving = Matrix(identity.strides[0], Turns(), strides, counts, TYPES["float32"])
    shape = Product(stationary, moving, dst, Turns(1, 1, 1, 1), rows, columns, rows)
    to, source = (_address(state, operand) for operand in operands)
    sums = Sums(state, operands[0], f"core {state.index}: nc.transpose")
    run, where, other = kernels.product, ctypes.byref(shape), identity.ctypes

    def issue() -> None:
        run(where, to(), source(), other.data, False, 1)
        sums.begin()

    return issue


def _matrix(state: CoreState, operand: Operand, trips: Sequence[int], depth: int) -> Matrix | None:
    """Where an operand of a product lies; None if its elements are no f32 or bf16."""
    if (kind := TYPES.get(operand.dtype.name)) is None:
        return None
    row, *free = state.layout(operand)
    (dims,) = joined([tuple(free)])
    steps = operand.access.steps[depth : depth + len(trips)]
    padding = [0] * (TURNS - len(dims))
    return Matrix(
        row[0],
        Turns(*[0] * (TURNS - len(trips)), *(step * operand.dtype.itemsize for step in steps)),
        Turns(*padding, *(stride for stride, _ in dims)),
        Turns(*(1 for _ in padding), *(count for _, count in dims)),
        kind,
    )


@dataclass(frozen=True)
class _Work:
    """`dst = max(first op second, 0 if rectify)`, or the bits of `first`, in one shape."""

    operands: tuple[Operand, ...]
    """The destination, then one or two sources."""
    layouts: tuple[Layout, ...]
    op: int = FIRST
    rectify: bool = False
    bits: bool = False
    window: tuple[int, ...] = ()
    """Bytes from an element of the first source to those that `op` folds into one result."""


def bind_activation(state: CoreState, kernels: Kernels, instruction: Instruction) -> Issue | None:
    """Copies and rectified values, with a bias or without."""
    fields, operands = instruction.fields, instruction.operands
    if fields["func"] not in ("copy", "relu") or fields["scale"] != 1:
        return None
    if not set(operands) <= {"dst", "src", "bias"}:
        return None
    op = OPS["add"] if "bias" in operands else FIRST
    rectify = fields["func"] == "relu"
    return _bind_on_chip(state, kernels, instruction, ("src", "bias"), op, rectify)


def bind_tensor_tensor(
    state: CoreState, kernels: Kernels, instruction: Instruction
) -> Issue | None:
    """`dst = lhs op rhs`"""
    if (op := OPS.get(instruction.fields["op"])) is None:
        return None
    return _bind_on_chip(state, kernels, instruction, ("lhs", "rhs"), op)


def bind_copy(state: CoreState, kernels: Kernels, instruction: Instruction) -> Issue | None:
    """`dst = src`: bits between equal types, else through f32."""
    return _bind_on_chip(state, kernels, instruction, ("src",), FIRST, bits=_alike(instruction))


def bind_memset(state: CoreState, kernels: Kernels, instruction: Instruction) -> Issue | None:
    """`dst = value`, as copies of one element."""
    dst = instruction.operands["dst"]
    value = constant(instruction)
    (layout,) = joined([state.layout(dst)])
    if len(layout) > DIMS:
        return None
    views = [KernelView(Dims(*strides), value.itemsize) for strides in (strides_of(layout), ())]
    shape = Combination(len(layout), Dims(*shape_of(layout)), *views, KernelView())
    to, where, source, copy = _address(state, dst), ctypes.byref(shape), value.ctypes, kernels.copy
    threads = state.threads if dst.access.size >= _THREADED_ELEMENTS else 1
    return _noted(state, dst, lambda: copy(where, to(), source.data, threads))


def bind_dma(state: CoreState, kernels: Kernels, instruction: Instruction) -> Issue | None:
    """Elements of `src` in order to the elements of `dst` in order."""
    operands = (instruction.operands["dst"], instruction.operands["src"])
    if (layouts := align(*(state.layout(operand) for operand in operands))) is None:
        return None
    work = _Work(operands, tuple(layouts), bits=_alike(instruction))
    return _bind_work(state, kernels, work)


def bind_reduce(state: CoreState, kernels: Kernels, instruction: Instruction) -> Issue | None:
    """Reduce the innermost dimensions of `src`, a small window."""
    dst, source = instruction.operands["dst"], instruction.operands["src"]
    axes: int = instruction.fields["axes"]
    layout = state.layout(source)
    op, inner = OPS.get(instruction.fields["op"]), layout[-axes:]
    small = prod(shape_of(inner)) <= WINDOW
    layouts = align(state.layout(dst), layout[:-axes])
    if op is None or not small or instruction.fields.get("negate", False) or layouts is None:
        return None
    places = product(*([stride * i for i in range(count)] for stride, count in inner))
    window = tuple(sum(place) for place in places)
    work = _Work((dst, source), tuple(layouts), op, window=window)
    return _noted(state, dst, _bind_work(state, kernels, work))


def _alike(instruction: Instruction) -> bool:
    return instruction.operands["src"].dtype == instruction.operands["dst"].dtype


def _bind_on_chip(
    state: CoreState,
    kernels: Kernels,
    instruction: Instruction,
    sources: Sequence[str],
    op: int,
    rectify: bool = False,
    bits: bool = False,
) -> Issue | None:
    """A source may be one element per partition, and the destination words of PSUM."""
    both = Elementwise(state, dict(instruction.operands))
    if not both.nested:
        return None
    roles = [role for role in ("dst", *sources) if role in both.operands]
    operands = tuple(both.operands[role] for role in roles)
    layouts = tuple(both.layouts[role] for role in roles)
    work = _Work(operands, layouts, op, rectify, bits)
    return _noted(state, operands[0], _bind_work(state, kernels, work))


def _noted(state: CoreState, dst: Operand, issue: Issue | None) -> Issue | None:
    """The issue, followed by the note that another engine than the PE wrote to PSUM."""
    if issue is None or (note := disown(state, dst)) is None:
        return issue

    def noted() -> None:
        issue()
        note()

    return noted


def _bind_work(state: CoreState, kernels: Kernels, work: _Work) -> Issue | None:
    if (shape := _combination(work)) is None:
        return None
    dst, *sources = work.operands
    where = ctypes.byref(shape)
    threads = state.threads if dst.access.size >= _THREADED_ELEMENTS else 1
    to, first, *others = (_address(state, operand) for operand in work.operands)
    run = kernels.combine
    if work.bits:
        return lambda: kernels.copy(where, to(), first(), threads)
    if len(sources) == 1:
        return lambda: run(where, to(), first(), None, threads)
    (second,) = others
    return lambda: run(where, to(), first(), second(), threads)


def _combination(work: _Work) -> Combination | None:
    """The kernel's view of the work; None where the kernels do not do it."""
    dst, *sources = work.operands
    to, *layouts = work.layouts
    if len(to) > DIMS or not all(
        is_separate(dst, source, to == layout)
        for source, layout in zip(sources, layouts, strict=True)
    ):
        return None
    if work.bits:
        kinds = [operand.dtype.itemsize for operand in work.operands]
    elif all(operand.dtype.name in TYPES for operand in work.operands):
        kinds = [TYPES[operand.dtype.name] for operand in work.operands]
    else:
        return None
    views = [
        KernelView(Dims(*(stride for stride, _ in layout)), kind)
        for layout, kind in zip(work.layouts, kinds, strict=True)
    ]
    if len(views) == 2:
        views.append(KernelView())
    counts, places = Dims(*(count for _, count in to)), Places(*work.window)
    return Combination(len(to), counts, *views, work.op, work.rectify, len(work.window), places)


def is_separate(dst: Operand, source: Operand, alike: bool) -> bool:
    """Whether no element of `source` is written before it is read.

    That is so in other memory, in other bytes, and in the same place if both walk alike.
    """
    if (dst.space, dst.memory) != (source.space, source.memory):
        return True
    if dst.access.steps != source.access.steps:
        return False
    if alike and dst.access.partition == source.access.partition and _start(dst) == _start(source):
        return True
    ours, theirs = (_partitions(o) for o in (dst, source))
    if dst.space != Space.DRAM and (ours[1] <= theirs[0] or theirs[1] <= ours[0]):
        return True
    ours, theirs = (_extent(o) for o in (dst, source))
    return ours[1] <= theirs[0] or theirs[1] <= ours[0]


def _start(operand: Operand) -> int:
    return operand.address + operand.access.start * operand.dtype.itemsize


def _partitions(operand: Operand) -> tuple[int, int]:
    return operand.access.partition, operand.access.partition + operand.access.partitions


def _extent(operand: Operand) -> tuple[int, int]:
    """First byte in a partition or in DRAM, and the byte behind the last, in the first turn."""
    low, high = operand.access.extent([1] * len(operand.access.steps))
    size = operand.dtype.itemsize
    return operand.address + low * size, operand.address + (high + 1) * size


def _address(state: CoreState, operand: Operand) -> Address:
    """A function that gives the address of the operand's first element in the current turns."""
    access, size = operand.access, operand.dtype.itemsize
    moves = [(depth, step * size) for depth, step in enumerate(access.steps) if step]
    start = _start(operand)
    if operand.space == Space.DRAM:
        places, number, moved = (
            state.dram_addresses,
            operand.memory,
            _moved(state.turns, start, moves),
        )
        return lambda: places[number] + moved()
    memory = state.memory(operand.space)
    start += memory.ctypes.data + access.partition * memory.strides[0]
    return _moved(state.turns, start, moves)


def _moved(turns: list[int], start: int, moves: Sequence[tuple[int, int]]) -> Address:
    """A function that gives `start`, moved by the current turns; short where there are few."""
    if not moves:
        return lambda: start
    if len(moves) == 1:
        ((depth, move),) = moves
        return lambda: start + move * turns[depth]
    if len(moves) == 2:
        (outer, far), (inner, near) = moves
        return lambda: start + far * turns[outer] + near * turns[inner]
    return lambda: start + sum(turns[depth] * move for depth, move in moves)


BINDERS: dict[type[nc.InstructionOp], Binder] = {
    nc.MatmulOp: bind_product,
    nc.TransposeOp: bind_transpose,
    nc.ActivationOp: bind_activation,
    nc.TensorTensorOp: bind_tensor_tensor,
    nc.ReduceOp: bind_reduce,
    nc.CopyOp: bind_copy,
    nc.MemsetOp: bind_memset,
    nc.DmaOp: bind_dma,
}


def bind_compiled(state: CoreState, instruction: Instruction) -> Issue | None:
    """The instruction as a call of a compiled kernel; None where NumPy runs it."""
    if state.kernels is None or (binder := BINDERS.get(instruction.op)) is None:
        return None
    return binder(state, state.kernels, instruction)
