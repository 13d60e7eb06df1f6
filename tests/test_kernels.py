"""The compiled kernels, beside NumPy.

Products of bf16 are exact in f32, so a sum in a given order has one result: the kernels must give
its bits, however the work is cut. Elementwise results must be those of NumPy, bit by bit.
"""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import Array
from samples.records import DTYPES, Bench, issue, picked, placed, whole

from ranvier.backend.neuron.interpreter import kernels
from ranvier.backend.neuron.program import Instruction, Loop, Operand, Record
from ranvier.dialects import nc
from ranvier.dialects.diagnostics import CallerError
from ranvier.dialects.nc import Access
from ranvier.dialects.nc.types import ELEMENTS, Space

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler"
)
SBUF, PSUM, DRAM = Space.SBUF, Space.PSUM, Space.DRAM
SIZES = (1, 7, 8, 9, 19, 31, 33, 49, 64, 127, 128)


class Nest:
    """Products over `taps` turns: the stationary operand moves by M, the moving one by a column."""

    def __init__(self, k: int, m: int, rows: int, row: int, taps: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        bf16 = DTYPES["bf16"]
        self.bench = Bench()
        self.taps, self.shape = taps, (m, rows * row)
        self.stationary = random.standard_normal((k, taps * m)).astype(bf16)
        self.moving = random.standard_normal((k, rows * (row + 3) + taps)).astype(bf16)
        self.start = random.standard_normal(self.shape).astype(np.float32)
        homes = [self.bench.place(array, SBUF)[0] for array in (self.stationary, self.moving)]
        psum = self.bench.place(self.start, PSUM)[0]
        self.bench.store(self.start, PSUM, psum)
        element = ELEMENTS["bf16"][0]
        self.dims = ((row + 3, rows), (1, row))
        self.operands = {
            "dst": Operand(
                PSUM, 0, psum, ELEMENTS["f32"][0], Access(0, m, 0, (0,), ((1, rows * row),))
            ),
            "stationary": Operand(SBUF, 0, homes[0], element, Access(0, k, 0, (m,), ((1, m),))),
            "moving": Operand(SBUF, 0, homes[1], element, Access(0, k, 0, (1,), self.dims)),
        }

    def body(self) -> Record:
        return Loop(self.taps, (Instruction(nc.MatmulOp, self.operands, {"first_at": (0,)}),))

    def expected(self) -> Array:
        """f32 sums in the order of partitions, from zero in each turn, then added turn by turn."""
        (m, n), k = self.shape, self.stationary.shape[0]
        total = np.zeros(self.shape, np.float32)
        for tap in range(self.taps):
            access = Access(0, k, tap, (), self.dims)
            left = self.stationary[:, tap * m : (tap + 1) * m].astype(np.float32)
            right = picked(self.moving, access).astype(np.float32).reshape(k, n)
            part = np.zeros(self.shape, np.float32)
            for step in range(k):
                part += np.outer(left[step], right[step])
            total = part if tap == 0 else total + part
        return total

    def run(self, exact: bool = False) -> Array:
        return self.bench.run(self.body(), exact=exact)[0].reshape(self.shape)


@needs_compiler
@given(
    st.sampled_from(SIZES),
    st.sampled_from(SIZES),
    st.sampled_from([(1, 1), (1, 16), (1, 17), (1, 49), (7, 7), (14, 14), (9, 56), (1, 512)]),
    st.integers(1, 3),
)
def test_products_of_bf16_are_the_sum_in_order(
    k: int, m: int, free: tuple[int, int], taps: int
) -> None:
    nest = Nest(k, m, *free, taps)
    expected = nest.expected()
    for exact in (False, True):
        np.testing.assert_array_equal(nest.run(exact), expected)


@needs_compiler
@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_threads_do_not_change_a_bit(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
    for m, free in ((128, (9, 56)), (128, (7, 7)), (3, (1, 512))):
        nest = Nest(128, m, *free, 9)
        np.testing.assert_array_equal(nest.run(), nest.expected())


@needs_compiler
def test_operands_may_walk_backwards_and_skip() -> None:
    """Every second stationary column, the moving operand from its end, results apart."""
    nest = Nest(33, 20, 4, 6, 2)
    moving, stationary, dst = (nest.operands[role] for role in ("moving", "stationary", "dst"))
    back, apart = ((-9, 4), (-1, 6)), ((1, 4), (4, 6))
    nest.operands = {
        "dst": replace(dst, access=Access(0, 10, 0, (0,), apart)),
        "stationary": replace(stationary, access=Access(0, 33, 0, (20,), ((2, 10),))),
        "moving": replace(moving, access=Access(0, 33, 36, (1,), back)),
    }
    left = nest.stationary.astype(np.float64).reshape(33, 2, 20)[:, :, ::2]
    right = [
        picked(nest.moving, Access(0, 33, 36 + tap, (), back)).astype(np.float64) for tap in (0, 1)
    ]
    expected = left[:, 0].T @ right[0] + left[:, 1].T @ right[1]
    actual = picked(nest.run(), Access(0, 10, 0, (), apart))
    # An f32 sum of 66 products of normal numbers.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@needs_compiler
def test_f32_products_are_close_to_the_exact_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    a, b = (random.standard_normal((127, n)).astype(np.float32) for n in (65, 130))
    out = np.zeros((65, 130), np.float32)
    views = {
        "dst": (PSUM, out, whole(out)),
        "stationary": (SBUF, a, whole(a)),
        "moving": (SBUF, b, whole(b)),
    }
    (actual,) = issue(nc.MatmulOp, views, first_at=())
    exact, size = a.T.astype(np.float64) @ b, abs(a).T.astype(np.float64) @ abs(b)
    # n products and sums err by at most n units of the last place of the sum of their sizes.
    assert (abs(actual - exact) <= 127 * 2.0**-24 * size).all()


def specials(dtype: str, seed: int) -> Array:
    """Values of every kind: NaN of both signs, infinities, zeros, the smallest and the largest."""
    random = np.random.default_rng(seed)
    bits = random.integers(0, 1 << 16, (128, 80), np.uint16)
    wide = (bits.astype(np.uint32) << 16) | random.integers(0, 1 << 16, bits.shape, np.uint32)
    values = bits.view(DTYPES["bf16"]) if dtype == "bf16" else wide.view(np.float32)
    edges = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 3e38, 1.0])
    values[:, :10] = random.permuted(np.tile(edges, (128, 1)), axis=1).astype(values.dtype)
    return values


VIEWS = [
    (Access(0, 128, 0, (), ((1, 80),)), Access(0, 128, 0, (), ((1, 80),))),
    (Access(32, 5, 3, (), ((20, 3), (2, 5))), Access(0, 5, 60, (), ((-4, 15),))),
    (Access(64, 5, 1, (), ((9, 5), (1, 3))), Access(32, 5, 3, (), ((20, 3), (2, 5)))),
]


def instructions() -> list[Any]:
    cases: list[Any] = [
        pytest.param(nc.TensorTensorOp, ("lhs", "rhs"), {"op": op}, id=op)
        for op in ("add", "subtract", "mult", "max", "min")
    ]
    for func in ("copy", "relu"):
        fields = {"func": func, "scale": 1.0}
        cases.append(pytest.param(nc.ActivationOp, ("src",), fields, id=f"activation-{func}"))
        cases.append(
            pytest.param(nc.ActivationOp, ("src", "bias"), fields, id=f"activation-{func}-bias")
        )
    for first, second in (("mult", "add"), ("subtract", "max"), ("min", "mult")):
        ops = {"op0": first, "op1": second}
        names = f"{first}-{second}"
        for roles, numbers in (
            (("src", "operand0", "operand1"), {}),
            (("src", "operand0"), {"scalar1": -0.75}),
            (("src",), {"scalar0": 1.5, "scalar1": 3e38}),
        ):
            fields = {**ops, **numbers}
            cases.append(pytest.param(nc.TensorScalarOp, roles, fields, id=f"{names}-{len(roles)}"))
        for roles, numbers in (
            (("src", "operand0", "other"), {}),
            (("src", "other"), {"scalar0": 0.1}),
        ):
            fields = {**ops, **numbers}
            name = f"{names}-tensor-{len(roles)}"
            cases.append(pytest.param(nc.ScalarTensorTensorOp, roles, fields, id=name))
    one = {"op0": "max", "scalar0": 0.0}
    cases.append(pytest.param(nc.TensorScalarOp, ("src",), one, id="max-alone"))
    cases.append(pytest.param(nc.CopyOp, ("src",), {}, id="copy"))
    cases.append(pytest.param(nc.DmaOp, ("src",), {"queue": 0}, id="dma"))
    return cases


@needs_compiler
@pytest.mark.parametrize(("to", "source"), VIEWS)
@pytest.mark.parametrize("element", ["f32", "bf16"])
@pytest.mark.parametrize("result", ["f32", "bf16"])
@pytest.mark.parametrize(("op", "roles", "fields"), instructions())
def test_elementwise_results_have_the_bits_of_numpy(
    op: Any,
    roles: tuple[str, ...],
    fields: dict[str, Any],
    result: str,
    element: str,
    to: Access,
    source: Access,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    views = {"dst": (SBUF, specials(result, 9), to)}
    for seed, role in enumerate(roles):
        single = role in ("bias", "operand0", "operand1")
        access = replace(source, dims=((1, 1),)) if single else source
        dtype = "f32" if role == "bias" else element
        views[role] = (SBUF, specials(dtype, seed), access)
    results: list[Array] = []
    for provider in ("numpy", "compiled"):
        monkeypatch.setenv(kernels.VARIABLE, provider)
        results.append(issue(op, views, **fields)[0])
    ours, theirs = (np.nan_to_num(result.astype(np.float32), nan=7e37) for result in results)
    np.testing.assert_array_equal(ours, theirs)
    assert len(np.unique(ours)) > 4
    if op in (nc.CopyOp, nc.DmaOp) and element == result:
        np.testing.assert_array_equal(*(result.view(np.uint8) for result in results))


@needs_compiler
@pytest.mark.parametrize("name", ["max", "min", "add", "mult"])
@pytest.mark.parametrize("element", ["f32", "bf16"])
def test_windows_are_folded_as_numpy_does(
    name: str, element: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = np.random.default_rng(2).standard_normal((128, 81)).astype(DTYPES[element])
    out = np.zeros((128, 16), DTYPES[element])
    windows = Access(0, 128, 0, (), ((18, 4), (2, 4), (9, 3), (1, 3)))
    views = {"dst": (SBUF, out, whole(out)), "src": (SBUF, source, windows)}
    results: list[Array] = []
    for provider in ("numpy", "compiled"):
        monkeypatch.setenv(kernels.VARIABLE, provider)
        results.append(issue(nc.ReduceOp, views, op=name, axes=2)[0])
    np.testing.assert_array_equal(*(result.view(np.uint8) for result in results))
    assert results[0].any()


@needs_compiler
@pytest.mark.parametrize("op", [nc.CopyOp, nc.DmaOp])
@pytest.mark.parametrize("distance", [-3, -1, 1, 3])
def test_all_of_an_operand_is_read_before_its_memory_is_written(op: Any, distance: int) -> None:
    buffer = np.arange(128 * 90, dtype=np.float32).reshape(128, 90)
    source, to = (Access(0, 128, start, (), ((1, 80),)) for start in (4, 4 + distance))
    fields = {"queue": 0} if op is nc.DmaOp else {}
    (actual,) = issue(op, {"dst": (SBUF, buffer, to), "src": (SBUF, buffer, source)}, **fields)
    np.testing.assert_array_equal(actual, placed(buffer, to, picked(buffer, source)))


@needs_compiler
def test_machines_run_side_by_side() -> None:
    nests = [Nest(128, 128, 14, 14, 4, seed) for seed in range(4)]
    expected = [nest.expected() for nest in nests]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            for result, right in zip(pool.map(Nest.run, nests), expected, strict=True):
                np.testing.assert_array_equal(result, right)


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_runs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of the parent do not exist in it, which must not be waited for."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    nest = Nest(128, 128, 14, 14, 4)
    expected = nest.run()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if (nest.run() == expected).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# -- Where there are no kernels ---------------------------------------------------------------


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Kernels that have not been loaded, and an empty cache."""
    monkeypatch.setattr(kernels, "_loaded", kernels._loaded.__wrapped__)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    return tmp_path


def test_without_a_compiler_the_machine_runs_on_numpy(
    unloaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc")
    assert kernels.provider() == "numpy"
    nest = Nest(20, 8, 2, 5, 2)
    np.testing.assert_allclose(nest.run(), nest.expected(), rtol=0, atol=1e-4)
    monkeypatch.setenv(kernels.VARIABLE, "compiled")
    with pytest.raises(CallerError, match=r"no C compiler '/nonexistent/cc'"):
        kernels.kernels()


def test_unknown_kernels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.VARIABLE, "fortran")
    with pytest.raises(CallerError, match="fortran; known: compiled, numpy"):
        kernels.kernels()


@needs_compiler
def test_kernels_are_built_once_and_again_after_a_change(
    unloaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "source"
    shutil.copytree(kernels.SOURCE.parent, folder)
    monkeypatch.setattr(kernels, "SOURCE", folder / kernels.SOURCE.name)
    for _ in range(2):
        assert kernels.provider() == "compiled"
    assert len(list(unloaded.glob("ranvier/kernels-*.so"))) == 1
    (folder / "pool.h").write_text((folder / "pool.h").read_text() + "\n")
    assert kernels.provider() == "compiled"
    assert len(list(unloaded.glob("ranvier/*"))) == 2


@needs_compiler
def test_a_source_that_does_not_compile_leaves_nothing(
    unloaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "broken.c"
    source.write_text("int broken(")
    monkeypatch.setattr(kernels, "SOURCE", source)
    assert kernels.provider() == "numpy"
    assert list(unloaded.glob("ranvier/*")) == []


@needs_compiler
def test_a_cache_that_cannot_be_written_is_no_error(
    unloaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unloaded / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(unloaded / "file"))
    assert kernels.provider() == "numpy"


def test_the_number_of_threads_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert kernels.threads() == 3
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert kernels.threads() == 1
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "many")
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    assert 1 <= kernels.threads() <= 16
