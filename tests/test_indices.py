"""Rows by index on the machine, and what happens to an index that names none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from samples import Array, Operand, Sample
from samples.machine import compiled, ran
from samples.modules import Case
from samples.records import ELEMENTS, flat, whole
from xdsl.dialects.builtin import i32

from ranvier.backend.neuron.interpreter.machine import Machine
from ranvier.backend.neuron.limits import INF2
from ranvier.backend.neuron.program import CoreProgram, Instruction, Program, TensorRecord
from ranvier.backend.neuron.program import Operand as On
from ranvier.backend.reference import Executor
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.nc import Access, DmaOp, GatherOp, ScatterOp
from ranvier.dialects.nc.types import Space

TABLE = np.arange(60, dtype=np.float32)
"""In DRAM; rows of 3 x 2 elements, 7 apart from element 4 on."""
ROWS = Access(0, 0, 4, (), ((7, 8), (3, 2), (1, 2)))
PLACES = 4 + 7 * np.arange(8)[:, None] + np.array([0, 1, 3, 4])


def rows_by_index(kind: type[GatherOp | ScatterOp], index: Array, rows: Array) -> list[Array]:
    """The table and the tile of rows on chip after one issue on partitions 2 to 4."""
    f32 = ELEMENTS["f32"][0]
    arrays = [TABLE, index.reshape(-1, 1).astype(np.int32), rows]
    inputs = [
        TensorRecord("input", number, i32 if number == 1 else f32, array.size)
        for number, array in enumerate(arrays)
    ]
    outputs = [
        TensorRecord("output", 0, f32, TABLE.size),
        TensorRecord("output", 1, f32, rows.size),
    ]

    def dram(number: int) -> On:
        tensor = [*inputs, *outputs][number]
        return On(Space.DRAM, number, 0, tensor.element, flat(np.empty(tensor.length)))

    on_index = On(Space.SBUF, 0, 0, i32, whole(arrays[1]))
    on_rows = On(Space.SBUF, 0, 64, f32, whole(rows))
    part = Access(2, 3, 0, (), ((1, 1),))
    picked = {"index": On(Space.SBUF, 0, 0, i32, part)}
    tile = On(Space.SBUF, 0, 64, f32, Access(2, 3, 0, (), ((1, 4),)))
    table = On(Space.DRAM, 3, 0, f32, ROWS)
    picked |= {"dst": tile, "src": table} if kind is GatherOp else {"dst": table, "src": tile}
    moves = [(dram(3), dram(0)), (on_index, dram(1)), (on_rows, dram(2))]
    body = [Instruction(DmaOp, {"dst": to, "src": source}, {}) for to, source in moves]
    body.append(Instruction(kind, picked, {}))
    body.append(Instruction(DmaOp, {"dst": dram(4), "src": on_rows}, {}))
    program = Program("inf2", (CoreProgram((*inputs, *outputs), 0, tuple(body)),))
    return Machine(program, INF2).run(arrays, lambda name: TABLE)


OWN = -np.arange(24, dtype=np.float32).reshape(6, 4) - 1
INDEX = np.array([99, 99, 5, -8, -1, 99])
"""Those of other partitions are not read."""


def test_a_gather_brings_the_rows_that_its_partitions_name() -> None:
    table, rows = rows_by_index(GatherOp, INDEX, OWN)
    expected = OWN.copy()
    expected[2:5] = TABLE[PLACES[INDEX[2:5]]]
    np.testing.assert_array_equal(rows.reshape(OWN.shape), expected)
    np.testing.assert_array_equal(table, TABLE)


def test_a_scatter_writes_the_rows_that_its_partitions_name() -> None:
    table, rows = rows_by_index(ScatterOp, INDEX, OWN)
    expected = TABLE.copy()
    expected[PLACES[INDEX[2:5]]] = OWN[2:5]
    np.testing.assert_array_equal(table, expected)
    np.testing.assert_array_equal(rows.reshape(OWN.shape), OWN)


@pytest.mark.parametrize("kind", [GatherOp, ScatterOp])
@pytest.mark.parametrize("wrong", [8, -9, 2**31 - 1])
def test_an_index_outside_the_table_stops_the_program(
    kind: type[GatherOp | ScatterOp], wrong: int
) -> None:
    index = INDEX.copy()
    index[3] = wrong
    with pytest.raises(CallerError, match=f"index {wrong} is outside a table of 8 rows") as caught:
        rows_by_index(kind, index, OWN)
    assert caught.value.code is Code.INPUT_RANGE


# -- Ops --------------------------------------------------------------------------------------

X = Operand((4, 5))
GIVEN = np.arange(20, dtype=np.float32).reshape(4, 5)


def ids(*shape: int) -> Operand:
    return Operand(shape, i32)


def sample(op: type[nn.types.TensorOp], *operands: Operand, **properties: object) -> Sample:
    return Sample(op, operands, lambda *_: None, properties)


# An op, the position of its indices, some that fit, and one that does not.
OPS: dict[str, tuple[Sample, int, Array, int]] = {
    "gather": (sample(nn.GatherOp, X, ids(2), axis=1), 1, np.array([-5, 4]), 5),
    "gather_elements": (
        sample(nn.GatherElementsOp, X, ids(2, 5), axis=0), 1, np.full((2, 5), -4), -5
    ),
    "gather_nd": (sample(nn.GatherNdOp, X, ids(1, 2), batch=0), 1, np.array([[-4, 0]]), 4),
    "scatter_elements": (
        sample(nn.ScatterElementsOp, X, ids(4, 1), Operand((4, 1)), axis=1, reduction="none"),
        1, np.full((4, 1), 4), 5,
    ),
    "scatter_nd": (
        sample(nn.ScatterNdOp, X, ids(2, 1), Operand((2, 5)), reduction="max"),
        1, np.array([[0], [3]]), -6,
    ),
    "reverse_sequence": (
        sample(nn.ReverseSequenceOp, X, ids(4), axis=1, batch_axis=0), 1, np.arange(4), 7
    ),
    "tensor_scatter": (
        sample(nn.TensorScatterOp, X, Operand((4, 2)), ids(4), axis=1, circular=False),
        2, np.arange(4), 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("run", ["reference", "inf1", "inf2"])
@pytest.mark.parametrize("name", OPS)
def test_an_op_refuses_an_index_that_is_out_of_range(name: str, run: str) -> None:
    it, position, fitting, wrong = OPS[name]
    module = Case(it).module()
    runs: Callable[[dict[str, Array]], object] = Executor(module).run
    if run != "reference":
        machine = compiled(module, run, "none" if run == "inf2" else "all")
        assert not machine.refusals
        runs = partial(ran, machine.module)
    given = Case(it).inputs(0)
    given[f"arg{position}"] = fitting.astype(np.int32)
    runs(given)
    given[f"arg{position}"].reshape(-1)[0] = wrong
    with pytest.raises(CallerError, match=r"index -?\d+ is outside") as caught:
        runs(given)
    assert caught.value.code is Code.INPUT_RANGE


def test_a_constant_index_that_is_out_of_range_is_refused_too() -> None:
    outside = Operand((1,), i32, 9, 9, constant=True)
    it = sample(nn.GatherOp, X, outside, axis=1)
    module = compiled(Case(it).module(), "inf2", "none").module
    with pytest.raises(CallerError, match="index 9 is outside a table of 5 rows"):
        ran(module, {"arg0": GIVEN})


def test_a_circular_start_beyond_exact_numbers_is_refused() -> None:
    it = sample(nn.TensorScatterOp, X, Operand((4, 2)), ids(4), axis=1, circular=True)
    module = compiled(Case(it).module(), "inf2", "none").module
    given = Case(it).inputs(0) | {"arg2": np.array([0, -3, 8388607, 12], np.int32)}
    reference = Executor(Case(it).module()).run(given)["result0"]
    np.testing.assert_array_equal(ran(module, given)[0], reference)
    given["arg2"][1] = 16777217
    with pytest.raises(CallerError, match="index 16777217 is outside"):
        ran(module, given)
