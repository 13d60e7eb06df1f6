"""What the machine refuses: undefined accumulation, races, deadlocks, exhausted budgets."""

from __future__ import annotations

import gc
from weakref import ref

import numpy as np
import pytest
from samples import Array
from samples.records import no_weights
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin
from xdsl.parser import Parser

from ranvier.backend.neuron.interpreter.faults import MachineFault
from ranvier.backend.neuron.interpreter.interleaved import execute_interleaved
from ranvier.backend.neuron.interpreter.machine import Budget, Machine
from ranvier.backend.neuron.limits import INF1, INF2
from ranvier.backend.neuron.neff.encode import program_of
from ranvier.backend.neuron.neff.errors import NeffProgramError
from ranvier.backend.neuron.program import Program
from ranvier.backend.neuron.program_rules import verify_program
from ranvier.backend.neuron.races import check_races
from ranvier.backend.neuron.simulator import simulate
from ranvier.dialects import nc

pytestmark = pytest.mark.usefixtures("each_provider")

SQUARE = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)

HEAD = """
  %x = nc.tensor input 0 : !nc.dram<16384xf32>
  %y = nc.tensor output 0 : !nc.dram<16384xf32>
  %a = nc.alloc at 0 : !nc.sbuf<128x128xf32>
  %b = nc.alloc at 512 : !nc.sbuf<128x128xf32>
  %p = nc.alloc at 0 : !nc.psum<128x128xf32>
"""
LOAD = "nc.dma dst = %a[0:128][0][1:128] src = %x[0][1:16384] {queue = 0 : i64}"
ADD = (
    "nc.matmul dst = %p[0:128][0][1:128] stationary = %a[0:128][0][1:128] "
    "moving = %a[0:128][0][1:128]"
)
EVICT = "nc.copy dst = %b[0:128][0][1:128] src = %p[0:128][0][1:128]"
STORE = "nc.dma dst = %y[0][1:16384] src = %b[0:128][0][1:128] {queue = 1 : i64}"


def program(*lines: str, head: str = HEAD, target: str = "inf2") -> Program:
    """A program of one core from the text of its instructions."""
    return programs(head + "\n".join(lines), target=target)


def programs(*cores: str, target: str = "inf2") -> Program:
    bodies = "".join(f"nc.core {index} {{ {core} }}\n" for index, core in enumerate(cores))
    context = Context()
    context.load_dialect(Builtin)
    context.load_dialect(nc.NC)
    module = Parser(context, f'nc.program @p on "{target}" {{ {bodies} }}').parse_module()
    (op,) = module.body.block.ops
    assert isinstance(op, nc.ProgramOp)
    return program_of(op)


def run(text: Program, *inputs: Array) -> list[Array]:
    return Machine(text, INF2, exact=True).run(inputs or [SQUARE], no_weights)


def test_accumulation_starts_where_first_at_says() -> None:
    start = ADD + " {first_at = array<i64>}"
    (once,) = run(program(LOAD, start, EVICT, STORE))
    (thrice,) = run(program(LOAD, start, ADD, ADD, EVICT, STORE))
    np.testing.assert_allclose(once.reshape(128, 128), SQUARE.T @ SQUARE, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-5)


@pytest.mark.parametrize("exact", [False, True])
def test_a_machine_dies_with_the_last_who_has_it(exact: bool) -> None:
    """Its memories are as large as a chip's, too large to wait for the collector of cycles."""
    looped = ADD.replace("][1:", " + i0*0 + i1*0][1:") + " {first_at = array<i64: 1>}"
    text = program(LOAD, "nc.loop 2 { nc.loop 3 {", looped, "} }", EVICT, STORE)
    machine = Machine(text, INF2, exact=exact)
    machine.run([SQUARE], no_weights)
    alive = ref(machine.states[0].sbuf)
    gc.disable()
    try:
        del machine
        assert alive() is None
    finally:
        gc.enable()


def test_first_at_names_the_loops_whose_first_turn_starts() -> None:
    looped = ADD.replace("][1:", " + i0*0 + i1*0][1:") + " {first_at = array<i64: 1>}"
    (actual,) = run(program(LOAD, "nc.loop 2 { nc.loop 3 {", looped, "} }", EVICT, STORE))
    (once,) = run(program(LOAD, ADD + " {first_at = array<i64>}", EVICT, STORE))
    np.testing.assert_allclose(actual, 3 * once, rtol=1e-5)


def test_adding_to_what_the_pe_did_not_write_is_a_fault() -> None:
    with pytest.raises(MachineFault, match="not the last to write"):
        run(program(LOAD, ADD, EVICT, STORE))
    back = "nc.copy dst = %p[0:32][0][1:1] src = %a[0:32][0][1:1]"
    with pytest.raises(MachineFault, match="not the last to write"):
        run(program(LOAD, ADD + " {first_at = array<i64>}", back, ADD, EVICT, STORE))


def test_unwritten_memory_is_not_a_number() -> None:
    (actual,) = run(program(STORE))
    assert np.isnan(actual).all()


def test_memories_are_forgotten_between_runs() -> None:
    machine = Machine(
        program(LOAD, "nc.copy dst = %b[0:32][0][1:128] src = %a[0:32][0][1:128]", STORE), INF2
    )
    for _ in range(2):
        (actual,) = machine.run([SQUARE], no_weights)
        assert np.isnan(actual.reshape(128, 128)[32:]).all()
        np.testing.assert_array_equal(actual.reshape(128, 128)[:32], SQUARE[:32])


def test_the_budget_ends_a_run() -> None:
    loop = "nc.loop 1000000 { nc.memset dst = %b[0:1][0 + i0*0][1:1] {value = 0.0 : f64} }"
    machine = Machine(program(loop), INF2, budget=Budget(instructions=1000))
    with pytest.raises(MachineFault, match="more than 1000"):
        machine.run([SQUARE], no_weights)
    with pytest.raises(MachineFault, match="longer than"):
        Machine(program(loop), INF2, budget=Budget(seconds=0.01)).run([SQUARE], no_weights)


def test_counters_count_issues() -> None:
    machine = Machine(program(LOAD, ADD + " {first_at = array<i64>}", ADD, EVICT, STORE), INF2)
    machine.run([SQUARE], no_weights)
    assert machine.counters.macs == 2 * 128**3
    assert machine.counters.instructions == 5
    assert machine.counters.elements == 3 * 128**2


WAITING = (
    LOAD,
    ADD + " {first_at = array<i64>} wait(q0 >= 1)",
    EVICT + " wait(pe >= 1)",
    STORE + " wait(dve >= 1)",
)


def test_waits_make_every_order_equal() -> None:
    ordered = program(*WAITING)
    check_races(ordered)
    (expected,) = run(ordered)
    for seed in range(10):
        (actual,) = execute_interleaved(ordered, INF2, [SQUARE], no_weights, seed=seed)
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_missing_wait_is_a_race(line: int) -> None:
    lines = list(WAITING)
    lines[line] = lines[line].partition(" wait")[0]
    with pytest.raises(MachineFault, match="nothing orders"):
        check_races(program(*lines))


def test_disjoint_accesses_are_no_race() -> None:
    halves = (
        "nc.memset dst = %b[0:128][0][2:64] {value = 1.0 : f64}",
        'nc.memset dst = %b[0:128][1][2:64] {value = 2.0 : f64, engine = "pool"}',
    )
    check_races(program(*halves))


def test_an_impossible_wait_is_a_deadlock() -> None:
    stuck = program(LOAD, EVICT + " wait(pe >= 1)")
    with pytest.raises(MachineFault, match="deadlock"):
        execute_interleaved(stuck, INF2, [SQUARE], no_weights, seed=0)
    with pytest.raises(MachineFault, match="deadlock"):
        simulate(stuck, INF2)


SENDER = (
    HEAD.replace("output 0", "output 1")
    + LOAD
    + "\nnc.send src = %a[0:128][0][1:128] {peer = 1 : i64, tag = 3 : i64}"
)
RECEIVER = HEAD + "nc.receive dst = %b[0:128][0][1:128] {peer = 0 : i64, tag = 3 : i64}\n" + STORE


def test_cores_hand_tensors_on() -> None:
    actual, _ = run(programs(SENDER, RECEIVER))
    np.testing.assert_array_equal(actual.reshape(128, 128), SQUARE)


def test_what_is_sent_must_be_received() -> None:
    for cores in ((SENDER, HEAD), (HEAD.replace("output 0", "output 1"), RECEIVER)):
        with pytest.raises(NeffProgramError, match="sends"):
            verify_program(programs(*cores), INF2)


@pytest.mark.parametrize(("line", "message"), [
    ("nc.copy dst = %b[0:128][0][1:128] src = %a[0:128][0][1:128] {engine = \"pool\"}", "no pool"),
    (ADD + " {first_at = array<i64>}", "multiplies no f32"),
])  # fmt: skip
def test_inf1_lacks_what_its_core_lacks(line: str, message: str) -> None:
    with pytest.raises(NeffProgramError, match=message):
        verify_program(program(line, target="inf1"), INF1)


ZERO = "nc.memset dst = %t[0:1][0][1:2] {value = 0.0 : f64}"
MOVE = "nc.dma dst = %t[0][1:8] src = %t[0][1:8]"


@pytest.mark.parametrize(("head", "line", "message"), [
    ("%t = nc.alloc at 180220 : !nc.sbuf<1x2xf32>", ZERO, "leave a buffer"),
    ("%t = nc.alloc at 2 : !nc.sbuf<1x2xf32>", ZERO, "in units of 4"),
    ("%t = nc.tensor input 0 : !nc.dram<8xf32>", MOVE, "writes input 0"),
])  # fmt: skip
def test_records_keep_the_machines_limits(head: str, line: str, message: str) -> None:
    with pytest.raises(NeffProgramError, match=f"core 0, instruction 0 .*{message}"):
        verify_program(program(line, head=head), INF2)


def test_a_program_without_addresses_names_the_pass() -> None:
    with pytest.raises(NeffProgramError, match="allocate"):
        program("", head="%t = nc.alloc : !nc.sbuf<1x2xf32>")
