"""Every instruction against a NumPy oracle that picks elements one by one."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
import pytest
from samples import Array
from samples.records import DTYPES, FLOATS, issue, picked, placed, whole

from ranvier.dialects import nc
from ranvier.dialects.nc import Access
from ranvier.dialects.nc.act import FUNCTIONS, RANGES
from ranvier.dialects.nc.dve import ALU_OPS
from ranvier.dialects.nc.types import Space

pytestmark = pytest.mark.usefixtures("each_provider")

SBUF, PSUM, DRAM = Space.SBUF, Space.PSUM, Space.DRAM
DENSE = Access(0, 37, 0, (), ((1, 30),))
STRIDED = Access(32, 5, 3, (), ((20, 3), (2, 5)))
"""15 elements of 5 partitions, with gaps."""
OTHER_CUT = Access(0, 5, 60, (), ((-4, 15),))
"""As many, backwards, in one dimension."""
SKEW = Access(64, 5, 1, (), ((9, 5), (1, 3)))
"""As many, cut where STRIDED is not."""


def values(dtype: str, seed: int, shape: tuple[int, int] = (128, 80)) -> Array:
    random = np.random.default_rng(seed)
    kind = DTYPES[dtype]
    if kind.kind in "iu":
        return random.integers(0 if kind.kind == "u" else -100, 100, shape).astype(kind)
    return (random.standard_normal(shape) * 3).astype(kind)


def stored(result: Array, dtype: Any) -> Array:
    """f32 results as an engine stores them."""
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        result = np.clip(np.rint(np.nan_to_num(result)), info.min, info.max)
    return result.astype(dtype)


def f32(array: Array) -> Array:
    return array.astype(np.float32)


def same(actual: Array, expected: Array) -> None:
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual.view(np.uint8), expected.view(np.uint8))


ACCESSES = [(DENSE, DENSE), (STRIDED, OTHER_CUT), (OTHER_CUT, SKEW), (SKEW, STRIDED)]


@pytest.mark.parametrize(("to", "source"), ACCESSES)
@pytest.mark.parametrize("dst", DTYPES)
@pytest.mark.parametrize("src", DTYPES)
def test_copy_casts_between_all_types(src: str, dst: str, to: Access, source: Access) -> None:
    a, out = values(src, 1), values(dst, 2)
    (actual,) = issue(nc.CopyOp, {"dst": (SBUF, out, to), "src": (SBUF, a, source)})
    taken = picked(a, source)
    same(actual, placed(out, to, taken if src == dst else stored(f32(taken), out.dtype)))


@pytest.mark.parametrize("func", FUNCTIONS)
def test_functions_of_halves_are_those_of_their_f32_values(func: str) -> None:
    narrow = np.arange(1 << 16, dtype=np.uint16).view(DTYPES["bf16"]).reshape(128, 512)
    out = np.zeros(narrow.shape, narrow.dtype)
    halves, whole_values = (
        issue(
            nc.ActivationOp,
            {"dst": (SBUF, out, whole(out)), "src": (SBUF, array, whole(array))},
            func=func,
            scale=1.0,
        )[0]
        for array in (narrow, f32(narrow))
    )
    same(halves, whole_values)


def test_a_copy_of_equal_types_keeps_every_bit() -> None:
    a = np.random.default_rng(0).integers(0, 256, (128, 64), np.uint8).view(np.float32)
    (actual,) = issue(
        nc.CopyOp, {"dst": (SBUF, np.zeros_like(a), whole(a)), "src": (SBUF, a, whole(a))}
    )
    same(actual, a)


def test_integer_stores_saturate_and_round_to_even() -> None:
    a = np.array([[0.5, 1.5, -0.5, 300, -1, np.inf, np.nan, 2.5]], np.float32)
    out = np.zeros((1, 8), np.uint8)
    (actual,) = issue(nc.CopyOp, {"dst": (SBUF, out, whole(out)), "src": (SBUF, a, whole(a))})
    assert actual.tolist() == [[0, 2, 0, 255, 0, 255, 0, 2]]


ALU = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "mult": lambda a, b: a * b,
    "max": np.maximum,
    "min": np.minimum,
    "is_equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "is_lt": lambda a, b: a < b,
    "is_le": lambda a, b: a <= b,
    "is_gt": lambda a, b: a > b,
    "is_ge": lambda a, b: a >= b,
    "logical_and": lambda a, b: (a != 0) & (b != 0),
    "logical_or": lambda a, b: (a != 0) | (b != 0),
    "logical_xor": lambda a, b: (a != 0) ^ (b != 0),
    "pow": lambda a, b: a**b,
    "mod": lambda a, b: a - np.floor(a.astype(np.float64) / b) * b.astype(np.float64),
}


# Only the pool engine raises to powers, and it does not reach PSUM.
ALU_IN = [(op, space) for op in ALU_OPS for space in (SBUF, PSUM) if (op, space) != ("pow", PSUM)]


@pytest.mark.parametrize(
    "dtypes", [("f32", "bf16", "f16"), ("bf16", "bf16", "bf16"), ("f32", "i32", "ui8")]
)
@pytest.mark.parametrize(("op", "space"), ALU_IN)
def test_tensor_tensor(op: str, dtypes: tuple[str, str, str], space: Space) -> None:
    out, a, b = (values(dtype, seed) for seed, dtype in enumerate(dtypes))
    if op == "mod" or op == "pow":
        b = np.maximum(b, b.dtype.type(1))
    views = {"dst": (SBUF, out, STRIDED), "lhs": (space, a, OTHER_CUT), "rhs": (SBUF, b, SKEW)}
    engine = {"engine": "pool"} if op == "pow" else {}
    (actual,) = issue(nc.TensorTensorOp, views, op=op, **engine)
    with np.errstate(all="ignore"):
        result = f32(np.asarray(ALU[op](f32(picked(a, OTHER_CUT)), f32(picked(b, SKEW)))))
    expected = placed(out, STRIDED, stored(result, out.dtype))
    if op == "mod":
        np.testing.assert_allclose(f32(actual), f32(expected), atol=1e-5)
    else:
        same(actual, expected)


def test_an_instruction_may_overwrite_its_operand_shifted() -> None:
    a = values("f32", 3)
    to, source = Access(0, 128, 1, (), ((1, 70),)), Access(0, 128, 0, (), ((1, 70),))
    views = {"dst": (SBUF, a, to), "lhs": (SBUF, a, source), "rhs": (SBUF, a, source)}
    (actual,) = issue(nc.TensorTensorOp, views, op="add")
    same(actual, placed(a, to, 2 * picked(a, source)))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("buffers", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_tensor_scalar(dtype: str, buffers: bool, reverse: bool) -> None:
    out, a = values(dtype, 1), values(dtype, 2)
    first, second = values("f32", 3, (128, 2)), values("bf16", 4, (128, 1))
    views = {"dst": (SBUF, out, STRIDED), "src": (SBUF, a, OTHER_CUT)}
    fields: dict[str, Any] = {"op0": "subtract", "op1": "mult", "reverse0": reverse}
    if buffers:
        views["operand0"] = (SBUF, first, Access(32, 5, 1, (), ((1, 1),)))
        views["operand1"] = (SBUF, second, Access(0, 5, 0, (), ((1, 1),)))
        x, y = first[32:37, 1:2], f32(second[:5])
    else:
        fields |= {"scalar0": 0.3, "scalar1": -1.7}
        x, y = np.float32(0.3), np.float32(-1.7)
    (actual,) = issue(nc.TensorScalarOp, views, **fields)
    taken = f32(picked(a, OTHER_CUT))
    result = ((x - taken) if reverse else (taken - x)) * y
    same(actual, placed(out, STRIDED, stored(f32(result), out.dtype)))


@pytest.mark.parametrize("buffer", [False, True])
def test_scalar_tensor_tensor(buffer: bool) -> None:
    out, a, b, s = (values(d, i) for i, d in enumerate(("bf16", "bf16", "f32", "f32")))
    views = {"dst": (SBUF, out, STRIDED), "src": (SBUF, a, OTHER_CUT), "other": (PSUM, b, SKEW)}
    fields: dict[str, Any] = {"op0": "mult", "op1": "add"}
    scalar: Any = np.float32(0.7)
    if buffer:
        views["operand0"] = (SBUF, s, Access(0, 5, 2, (), ((1, 1),)))
        scalar = s[:5, 2:3]
    else:
        fields["scalar0"] = 0.7
    (actual,) = issue(nc.ScalarTensorTensorOp, views, **fields)
    result = f32(picked(a, OTHER_CUT)) * scalar + picked(b, SKEW)
    same(actual, placed(out, STRIDED, stored(result, out.dtype)))


def test_an_accumulation_may_be_in_place() -> None:
    a, total = values("f32", 1), values("f32", 2)
    views = {k: (SBUF, v, whole(v)) for k, v in (("dst", total), ("src", a), ("other", total))}
    (actual,) = issue(nc.ScalarTensorTensorOp, views, op0="mult", op1="add", scalar0=2.0)
    same(actual, 2 * a + total)


UFUNCS = {"add": np.add, "max": np.maximum, "min": np.minimum, "mult": np.multiply}


@pytest.mark.parametrize(("source", "axes"), [
    (Access(0, 33, 0, (), ((20, 3), (4, 3), (20, 2), (1, 2))), 2),
    (Access(0, 7, 2, (), ((30, 2), (3, 9))), 1),
    (Access(0, 128, 0, (), ((1, 80),)), 1),
    (Access(64, 3, 5, (), ((25, 3), (5, 4), (2, 3))), 3),
])  # fmt: skip
@pytest.mark.parametrize("op", ["add", "max", "min", "mult"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_reduce(dtype: str, op: str, source: Access, axes: int) -> None:
    a, out = values(dtype, 1), values("f32", 2)
    kept = int(np.prod(source.counts[:-axes], dtype=int))
    to = Access(0, source.partitions, 4, (), ((2, kept),))
    views = {"dst": (SBUF, out, to), "src": (SBUF, a, source)}
    (actual,) = issue(nc.ReduceOp, views, op=op, axes=axes, negate=True)
    ufunc = UFUNCS[op]
    taken = picked(a, source).astype(np.float64).reshape(source.partitions, kept, -1)
    expected = placed(out, to, -f32(ufunc.reduce(taken, axis=2)))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_memset(dtype: str) -> None:
    out = values(dtype, 1)
    (actual,) = issue(nc.MemsetOp, {"dst": (SBUF, out, STRIDED)}, value=7.0)
    same(actual, placed(out, STRIDED, np.full(75, 7, out.dtype)))


def test_memset_to_minus_infinity() -> None:
    out = values("bf16", 1)
    (actual,) = issue(nc.MemsetOp, {"dst": (SBUF, out, DENSE)}, value=-np.inf)
    assert np.isneginf(f32(picked(actual, DENSE))).all()


def test_reciprocal() -> None:
    a, out = values("f32", 1), values("f32", 2)
    (actual,) = issue(nc.ReciprocalOp, {"dst": (SBUF, out, SKEW), "src": (SBUF, a, STRIDED)})
    same(actual, placed(out, SKEW, 1 / picked(a, STRIDED)))


@pytest.mark.parametrize("dst", ["f32", "bf16", "i32"])
def test_copy_predicated(dst: str) -> None:
    out, a = values(dst, 1), values("f32", 2)
    mask = np.random.default_rng(3).integers(0, 2, (128, 80)).astype(np.uint8)
    views = {
        "dst": (SBUF, out, SKEW),
        "src": (SBUF, a, STRIDED),
        "predicate": (SBUF, mask, OTHER_CUT),
    }
    (actual,) = issue(nc.CopyPredicatedOp, views)
    new, old = stored(picked(a, STRIDED), out.dtype), picked(out, SKEW)
    same(actual, placed(out, SKEW, np.where(picked(mask, OTHER_CUT) != 0, new, old)))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


ERF = np.vectorize(erf)
ORACLES = {
    "copy": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: x**-0.5,
    "square": lambda x: x * x,
    "abs": np.abs,
    "erf": ERF,
    "gelu": lambda x: x * 0.5 * (1 + ERF(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * sigmoid(x),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "sin": np.sin,
    "arctan": np.arctan,
    "sign": np.sign,
}


@pytest.mark.parametrize("func", FUNCTIONS)
def test_activation_functions_are_exact(func: str) -> None:
    a = values("f32", 1)
    if func in ("log", "sqrt", "rsqrt"):
        a = np.abs(a) + np.float32(0.01)
    if func in RANGES:
        a = np.clip(a, -RANGES[func], RANGES[func]).astype(np.float32)
    views = {"dst": (SBUF, a * 0, whole(a)), "src": (PSUM, a, whole(a))}
    (actual,) = issue(nc.ActivationOp, views, func=func, scale=1.0)
    np.testing.assert_allclose(actual, ORACLES[func](a.astype(np.float64)), rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("func", RANGES)
def test_beyond_its_range_a_function_of_the_table_is_undefined(func: str) -> None:
    a = np.array([[RANGES[func] * 0.99, RANGES[func] * 1.01, -1e9, np.inf]], np.float32)
    views = {"dst": (SBUF, np.zeros_like(a), whole(a)), "src": (SBUF, a, whole(a))}
    (actual,) = issue(nc.ActivationOp, views, func=func, scale=1.0)
    assert np.isnan(actual).tolist() == [[False, True, True, True]]


@pytest.mark.parametrize(("dst", "src"), [("f32", "f32"), ("bf16", "f32"), ("f16", "bf16")])
def test_activation_scales_biases_and_sums(dst: str, src: str) -> None:
    out, a, bias, by, total = (values(d, i) for i, d in enumerate((dst, src, "f32", "f32", "f32")))
    column = Access(0, 5, 3, (), ((1, 1),))
    views = {
        "dst": (SBUF, out, STRIDED),
        "src": (SBUF, a, SKEW),
        "bias": (SBUF, bias, column),
        "scale_by": (SBUF, by, column),
        "sum": (SBUF, total, column),
    }
    actual, sums = issue(nc.ActivationOp, views, ("dst", "sum"), func="relu", scale=0.5)
    result = np.maximum(f32(picked(a, SKEW)) * by[:5, 3:4] * np.float32(0.5) + bias[:5, 3:4], 0)
    np.testing.assert_allclose(
        f32(actual), f32(placed(out, STRIDED, stored(result, out.dtype))), rtol=1e-6
    )
    expected = placed(total, column, result.sum(axis=1))
    np.testing.assert_allclose(sums, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("k", "m", "n"), [(128, 128, 512), (1, 1, 1), (37, 5, 33), (128, 3, 1), (2, 128, 511)]
)
@pytest.mark.parametrize("dtype", FLOATS)
def test_matmul(dtype: str, k: int, m: int, n: int) -> None:
    s, x = values(dtype, 1, (128, 140)), values(dtype, 2, (128, 600))
    out = values("f32", 3, (128, 512))
    stationary, moving = Access(0, k, 7, (), ((1, m),)), Access(0, k, 11, (), ((1, n),))
    to = Access(0, m, 0, (), ((1, n),))
    views = {
        "dst": (PSUM, out, to),
        "stationary": (SBUF, s, stationary),
        "moving": (SBUF, x, moving),
    }
    (actual,) = issue(nc.MatmulOp, views, first_at=())
    wide = picked(s, stationary).astype(np.float64).T @ picked(x, moving).astype(np.float64)
    np.testing.assert_allclose(actual, placed(out, to, f32(wide)), rtol=1e-4, atol=1e-3)


def test_matmul_takes_strided_operands() -> None:
    s, x, out = values("f32", 1), values("f32", 2), values("f32", 3)
    stationary = Access(32, 9, 2, (), ((30, 2), (3, 4)))
    moving = Access(64, 9, 70, (), ((-20, 3), (2, 5)))
    to = Access(0, 8, 5, (), ((25, 3), (4, 5)))
    views = {
        "dst": (PSUM, out, to),
        "stationary": (SBUF, s, stationary),
        "moving": (SBUF, x, moving),
    }
    (actual,) = issue(nc.MatmulOp, views, first_at=())
    expected = placed(out, to, picked(s, stationary).T @ picked(x, moving))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", FLOATS)
def test_transpose(dtype: str) -> None:
    a, out = values(dtype, 1), values("f32", 2)
    source, to = Access(32, 20, 3, (), ((2, 33),)), Access(0, 33, 1, (), ((3, 20),))
    (actual,) = issue(nc.TransposeOp, {"dst": (PSUM, out, to), "src": (SBUF, a, source)})
    np.testing.assert_array_equal(actual, placed(out, to, f32(picked(a, source)).T))


@pytest.mark.parametrize("dst", DTYPES)
@pytest.mark.parametrize("src", DTYPES)
def test_dma_casts(src: str, dst: str) -> None:
    a, out = values(src, 1), values(dst, 2)
    to, source = Access(1, 5, 2, (), ((11, 5), (1, 3))), Access(3, 15, 1, (), ((5, 5),))
    (actual,) = issue(nc.DmaOp, {"dst": (SBUF, out, to), "src": (SBUF, a, source)})
    taken = picked(a, source)
    if out.dtype.kind in "iu" and a.dtype.kind not in "iu":
        info = np.iinfo(out.dtype)
        taken = np.clip(np.trunc(f32(taken)), info.min, info.max)
    same(actual, placed(out, to, taken.astype(out.dtype)))
