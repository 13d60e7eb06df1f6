"""Buffers that are alive together never overlap, and none leaves its memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import bf16, f32

from ranvier.backend.neuron.allocate import CapacityError, Lifetime, allocate, lifetimes_of, place
from ranvier.backend.neuron.limits import INF2
from ranvier.dialects import nc
from ranvier.dialects.nc.types import PSUM_BANK_BYTES, Space

SMALL = replace(INF2, sbuf_bytes=4096)

spans = st.tuples(st.integers(0, 60), st.integers(0, 12), st.integers(1, 500))


def lifetimes(drawn: list[tuple[int, int, int]], kind: type[nc.types.BufferType]) -> list[Lifetime]:
    found: list[Lifetime] = []
    for start, length, width in drawn:
        shape = (width,) if kind is nc.DramType else (128, width)
        found.append(Lifetime(nc.AllocOp(kind.of(shape, f32)), start, start + length))
    return sorted(found, key=lambda lifetime: lifetime.start)


def address(lifetime: Lifetime) -> int:
    assert lifetime.op.address is not None
    return lifetime.op.address.value.data


def overlap(one: Lifetime, other: Lifetime) -> bool:
    alive = one.start <= other.end and other.start <= one.end
    a, b = address(one), address(other)
    return alive and a < b + other.op.type.row_bytes and b < a + one.op.type.row_bytes


@pytest.mark.parametrize("kind", [nc.SbufType, nc.DramType])
@given(drawn=st.lists(spans, max_size=40))
def test_live_buffers_never_overlap(
    drawn: list[tuple[int, int, int]], kind: type[nc.types.BufferType]
) -> None:
    found = lifetimes(drawn, kind)
    try:
        place(found, SMALL)
    except CapacityError:
        assert kind is nc.SbufType
        assert most_alive(found) > SMALL.sbuf_bytes // 2, "half the memory was enough"
        return
    assert not any(overlap(one, other) for one, other in combinations(found, 2))
    if kind is nc.SbufType:
        assert all(address(f) + f.op.type.row_bytes <= SMALL.sbuf_bytes for f in found)


def most_alive(found: list[Lifetime]) -> int:
    """The most aligned bytes that are alive at one position."""
    return max(sum(f.bytes for f in found if f.start <= at <= f.end) for at in range(80))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3), st.integers(1, 500)), max_size=30))
def test_every_psum_buffer_has_a_bank_of_its_own(drawn: list[tuple[int, int, int]]) -> None:
    found = lifetimes(drawn, nc.PsumType)
    try:
        place(found, INF2)
    except CapacityError:
        return
    assert all(address(f) % PSUM_BANK_BYTES == 0 for f in found)
    assert not any(overlap(one, other) for one, other in combinations(found, 2))


def test_a_buffer_made_before_a_loop_lives_through_it() -> None:
    """Its last use in text may be early in the body, and comes again in the next turn."""
    core = nc.CoreOp(0)
    outer = nc.AllocOp(nc.SbufType.of((128, 8), bf16))
    loop = nc.LoopOp(3)
    inner = nc.AllocOp(nc.SbufType.of((128, 8), bf16))
    whole = nc.Access(0, 128, 0, (), ((1, 8),))
    turn = replace(whole, steps=(0,))
    core.body.block.add_ops(
        [outer, nc.MemsetOp.make({"dst": (outer.buffer, whole)}, value=0.0), loop]
    )
    copy = nc.CopyOp.make({"dst": (inner.buffer, turn), "src": (outer.buffer, turn)})
    again = nc.MemsetOp.make({"dst": (inner.buffer, turn)}, value=1.0)
    loop.body.block.add_ops([inner, copy, again])
    program = nc.ProgramOp("seg0", "inf2", [core])
    program.verify()
    allocate(program)
    first, second = lifetimes_of(core)[Space.SBUF]
    assert first.end >= second.end
    assert not overlap(first, second)
