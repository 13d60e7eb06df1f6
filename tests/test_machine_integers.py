"""Instructions on integers: bit patterns on the vector engine, i32 arithmetic on the pool engine.

Oracle: NumPy on unsigned numbers of the same width, and Python's integers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from samples import Array
from samples.records import issue, whole
from xdsl.utils.exceptions import VerifyException

from ranvier.backend.neuron.neff.errors import NeffProgramError
from ranvier.dialects import nc
from ranvier.dialects.nc.types import Space

pytestmark = pytest.mark.usefixtures("each_provider")

SBUF = Space.SBUF
WIDTHS = ("int32", "int16", "int8", "uint8")


def anything(dtype: str, seed: int) -> Array:
    info = np.iinfo(dtype)
    random = np.random.default_rng(seed)
    return random.integers(info.min, info.max, (37, 30), np.dtype(dtype), endpoint=True)


def unsigned(array: Array) -> Array:
    return array.view(f"u{array.dtype.itemsize}")


BITS: dict[str, Callable[[Array, Array], Array]] = {
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "bitwise_xor": lambda a, b: a ^ b,
    "logical_shift_left": lambda a, b: a << b,
    "logical_shift_right": lambda a, b: a >> b,
}


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("op", BITS)
def test_operations_on_bits(op: str, dtype: str) -> None:
    a, b = anything(dtype, 1), anything(dtype, 2)
    if "shift" in op:
        b = (unsigned(b) % (8 * b.itemsize)).astype(dtype)
    views = {role: (SBUF, x, whole(x)) for role, x in (("dst", a * 0), ("lhs", a), ("rhs", b))}
    (actual,) = issue(nc.TensorTensorOp, views, op=op)
    np.testing.assert_array_equal(unsigned(actual), BITS[op](unsigned(a), unsigned(b)))


def test_two_steps_on_bits_with_numbers() -> None:
    a = anything("int32", 1)
    views = {"dst": (SBUF, a * 0, whole(a)), "src": (SBUF, a, whole(a))}
    fields = {
        "op0": "bitwise_xor",
        "scalar0": -(2.0**31),
        "op1": "logical_shift_right",
        "scalar1": 16.0,
    }
    (actual,) = issue(nc.TensorScalarOp, views, **fields)
    np.testing.assert_array_equal(actual, (a.astype(np.int64) + 2**31) >> 16)


@pytest.mark.parametrize("op", ["add", "subtract", "mult"])
def test_the_pool_engine_computes_i32_modulo_its_size(op: str) -> None:
    a, b = anything("int32", 1), anything("int32", 2)
    views = {role: (SBUF, x, whole(x)) for role, x in (("dst", a * 0), ("lhs", a), ("rhs", b))}
    (actual,) = issue(nc.TensorTensorOp, views, op=op, engine="pool")
    x, y = a.astype(object), b.astype(object)
    wide = {"add": x + y, "subtract": x - y, "mult": x * y}[op]
    expected = ((wide + 2**31) % 2**32 - 2**31).astype(np.int32)
    np.testing.assert_array_equal(actual, expected)


def test_the_vector_engine_computes_i32_in_f32() -> None:
    a = np.array([[2**24 + 1, 7]], np.int32)
    views = {role: (SBUF, a * (role != "dst"), whole(a)) for role in ("dst", "lhs", "rhs")}
    (actual,) = issue(nc.TensorTensorOp, views, op="add")
    assert actual.tolist() == [[2**25, 14]]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"op": "bitwise_and", "engine": "pool"}, "only the vector engine works on bits, got pool"),
        ({"op": "max", "engine": "pool"}, "op on i32 is one of add, subtract, mult, got max"),
    ],
)
def test_an_engine_without_the_operation_is_refused(fields: dict[str, str], text: str) -> None:
    a = anything("int32", 1)
    views = {role: (SBUF, a, whole(a)) for role in ("dst", "lhs", "rhs")}
    with pytest.raises((VerifyException, NeffProgramError), match=text):
        issue(nc.TensorTensorOp, views, **fields)


def test_bits_of_floats_are_refused() -> None:
    a = np.zeros((3, 5), np.float32)
    views = {role: (SBUF, a, whole(a)) for role in ("dst", "lhs", "rhs")}
    with pytest.raises((VerifyException, NeffProgramError), match="one integer type, got f32"):
        issue(nc.TensorTensorOp, views, op="bitwise_or")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"op0": "bitwise_and", "scalar0": 1.0, "op1": "add", "scalar1": 1.0}, "do not mix"),
        ({"op0": "bitwise_and", "scalar0": 2.0**31}, "no bit pattern of 32 bits"),
        ({"op0": "bitwise_and", "scalar0": 0.5}, "no bit pattern of 32 bits"),
    ],
)
def test_steps_that_are_no_bit_operations_are_refused(fields: dict[str, object], text: str) -> None:
    a = anything("int32", 1)
    views = {"dst": (SBUF, a, whole(a)), "src": (SBUF, a, whole(a))}
    with pytest.raises((VerifyException, NeffProgramError), match=text):
        issue(nc.TensorScalarOp, views, **fields)
