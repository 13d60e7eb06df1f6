"""The vector engine, and the pool engine where it runs the same instructions.

Arithmetic is in f32; int32 operands above 2**24 lose bits in it, as on the hardware. The pool
engine adds, subtracts and multiplies int32 as integers. Operations on bits and copies between equal
types keep every bit. Comparisons and logic give 1 or 0. `mod` takes the divisor's sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import TypeAlias

import numpy as np

from ranvier.backend.neuron.interpreter.core import F32, CoreState, Fetch, Issue
from ranvier.backend.neuron.interpreter.layout import Layout, align, joined, shape_of
from ranvier.backend.neuron.interpreter.values import (
    OUT,
    Elementwise,
    disown,
    put,
    read_f32,
)
from ranvier.backend.neuron.program import Instruction, Operand
from ranvier.dialects.interfaces import Array
from ranvier.dialects.nc.dve import is_native_integer
from ranvier.dialects.nc.instruction import View

ALU: dict[str, np.ufunc] = {
    "add": np.add,
    "subtract": np.subtract,
    "mult": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "is_equal": np.equal,
    "not_equal": np.not_equal,
    "is_lt": np.less,
    "is_le": np.less_equal,
    "is_gt": np.greater,
    "is_ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "pow": np.power,
    "mod": np.mod,
}
BITS: dict[str, np.ufunc] = {
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "logical_shift_left": np.left_shift,
    "logical_shift_right": np.right_shift,
}
REDUCE: dict[str, np.ufunc] = {
    "add": np.add,
    "max": np.maximum,
    "min": np.minimum,
    "mult": np.multiply,
}
WINDOW = 64
"""Reductions of at most so many elements run element by element of the window, over all windows."""

Step: TypeAlias = Callable[[Array, Array], None]
"""Writes a function of its first argument into its second."""


def finished(state: CoreState, instruction: Instruction, issue: Issue) -> Issue:
    """The issue, followed by the note that PSUM was written."""
    if (note := disown(state, instruction.operands["dst"])) is None:
        return issue

    def noted() -> None:
        issue()
        note()

    return noted


def bind_tensor_tensor(state: CoreState, instruction: Instruction) -> Issue:
    """`dst = lhs op rhs`"""
    both = Elementwise(state, dict(instruction.operands))
    op = instruction.fields["op"]
    views = {role: View(o.space, o.element, o.access) for role, o in both.operands.items()}
    if op in BITS:
        first, second, target = (_bits(state, both, role) for role in ("lhs", "rhs", "dst"))
        return finished(state, instruction, _typed(BITS[op], first, second, target))
    if is_native_integer(instruction.engine, views):
        first, second = (_same_type(state, both, role) for role in ("lhs", "rhs"))
        return finished(state, instruction, _typed(ALU[op], first, second, both.dst))
    lhs, rhs = both.read("lhs", 0), both.read("rhs", 1)
    alu = ALU[op]

    def issue() -> None:
        target = both.target()
        alu(lhs(), rhs(), out=target)
        both.store(target)

    return finished(state, instruction, issue)


def _typed(ufunc: np.ufunc, lhs: Fetch, rhs: Fetch, dst: Fetch) -> Issue:
    """`dst = ufunc(lhs, rhs)` in the operands' own type."""

    def issue() -> None:
        ufunc(lhs(), rhs(), out=dst())

    return issue


def _bits(state: CoreState, both: Elementwise, role: str) -> Fetch:
    """An operand as unsigned numbers of its width, so that shifts bring in zeros."""
    fetch = both.dst if role == "dst" else _same_type(state, both, role)
    unsigned = np.dtype(f"u{both.operands[role].dtype.itemsize}")
    return lambda: fetch().view(unsigned)


def _bind_bits(state: CoreState, instruction: Instruction) -> Issue:
    """The tensor-scalar form on bit patterns."""
    both = Elementwise(state, dict(instruction.operands))
    source, target = (_bits(state, both, role) for role in ("src", "dst"))
    steps = [
        (
            BITS[instruction.fields[f"op{number}"]],
            _pattern(state, both, instruction, number),
            bool(instruction.fields.get(f"reverse{number}", False)),
        )
        for number in ("0", "1")
        if f"op{number}" in instruction.fields
    ]

    def issue() -> None:
        values = source()
        for ufunc, amount, reverse in steps:
            values = ufunc(amount(), values) if reverse else ufunc(values, amount())
        np.copyto(target(), values)

    return finished(state, instruction, issue)


def _pattern(state: CoreState, both: Elementwise, instruction: Instruction, number: str) -> Fetch:
    """The second operand of a step on bits: a buffer's, or a number's low bits."""
    if (role := f"operand{number}") in instruction.operands:
        return _bits(state, both, role)
    unsigned = np.dtype(f"u{both.operands['dst'].dtype.itemsize}")
    constant = np.asarray(int(instruction.fields[f"scalar{number}"]), np.int64).astype(unsigned)
    return lambda: constant


def bind_tensor_scalar(state: CoreState, instruction: Instruction) -> Issue:
    """`dst = (src op0 a) op1 b`"""
    if instruction.fields["op0"] in BITS:
        return _bind_bits(state, instruction)
    both = Elementwise(state, dict(instruction.operands))
    source = both.read("src", 0)
    first = _step(both, instruction, 0)
    second = _step(both, instruction, 1) if "op1" in instruction.fields else None

    def issue() -> None:
        target = both.target()
        first(source(), target)
        if second is not None:
            second(target, target)
        both.store(target)

    return finished(state, instruction, issue)


def bind_scalar_tensor_tensor(state: CoreState, instruction: Instruction) -> Issue:
    """`dst = (src op0 a) op1 other`"""
    both = Elementwise(state, dict(instruction.operands))
    source, other = both.read("src", 0), both.read("other", 2)
    first, alu = _step(both, instruction, 0), ALU[instruction.fields["op1"]]
    out = both.out

    def issue() -> None:
        # Never in place: `other` may be the destination.
        first(source(), out)
        target = both.target()
        alu(out, other(), out=target)
        both.store(target)

    return finished(state, instruction, issue)


def _step(both: Elementwise, instruction: Instruction, number: int) -> Step:
    """One operation with a number, or with one element per partition."""
    fields = instruction.fields
    alu = ALU[fields[f"op{number}"]]
    reverse = fields.get(f"reverse{number}", False)
    if (role := f"operand{number}") in instruction.operands:
        scalar: Fetch = both.read(role, 1 + number)
    else:
        constant = np.asarray(fields[f"scalar{number}"], np.float32)

        def scalar() -> Array:
            return constant

    def step(values: Array, out: Array) -> None:
        if reverse:
            alu(scalar(), values, out=out)
        else:
            alu(values, scalar(), out=out)

    return step


def bind_copy(state: CoreState, instruction: Instruction) -> Issue:
    """`dst = src`: bits between equal types, else through f32."""
    both = Elementwise(state, dict(instruction.operands))
    if instruction.operands["src"].dtype == instruction.operands["dst"].dtype:
        source = _same_type(state, both, "src")
        return finished(state, instruction, lambda: np.copyto(both.dst(), source()))
    values = both.read("src", 0)
    return finished(state, instruction, lambda: put(both.dst(), values()))


def _same_type(state: CoreState, both: Elementwise, role: str) -> Fetch:
    """A function that gives an operand in its own type and the shape of the destination."""
    fetch = state.fetch(both.operands[role], both.layouts[role])
    return fetch if both.nested else lambda: fetch().reshape(both.shape)


def bind_memset(state: CoreState, instruction: Instruction) -> Issue:
    """`dst = value`"""
    both = Elementwise(state, dict(instruction.operands))
    value = constant(instruction)
    return finished(state, instruction, lambda: np.copyto(both.dst(), value))


def constant(instruction: Instruction) -> Array:
    """What a memset writes, in the type of its destination."""
    value = np.zeros((), instruction.operands["dst"].dtype)
    with np.errstate(over="ignore"):  # a number beyond a narrow float is its infinity
        put(value, np.asarray(instruction.fields["value"], np.float32))
    return value


def bind_reciprocal(state: CoreState, instruction: Instruction) -> Issue:
    """`dst = 1 / src`, correctly rounded to f32."""
    both = Elementwise(state, dict(instruction.operands))
    source = both.read("src", 0)

    def issue() -> None:
        target = both.target()
        np.reciprocal(source(), out=target)
        both.store(target)

    return finished(state, instruction, issue)


def bind_copy_predicated(state: CoreState, instruction: Instruction) -> Issue:
    """`dst = src` where `predicate` is not 0."""
    operands = instruction.operands
    both = Elementwise(state, dict(operands))
    predicate = _same_type(state, both, "predicate")
    same = operands["src"].dtype == operands["dst"].dtype
    source = _same_type(state, both, "src") if same else both.read("src", 0)
    cast = np.empty(both.shape, operands["dst"].dtype)

    def issue() -> None:
        values = source()
        if not same:
            put(cast, values)
            values = cast
        np.copyto(both.dst(), values, where=predicate() != 0)

    return finished(state, instruction, issue)


def bind_reduce(state: CoreState, instruction: Instruction) -> Issue:
    """Reduce the innermost dimensions of `src`, and negate where asked."""
    source, dst = instruction.operands["src"], instruction.operands["dst"]
    layout = state.layout(source)
    axes: int = instruction.fields["axes"]
    kept, window = joined([layout[:-axes]])[0], joined([layout[-axes:]])[0]
    aligned = align(kept, state.layout(dst))
    kept, target = aligned if aligned is not None else (kept, state.layout(dst))
    ufunc = REDUCE[instruction.fields["op"]]
    shape = shape_of(kept)
    out = state.workspace(OUT, shape)
    if prod(shape_of(window)) <= WINDOW:
        reduce = _reduce_by_element(state, source, kept, window, ufunc, out)
    else:
        read = read_f32(state, source, (*kept, *window), 0)
        along = tuple(range(len(kept), len(kept) + len(window)))

        def reduce() -> None:
            ufunc.reduce(read(), axis=along, out=out)

    fetch = state.fetch(dst, target)
    negate: bool = instruction.fields.get("negate", False)

    def issue() -> None:
        reduce()
        if negate:
            np.negative(out, out=out)
        put(fetch(), out.reshape(shape_of(target)))

    return finished(state, instruction, issue)


def _reduce_by_element(
    state: CoreState, source: Operand, kept: Layout, window: Layout, ufunc: np.ufunc, out: Array
) -> Callable[[], None]:
    """Long loops over the windows instead of short ones inside each."""
    fetch = state.fetch(source, (*kept, *window))
    places = list(product(*(range(count) for count in shape_of(window))))
    narrow = source.dtype != F32
    copy = state.workspace(0, shape_of(kept))

    def parts(view: Array) -> Iterator[Array]:
        for place in places:
            part = view[(..., *place)]
            if narrow:
                np.copyto(copy, part, casting="unsafe")
                part = copy
            yield part

    def reduce() -> None:
        every = parts(fetch())
        np.copyto(out, next(every))
        for part in every:
            ufunc(out, part, out=out)

    return reduce
