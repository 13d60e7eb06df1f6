"""Every op keeps its definition on every path: as text, evaluated, decomposed, cast, on the machine.

Generated from `tests/samples`. A sample's oracle is the definition in f64, or ONNX's reference
evaluator; it shares no code with the op. The figures of the bounds below are part of the claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from io import StringIO

import numpy as np
import pytest
from samples import Array, Sample, all_samples
from samples.machine import Compiled, compiled, interleaved, ran
from samples.modules import Case, everything, result_type, the_op
from xdsl.dialects.builtin import ModuleOp, bf16, f16, f32, f64
from xdsl.ir import Attribute
from xdsl.parser import Parser
from xdsl.printer import Printer

from ranvier.backend.reference import Executor, evaluate
from ranvier.dialects import nn
from ranvier.dialects.interfaces import ReferenceSemantics, as_python
from ranvier.dialects.nn.types import NARROW_FLOATS, element_of, is_float, tensor, type_of
from ranvier.passes.cast_bf16 import cast_bf16
from ranvier.passes.legalize import legalize
from ranvier.passes.target import load_target

SAMPLES = [
    pytest.param(sample, id=sample.id, marks=[pytest.mark.slow] * sample.slow)
    for sample in all_samples()
]
FIRST, SECOND = 1, 2
"""Seeds of two sets of inputs."""

UNIT = {f64: 2.0**-53, f32: 2.0**-24, f16: 2.0**-11, bf16: 2.0**-8}
"""Largest relative error of rounding once to a type."""

F32_ERROR = 64 * UNIT[f32]
"""Of a computation in f32, relative to the largest element of its result: a sum of some hundred
terms of random signs, and functions of the C library, err by a few units; 64 leaves room."""

NARROW_ERROR = {bf16: 2e-2, f16: 4e-3}
"""Of values that go through several narrow ops, relative and absolute. That of bf16 passes 99.3 %
of ONNX's own cases once their inputs are rounded; f16 has three bits more."""


def assert_close(actual: Array, expected: Array, element: Attribute, narrow: Attribute | None):
    """`actual` is of type `element`, and was rounded on the way to `narrow` if that is given."""
    assert actual.shape == expected.shape
    if not is_float(element):
        np.testing.assert_array_equal(actual, expected)
        return
    scale = np.abs(expected, where=np.isfinite(expected), out=np.zeros(expected.shape)).max(
        initial=1.0
    )
    computed = 64 * UNIT[f64] if element == f64 else F32_ERROR
    relative, absolute = 1.01 * UNIT[element], computed * scale
    if narrow is not None:
        relative = absolute = NARROW_ERROR[narrow]
    np.testing.assert_allclose(actual.astype(np.float64), expected, relative, absolute)


def narrowest(module: ModuleOp) -> Attribute | None:
    """The narrow float type that a module computes in, if any."""
    found = {
        element_of(value)
        for op in module.walk()
        if op.dialect_name() == "nn"
        for value in (*op.operands, *op.results)
    }
    return next((element for element in (bf16, f16) if element in found), None)


def run(module: ModuleOp, case: Case, seed: int) -> Array:
    """What the reference executor computes."""
    return Executor(module).run(case.inputs(seed))["result0"]


# -- The op alone -----------------------------------------------------------------------------


@pytest.mark.parametrize("generic", [False, True], ids=["pretty", "generic"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_text_says_all_of_an_op(sample: Sample, generic: bool) -> None:
    module = Case(sample).module()
    text = printed(module, generic=generic)
    parsed = Parser(everything(), text).parse_module()
    parsed.verify()
    assert parsed.is_structurally_equivalent(module)
    assert printed(parsed, generic=generic) == text


def printed(module: ModuleOp, *, generic: bool) -> str:
    stream = StringIO()
    Printer(stream, print_generic_format=generic).print_op(module)
    return stream.getvalue()


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_inferred_type_is_that_of_evaluate(sample: Sample) -> None:
    case = Case(sample)
    op = the_op(case.module(), sample)
    (result,) = (op.evaluate(*map(nn.types.widened, case.arrays(FIRST))),)
    (inferred,) = op.infer()
    assert result.shape == inferred.get_shape()
    if not isinstance(inferred.element_type, NARROW_FLOATS):  # these are rounded by the executor
        assert tensor(result.shape, nn.types.element_type_of(result.dtype)) == inferred


@pytest.mark.parametrize("sample", SAMPLES)
def test_evaluate_is_the_definition(sample: Sample) -> None:
    case = Case(sample)
    op = the_op(case.module(), sample)
    (actual,) = evaluate(op, case.arrays(FIRST))
    assert_close(actual, case.expected(FIRST), type_of(op.results[0]).element_type, None)


@pytest.mark.parametrize("sample", SAMPLES)
def test_results_vary_with_the_input(sample: Sample) -> None:
    """Zeros or a constant would pass a comparison that random inputs make empty."""
    case = Case(sample)
    first, second = case.expected(FIRST), case.expected(SECOND)
    if not case.inputs(FIRST):
        pytest.skip("the op has no inputs")
    assert not np.array_equal(first, second)
    assert first.size == 1 or np.unique(first).size > 1


# -- Passes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["inf2", "inf1"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_legalize_keeps_the_meaning(sample: Sample, target: str) -> None:
    case = Case(sample)
    module = case.module()
    legalize(module, load_target(target))
    module.verify()
    element = result_type(module).element_type
    assert_close(run(module, case, FIRST), case.expected(FIRST), element, narrowest(module))


@pytest.mark.parametrize("sample", SAMPLES)
def test_cast_bf16_keeps_the_meaning(sample: Sample) -> None:
    case = Case(sample, rounded=True)
    module = case.module()
    cast_bf16(module)
    module.verify()
    element = result_type(module).element_type
    assert_close(run(module, case, FIRST), case.expected(FIRST), element, narrowest(module))


# -- The machine ------------------------------------------------------------------------------

MACHINES = [("inf2", "none"), ("inf2", "all"), ("inf1", "all")]


@pytest.mark.parametrize(("target", "mode"), MACHINES, ids=lambda value: value)
@pytest.mark.parametrize("sample", SAMPLES)
def test_the_machine_computes_the_definition(sample: Sample, target: str, mode: str) -> None:
    it = compile_sample(sample, target, mode)
    actual = ran(it.module, it.case.inputs(FIRST))
    assert_close(actual, it.case.expected(FIRST), it.element, it.narrow)


@pytest.mark.parametrize(("target", "mode"), MACHINES, ids=lambda value: value)
@pytest.mark.parametrize("sample", SAMPLES)
def test_an_op_runs_on_the_target_or_says_why_not(sample: Sample, target: str, mode: str) -> None:
    it = compile_sample(sample, target, mode)
    if not it.case.inputs(FIRST):
        assert not it.launches
        assert not it.reasons
    elif target in sample.host:
        assert it.reasons
        for op, code, text in it.reasons:
            assert re.fullmatch(r"RV02\d\d", code)
            assert names_a_value(text, op), f"{text!r} names no value of the op"
    else:
        assert not it.reasons
        assert it.launches == 1


def names_a_value(text: str, op: str) -> bool:
    """A number, an element type or the op itself: something of what was refused."""
    return bool(re.search(r"\d", text)) or op in text


@lru_cache(maxsize=8)
def compile_sample(sample_id: int, target: str, mode: str) -> Compiled:
    raise NotImplementedError
