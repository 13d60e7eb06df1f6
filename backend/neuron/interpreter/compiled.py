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

from ranvier.backend.neuron.interpreter.addresses import Address, address_of, is_separate
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

Binder: TypeAlias = Callable[[CoreState, Kernels, Instruction], Issue | None]

_THREADED_MACS = 1 << 18
_THREADED_ELEMENTS = 1 << 14
"""Work that is worth a second thread: some ten microseconds."""
_VIEWS = 4
"""Of a combination: the destination and three sources."""


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
    to, left, right = (address_of(state, operand) for operand in operands)
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
    to, source = (address_of(state, operand) for operand in operands)
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


Source: TypeAlias = "Operand | float"
"""Elements, or one number for all."""


@dataclass(frozen=True)
class _Work:
    """`dst = (first op second) then third`, in one shape, or the bits of `first`."""

    dst: Operand
    sources: tuple[Source, ...]
    layouts: tuple[Layout, ...]
    """Of the destination and the sources; a number has none."""
    ops: tuple[int, ...] = ()
    bits: bool = False
    window: tuple[int, ...] = ()
    """Bytes from an element of the first source to those that the op folds into one result."""


def bind_activation(state: CoreState, kernels: Kernels, instruction: Instruction) -> Issue | None:
    """Copies and rectified values, with a bias or without."""
    fields, operands = instruction.fields, instruction.operands
    if fields["func"] not in ("copy", "relu") or fields["scale"] != 1:
        return None
    if not set(operands) <= {"dst", "src", "bias"}:
        return None
    steps: list[tuple[str, str | float]] = [("add", "bias")] if "bias" in operands else []
    if fields["func"] == "relu":
        steps.append(("max", 0.0))
    return _bind_on_chip(state, kernels, instruction, "src", steps)


def bind_tensor_tensor(
    state: CoreState, kernels: Kernels, instruction: Instruction
) -> Issue | None:
    """`dst = lhs op rhs`"""
    return _bind_on_chip(state, kernels, instruction, "lhs", [(instruction.fields["op"], "rhs")])


def bind_tensor_scalar(
    state: CoreState, kernels: Kernels, instruction: Instruction
) -> Issue | None:
    """`dst = (src op0 a) op1 b`, where no step swaps its operands."""
    fields = instruction.fields
    if fields.get("reverse0", False) or fields.get("reverse1", False):
        return None
    steps = [_step(instruction, number) for number in (0, 1) if f"op{number}" in fields]
    return _bind_on_chip(state, kernels, instruction, "src", steps)


def bind_scalar_tensor_tensor(
    state: CoreState, kernels: Kernels, instruction: Instruction
) -> Issue | None:
    """`dst = (src op0 a) op1 other`"""
    steps = [_step(instruction, 0), (instruction.fields["op1"], "other")]
    return _bind_on_chip(state, kernels, instruction, "src", steps)


def _step(instruction: Instruction, number: int) -> tuple[str, str | float]:
    """An operation with one element per partition, or with a number."""
    role, fields = f"operand{number}", instruction.fields
    return fields[f"op{number}"], (
        role if role in instruction.operands else float(fields[f"scalar{number}"])
    )


def bind_copy(state: CoreState, kernels: Kernels, instruction: Instruction) -> Issue | None:
    """`dst = src`: bits between equal types, else through f32."""
    return _bind_on_chip(state, kernels, instruction, "src", [], bits=_alike(instruction))


def bind_memset(state: CoreState, kernels: Kernels, instruction: Instruction) -> Issue | None:
    """`dst = value`, as copies of one element."""
    dst = instruction.operands["dst"]
    value = constant(instruction)
    (layout,) = joined([state.layout(dst)])
    if len(layout) > DIMS:
        return None
    views = [KernelView(Dims(*strides), value.itemsize) for strides in (strides_of(layout), ())]
    shape = Combination(len(layout), Dims(*shape_of(layout)), *views)
    to, where, source, copy = (
        address_of(state, dst),
        ctypes.byref(shape),
        value.ctypes,
        kernels.copy,
    )
    threads = state.threads if dst.access.size >= _THREADED_ELEMENTS else 1
    return _noted(state, dst, lambda: copy(where, to(), source.data, threads))


def bind_dma(state: CoreState, kernels: Kernels, instruction: Instruction) -> Issue | None:
    """Elements of `src` in order to the elements of `dst` in order."""
    dst, src = instruction.operands["dst"], instruction.operands["src"]
    if (layouts := align(state.layout(dst), state.layout(src))) is None:
        return None
    work = _Work(dst, (src,), tuple(layouts), bits=_alike(instruction))
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
    work = _Work(dst, (source,), tuple(layouts), (op,), window=window)
    return _noted(state, dst, _bind_work(state, kernels, work))


def _alike(instruction: Instruction) -> bool:
    return instruction.operands["src"].dtype == instruction.operands["dst"].dtype


def _bind_on_chip(
    state: CoreState,
    kernels: Kernels,
    instruction: Instruction,
    first: str,
    steps: Sequence[tuple[str, str | float]],
    bits: bool = False,
) -> Issue | None:
    """From the operand `first` by steps, each with an operand or a number.

    An operand may be one element per partition, and the destination words of PSUM.
    """
    both = Elementwise(state, dict(instruction.operands))
    if not both.nested or not all(op in OPS for op, _ in steps):
        return None
    named = [first, *(other for _, other in steps)]
    work = _Work(
        both.operands["dst"],
        tuple(both.operands[name] if isinstance(name, str) else name for name in named),
        tuple(both.layouts[name] if isinstance(name, str) else () for name in ("dst", *named)),
        tuple(OPS[op] for op, _ in steps),
        bits,
    )
    return _noted(state, work.dst, _bind_work(state, kernels, work))


def _noted(state: CoreState, dst: Operand, issue: Issue | None) -> Issue | None:
    """The issue, followed by the note that another engine than the PE wrote to PSUM."""
    if issue is None or (note := disown(state, dst)) is None:
        return issue

    def noted() -> None:
        issue()
        note()

    return noted


def _bind_work(state: CoreState, kernels: Kernels, work: _Work) -> Issue | None:
    if (shape := _combination(work, state.trips)) is None:
        return None
    where = ctypes.byref(shape)
    threads = state.threads if work.dst.access.size >= _THREADED_ELEMENTS else 1
    to = address_of(state, work.dst)
    first, *others = (_source_address(state, source) for source in work.sources)
    run = kernels.combine
    if work.bits:
        return lambda: kernels.copy(where, to(), first(), threads)
    match others:
        case [second, third]:
            return lambda: run(where, to(), first(), second(), third(), threads)
        case [second]:
            return lambda: run(where, to(), first(), second(), None, threads)
        case _:
            return lambda: run(where, to(), first(), None, None, threads)


def _source_address(state: CoreState, source: Source) -> Address:
    if isinstance(source, Operand):
        return address_of(state, source)
    number = np.full(1, source, np.float32).ctypes
    return lambda: number.data


def _combination(work: _Work, trips: Sequence[int]) -> Combination | None:
    """The kernel's view of the work; None where the kernels do not do it."""
    to, *layouts = work.layouts
    for source, layout in zip(work.sources, layouts, strict=True):
        if isinstance(source, Operand) and not is_separate(work.dst, source, to == layout, trips):
            return None
    kinds = [_kind(part, work.bits) for part in (work.dst, *work.sources)]
    if len(to) > DIMS or None in kinds:
        return None
    views = [
        KernelView(Dims(*strides_of(layout)), kind)
        for layout, kind in zip(work.layouts, kinds, strict=True)
    ]
    views += [KernelView()] * (_VIEWS - len(views))
    ops = (*work.ops, FIRST, FIRST)[:2]
    counts, places = Dims(*shape_of(to)), Places(*work.window)
    return Combination(len(to), counts, *views, *ops, len(work.window), places)


def _kind(part: Source, bits: bool) -> int | None:
    """What a kernel calls an element type; None if it does not know it."""
    if not isinstance(part, Operand):
        return TYPES["float32"]
    return part.dtype.itemsize if bits else TYPES.get(part.dtype.name)


BINDERS: dict[type[nc.InstructionOp], Binder] = {
    nc.MatmulOp: bind_product,
    nc.TransposeOp: bind_transpose,
    nc.ActivationOp: bind_activation,
    nc.TensorTensorOp: bind_tensor_tensor,
    nc.TensorScalarOp: bind_tensor_scalar,
    nc.ScalarTensorTensorOp: bind_scalar_tensor_tensor,
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
