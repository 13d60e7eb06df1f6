"""Loop nests that run as one product, beside issue by issue.

The oracle is the machine's definition: every issue by itself. Where a nest may run as one, sums
come in another order, so f32 results agree to a few units of its last place relative to the sum of
absolute products; where it may not, bits agree.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from samples import Array
from samples.records import Bench

from ranvier.backend.neuron.interpreter import machine as machine_module
from ranvier.backend.neuron.interpreter.nests import matmul_nest
from ranvier.backend.neuron.program import Instruction, Loop, Operand, Record
from ranvier.dialects import nc
from ranvier.dialects.nc import Access
from ranvier.dialects.nc.types import ELEMENTS, Space

pytestmark = pytest.mark.usefixtures("each_provider")

K, M, TAPS, WIDTH = 37, 24, 3, 20
"""A convolution of 3 taps over rows of 20 that moves by one column per tap."""

F32_UNIT = 2.0**-24


def values(seed: int, shape: tuple[int, int], element: str = "bf16") -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(ELEMENTS[element][1])


class Nest:
    """A matmul over taps: `stationary` [K, TAPS * M], `moving` [K, 4 rows of WIDTH]."""

    def __init__(self, element: str = "bf16") -> None:
        self.bench = Bench()
        self.stationary = values(0, (K, TAPS * M), element)
        self.moving = values(1, (K, 4 * WIDTH), element)
        self.element = ELEMENTS[element][0]
        self.homes = [
            self.bench.place(array, Space.SBUF)[0] for array in (self.stationary, self.moving)
        ]
        self.result = np.zeros((M, 4 * 18), np.float32)
        self.psum = self.bench.place(self.result, Space.PSUM)[0]
        self.bench.store(self.result, Space.PSUM, self.psum)

    def matmul(self, steps: dict[str, tuple[int, ...]], **fields: object) -> Instruction:
        accesses = {
            "dst": Access(0, M, 0, steps["dst"], ((1, 72),)),
            "stationary": Access(0, K, 0, steps["stationary"], ((1, M),)),
            "moving": Access(0, K, 0, steps["moving"], ((WIDTH, 4), (1, 18))),
        }
        homes = {
            "dst": (Space.PSUM, self.psum, ELEMENTS["f32"][0]),
            "stationary": (Space.SBUF, self.homes[0], self.element),
            "moving": (Space.SBUF, self.homes[1], self.element),
        }
        operands = {
            role: Operand(space, 0, address, element, accesses[role])
            for role, (space, address, element) in homes.items()
        }
        return Instruction(nc.MatmulOp, operands, fields)

    def run(self, *body: Record) -> tuple[Array, Array]:
        """Fast and issue by issue."""
        fast, exact = (self.bench.run(*body, exact=exact)[0] for exact in (False, True))
        return fast.reshape(M, 72), exact.reshape(M, 72)

    def windows(self) -> Array:
        """[TAPS, K, 72]: what each tap multiplies."""
        rows = self.moving.astype(np.float64).reshape(K, 4, WIDTH)
        return np.stack([rows[:, :, tap : tap + 18].reshape(K, 72) for tap in range(TAPS)])

    def taps(self) -> Array:
        """[TAPS, K, M]"""
        return self.stationary.astype(np.float64).reshape(K, TAPS, M).transpose(1, 0, 2)


ONE = {"dst": (0,), "stationary": (M,), "moving": (1,)}


@pytest.mark.parametrize("element", ["bf16", "f16", "f32"])
def test_a_nest_over_taps_is_one_product(element: str) -> None:
    nest = Nest(element)
    loop = Loop(TAPS, (nest.matmul(ONE, first_at=(0,)),))
    assert matmul_nest(loop, 0) is not None
    taps, windows = nest.taps(), nest.windows()
    expected = np.einsum("tkm,tkn->mn", taps, windows)
    size = np.einsum("tkm,tkn->mn", abs(taps), abs(windows))
    for result in nest.run(loop):
        # An f32 sum of n products errs by at most n units of the sum of their sizes.
        assert (abs(result - expected) <= TAPS * K * F32_UNIT * size).all()


def test_a_nest_inside_a_loop_is_one_product_in_each_turn() -> None:
    nest = Nest()
    steps = {"dst": (0, 0, 0), "stationary": (0, 0, M), "moving": (0, 0, 1)}
    inner = Loop(1, (Loop(TAPS, (nest.matmul(steps, first_at=(1, 2)),)),))
    assert matmul_nest(inner, 1) is not None
    expected = np.einsum("tkm,tkn->mn", nest.taps(), nest.windows())
    for result in nest.run(Loop(2, (inner,))):
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)


def test_a_sum_that_starts_in_the_first_outer_turn_goes_on_in_the_next() -> None:
    nest = Nest()
    steps = {"dst": (0, 0), "stationary": (0, M), "moving": (0, 1)}
    loop = Loop(2, (Loop(TAPS, (nest.matmul(steps, first_at=(0, 1)),)),))
    assert matmul_nest(loop, 0) is not None
    twice = 2 * np.einsum("tkm,tkn->mn", nest.taps(), nest.windows())
    for result in nest.run(loop):
        np.testing.assert_allclose(result, twice, rtol=0, atol=1e-4)


def test_a_nest_whose_issues_overwrite_each_other_is_not_one_product() -> None:
    nest = Nest()
    loop = Loop(TAPS, (nest.matmul(ONE, first_at=()),))
    assert matmul_nest(loop, 0) is None
    fast, exact = nest.run(loop)
    assert fast.tobytes() == exact.tobytes()
    np.testing.assert_allclose(fast, nest.taps()[-1].T @ nest.windows()[-1], rtol=0, atol=1e-4)


def test_a_nest_that_starts_again_inside_is_not_one_product() -> None:
    nest = Nest()
    steps = {"dst": (0, 0), "stationary": (0, M), "moving": (0, 1)}
    loop = Loop(2, (Loop(TAPS, (nest.matmul(steps, first_at=(1,)),)),))
    assert matmul_nest(loop, 0) is None
    once = np.einsum("tkm,tkn->mn", nest.taps(), nest.windows())
    for result in nest.run(loop):
        np.testing.assert_allclose(result, once, rtol=0, atol=1e-4)


def test_a_nest_with_a_moving_destination_or_other_records_is_not_one_product() -> None:
    nest = Nest()
    matmul = nest.matmul(ONE, first_at=())
    dst = replace(matmul.operands["dst"], access=Access(0, M, 0, (24,), ((1, 24),)))
    moving = replace(matmul.operands["moving"], access=Access(0, K, 0, (24,), ((1, 24),)))
    moved = replace(matmul, operands={**matmul.operands, "dst": dst, "moving": moving})
    assert matmul_nest(Loop(TAPS, (moved,)), 0) is None
    assert matmul_nest(Loop(TAPS, (matmul, matmul)), 0) is None
    fast, exact = nest.run(Loop(TAPS, (moved,)))
    assert fast.tobytes() == exact.tobytes()


def test_issues_of_a_nest_are_counted_one_by_one() -> None:
    nest = Nest()
    loop = Loop(TAPS, (nest.matmul(ONE, first_at=(0,)),))
    counted: list[tuple[int, int]] = []
    for exact in (False, True):
        machine = machine_module.Machine(
            nest.bench.program(loop), machine_module.limits.INF2, exact=exact
        )
        machine.run(nest.bench.inputs, lambda name: np.zeros(0))
        counted.append((machine.counters.macs, machine.counters.instructions))
    assert counted[0] == counted[1]
    assert counted[0][0] == TAPS * K * M * 72
