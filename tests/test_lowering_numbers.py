"""What elementwise ops make of unusual numbers on the machine: huge, tiny, infinite, not numbers.

Oracles: NumPy in f64 where that is enough; for angles, the remainder of whole turns by 120 decimal
digits of pi; for integers, Python's.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from samples import Array
from samples.machine import compiled, ran
from xdsl.dialects.builtin import FunctionType, ModuleOp, i8, i16, i32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, SSAValue

from ranvier.dialects import nn
from ranvier.dialects.nn.types import TensorOp, dtype_of, element_type_of, tensor, ui8

Build = Callable[..., TensorOp]


def on_machine(build: Build, target: str, *arrays: Array) -> Array:
    """The result of one op without casts."""
    elements = [element_type_of(array.dtype) for array in arrays]
    types = [tensor(a.shape, e) for a, e in zip(arrays, elements, strict=True) if e is not None]
    main = FuncOp("main", (types, []))
    arguments: list[SSAValue] = list(main.body.block.args)
    op = build(*arguments)
    main.body.block.add_ops([op, ReturnOp(*op.results)])
    results = [result.type for result in op.results]
    main.function_type = FunctionType.from_lists(list(main.function_type.inputs), results)
    it = compiled(ModuleOp([main]), target, "none")
    assert not it.refusals
    (result,) = ran(it.module, {f"arg{i}": array for i, array in enumerate(arrays)})
    return result


def unusual() -> Array:
    """Floats of every size and sign, halves, ends of ranges."""
    random = np.random.default_rng(5)
    signs = random.choice([-1.0, 1.0], 3000)
    special = [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2**23 - 0.5, 2**23, 2**24, 2**22 + 0.5]
    special += [88.5, 89.2, -89.2, 1e-20, 3.4e38, -3.4e38, np.pi, 1e-38, 0.5, 1.5, 2.5, -0.5, -2.5]
    return np.concatenate(
        [
            random.uniform(-4, 4, 1000),
            random.uniform(-100, 100, 1000),
            signs * 2.0 ** random.uniform(-125, 127.9, 3000),
            special,
        ]
    ).astype(np.float32)


X = unusual()


def without_turns(x: Array) -> Array:
    """The angles less whole turns, between -pi and pi."""
    with localcontext() as context:
        context.prec = 120

        def arctan_of_inverse(n: int) -> Decimal:
            term = total = Decimal(1) / n
            for k in range(3, 400, 2):
                term = -term / (n * n)
                total += term / k
            return total

        turn = 8 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
        rest = [
            Decimal(float(v)) - (Decimal(float(v)) / turn).to_integral_value() * turn
            if np.isfinite(v)
            else Decimal("nan")
            for v in x
        ]
    return np.array([float(angle) for angle in rest])


ANGLES = without_turns(X)
FUNCTIONS: dict[str, tuple[Build, Callable[[Array], Array], float]] = {
    "floor": (nn.FloorOp, np.floor, 0),
    "ceil": (nn.CeilOp, np.ceil, 0),
    "round": (nn.RoundOp, np.rint, 0),
    "round_down": (
        lambda x: nn.RoundOp(x, halves="down"),
        lambda x: np.where(x % 1 == 0.5, np.floor(x), np.rint(x)),
        0,
    ),
    "sign": (nn.SignOp, np.sign, 0),
    "atan": (nn.AtanOp, np.arctan, 4),
    "asin": (nn.AsinOp, np.arcsin, 4),
    "acos": (nn.AcosOp, np.arccos, 4),
    "sinh": (nn.SinhOp, np.sinh, 8),
    "cosh": (nn.CoshOp, np.cosh, 8),
    "asinh": (nn.AsinhOp, np.arcsinh, 8),
    "acosh": (nn.AcoshOp, np.arccosh, 8),
    "atanh": (nn.AtanhOp, np.arctanh, 8),
    "elu": (lambda x: nn.EluOp(x, alpha=0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x)), 6),
    "steep": (
        lambda x: nn.LeakyReluOp(x, alpha=-1.5),
        lambda x: np.where(x > 0, x, -1.5 * x),
        2,
    ),
}
"""With the relative error in units of f32: every instruction adds about one."""


@pytest.mark.parametrize("target", ["inf2", "inf1"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_every_float(name: str, target: str) -> None:
    build, function, units = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        expected = np.asarray(function(X.astype(np.float64))).astype(np.float32)
    actual = on_machine(build, target, X)
    np.testing.assert_allclose(actual, expected, rtol=units * 2.0**-24, atol=2.0**-149)


@pytest.mark.parametrize("target", ["inf2", "inf1"])
@pytest.mark.parametrize(("build", "function"), [(nn.SinOp, np.sin), (nn.CosOp, np.cos)])
def test_angles_of_every_size(build: Build, function: Any, target: str) -> None:
    """Within 2**-25 turns, or 2e-7 radians, and the rounding of the result."""
    actual = on_machine(build, target, X)
    np.testing.assert_allclose(actual, function(ANGLES), rtol=0, atol=4e-7)


@pytest.mark.parametrize("target", ["inf2", "inf1"])
def test_predicates_and_remainders(target: str) -> None:
    assert (on_machine(nn.IsNanOp, target, X) == np.isnan(X)).all()
    both = on_machine(lambda x: nn.IsInfOp(x, negative=True, positive=True), target, X)
    assert (both == np.isinf(X)).all()
    y = np.roll(X, 7)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(on_machine(nn.ModOp, target, X, y), np.mod(X, y))
        np.testing.assert_array_equal(on_machine(nn.FmodOp, target, X, y), np.fmod(X, y))


@pytest.mark.parametrize(("target", "rtol"), [("inf2", 2.0**-23), ("inf1", 2e-5)])
def test_powers(target: str, rtol: float) -> None:
    """By the engine for powers; by logarithms with the error of f32 times `y log x`, below 89."""
    random = np.random.default_rng(3)
    y = np.where(
        random.random(X.size) < 0.5, random.integers(-5, 6, X.size), random.uniform(-3, 3, X.size)
    )
    y = np.concatenate([y[:-3], [0.0, np.inf, 2.0]]).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = np.power(X.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(on_machine(nn.PowOp, target, X, y), expected, rtol, 2.0**-126)


@pytest.mark.parametrize("target", ["inf2", "inf1"])
@pytest.mark.parametrize("element", [i32, i16, i8, ui8], ids=str)
def test_floats_become_the_nearest_bound_and_nan_becomes_zero(
    element: Attribute, target: str
) -> None:
    info = np.iinfo(dtype_of(element))
    expected = [
        0 if np.isnan(v) else int(max(info.min, min(info.max, np.trunc(v))))
        for v in X.astype(np.float64)
    ]
    actual = on_machine(lambda x: nn.CastOp(x, element), target, X)
    assert actual.tolist() == expected


INTEGERS = {
    "div": (nn.DivOp, lambda x, y: abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)),
    "mod": (nn.ModOp, lambda x, y: x % y),
    "mul": (nn.MulOp, lambda x, y: x * y),
    "sub": (nn.SubOp, lambda x, y: x - y),
}


@pytest.mark.parametrize("target", ["inf2", "inf1"])
@pytest.mark.parametrize("name", INTEGERS)
def test_the_ends_of_i32(name: str, target: str) -> None:
    """Modulo 2**32, and 0 where the divisor is."""
    build, function = INTEGERS[name]
    ends = [-(2**31), -(2**31) + 1, -65536, -3, -1, 0, 1, 2, 7, 46341, 2**24 + 1, 2**31 - 1]
    x, y = (np.array(grid).reshape(-1) for grid in np.meshgrid(ends, ends))
    exact = [
        0 if name in ("div", "mod") and not b else function(a, b)
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    expected = [(value + 2**31) % 2**32 - 2**31 for value in exact]
    actual = on_machine(build, target, x.astype(np.int32), y.astype(np.int32))
    assert actual.tolist() == expected
