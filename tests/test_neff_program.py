"""`program.bin`: what is encoded comes back, and no bytes do more than raise a typed error."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import Array
from samples.records import Bench, element_of, whole

from ranvier.backend.neuron.interpreter.faults import MachineFault
from ranvier.backend.neuron.interpreter.machine import Budget, Machine
from ranvier.backend.neuron.limits import INF2
from ranvier.backend.neuron.neff.decode import decode_program
from ranvier.backend.neuron.neff.encode import encode_program
from ranvier.backend.neuron.neff.errors import NeffError, NeffProgramError, NeffVersionError
from ranvier.backend.neuron.program import (
    CoreProgram,
    Instruction,
    Loop,
    Operand,
    Program,
    Record,
    TensorRecord,
    issues,
)
from ranvier.dialects.diagnostics import CallerError
from ranvier.dialects.nc import INSTRUCTIONS, Access, Wait
from ranvier.dialects.nc.sync import STREAMS
from ranvier.dialects.nc.types import ELEMENTS, Space

INTS = st.integers(-(2**40), 2**40)
COUNTS = st.integers(0, 2**40)
ELEMENT = st.sampled_from([element for element, _ in ELEMENTS.values()])
NAMES = st.text(max_size=12)


@st.composite
def operands(draw: st.DrawFn, depth: int) -> Operand:
    dims = draw(st.lists(st.tuples(INTS, COUNTS), max_size=5))
    steps = tuple(draw(INTS) for _ in range(depth))
    access = Access(draw(COUNTS), draw(COUNTS), draw(INTS), steps, tuple(dims))
    space = draw(st.sampled_from(Space))
    return Operand(space, draw(st.integers(-1, 9)), draw(COUNTS), draw(ELEMENT), access)


@st.composite
def instructions(draw: st.DrawFn, depth: int) -> Instruction:
    op = draw(st.sampled_from(list(INSTRUCTIONS.values())))
    roles = [role for role in op.roles() if draw(st.booleans())]
    value = st.one_of(
        INTS,
        st.floats(allow_nan=False),
        st.booleans(),
        NAMES,
        st.lists(INTS, max_size=4).map(tuple),
    )
    fields = draw(st.dictionaries(NAMES, value, max_size=4))
    waits = tuple(
        Wait(draw(st.sampled_from(STREAMS)), draw(INTS), tuple(draw(INTS) for _ in range(depth)))
        for _ in range(draw(st.integers(0, 2)))
    )
    return Instruction(op, {role: draw(operands(depth)) for role in roles}, fields, waits)


@st.composite
def bodies(draw: st.DrawFn, depth: int = 0) -> tuple[Record, ...]:
    records: list[Record] = []
    for _ in range(draw(st.integers(0, 3))):
        if depth < 4 and draw(st.booleans()):
            records.append(Loop(draw(st.integers(0, 2**30)), draw(bodies(depth + 1))))
        else:
            records.append(draw(instructions(depth)))
    return tuple(records)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    source = st.one_of(COUNTS, NAMES)
    tensor = st.builds(TensorRecord, NAMES, source, ELEMENT, COUNTS)
    core = st.builds(CoreProgram, st.lists(tensor, max_size=3).map(tuple), COUNTS, bodies())
    cores = draw(st.lists(core, max_size=3))
    return Program(draw(NAMES), tuple(cores))


@given(programs())
@settings(max_examples=60, deadline=None)
def test_programs_survive_encoding(program: Program) -> None:
    data = encode_program(program)
    assert decode_program(data) == program
    assert encode_program(decode_program(data)) == data


def sample() -> tuple[Program, Array]:
    """A small program with a loop that copies a tensor through SBUF."""
    from ranvier.dialects.nc import CopyOp

    array = np.arange(512, dtype=np.float32).reshape(8, 64)
    bench = Bench()
    source, _ = bench.place(array, Space.SBUF)
    target = bench.in_sbuf(array)
    element = element_of(array)
    column = Access(0, 8, 0, (16,), ((1, 16),))
    copy = Instruction(
        CopyOp,
        {
            "dst": Operand(Space.SBUF, 0, target, element, column),
            "src": Operand(Space.SBUF, 0, source, element, column),
        },
        {},
        (Wait("q0", 1, (0,)),),
    )
    bench.store(array, Space.SBUF, target)
    assert whole(array).size == 512
    return bench.program(Loop(4, (copy,))), array


def outcome(data: bytes, array: Array) -> bytes | None:
    """The result of a program file; None if it is refused with a typed error."""
    try:
        machine = Machine(decode_program(data), INF2, budget=Budget(10_000, 5.0, 1 << 24))
        (result, *_) = [*machine.run([array], lambda name: array), np.empty(0)]
    except (NeffError, MachineFault, CallerError):
        return None
    return result.tobytes()


def test_every_changed_byte_is_refused_or_harmless() -> None:
    program, array = sample()
    data = encode_program(program)
    assert outcome(data, array) == array.tobytes()
    generator = random.Random(1)
    for position in range(len(data)):
        for value in (0, 255, generator.randrange(256)):
            outcome(data[:position] + bytes([value]) + data[position + 1 :], array)


def test_every_truncation_is_refused() -> None:
    data = encode_program(sample()[0])
    for end in range(len(data)):
        with pytest.raises(NeffProgramError):
            decode_program(data[:end])
    with pytest.raises(NeffProgramError):
        decode_program(data + b"\0")


def test_another_major_version_is_refused_as_such() -> None:
    data = encode_program(sample()[0])
    with pytest.raises(NeffVersionError, match=r"supported: 1\.x received: 2\.0"):
        decode_program(data[:8] + b"\2" + data[9:])


def test_loops_stay_loops() -> None:
    program, _ = sample()
    (core,) = decode_program(encode_program(program)).cores
    assert sum(isinstance(record, Loop) for record in core.body) == 1
    assert [turns for _, turns in issues(core.body) if turns] == [(0,), (1,), (2,), (3,)]
