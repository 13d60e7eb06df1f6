"""Rules about NeuronCores and types, from the file of rules to what the program runs where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import ranvier
from onnx import TensorProto, helper, numpy_helper, save_model
from onnx.reference import ReferenceEvaluator
from ruled import products_by_core

from ranvier import compile
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.passes.errors import PassError

LAYERS = 6
BF16_UNIT = 2.0**-8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A chain of products `p0` to `p5` with an activation after each."""
    random, nodes, weights = np.random.default_rng(0), [], []
    for i in range(LAYERS):
        weight = random.standard_normal((16, 16), np.float32) / 4
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"m{i}"], name=f"p{i}"))
        nodes.append(helper.make_node("Tanh", [f"m{i}"], [f"x{i + 1}"], name=f"t{i}"))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [4, 16])],
        [helper.make_tensor_value_info(f"x{LAYERS}", TensorProto.FLOAT, [4, 16])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    save_model(
        helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "chain.onnx"
    )
    return tmp_path / "chain.onnx"


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_rule_chooses_the_core(path: Path, cut: int) -> None:
    """Whatever the cost model would choose; what no rule names goes where the order allows."""
    rules = f'core 0 name ~ "p[0-{cut - 1}]"\ncore 1 name ~ "p[{cut}-9]"'
    program = compile(path, cores=2, rules=rules)
    assert products_by_core(program.neff) == {0: cut, 1: LAYERS - cut}
    x = np.random.default_rng(1).standard_normal((4, 16), np.float32)
    (alone,) = compile(path).run({"x0": x}).values()
    (piped,) = program.run({"x0": x}).values()
    assert alone.tobytes() == piped.tobytes()


def test_cores_that_the_order_forbids_are_an_error(path: Path) -> None:
    with pytest.raises((CallerError, PassError)) as error:
        compile(path, cores=2, rules='core 1 name == "p0"\ncore 0 name == "p5"')
    assert error.value.code == Code.RULE_IMPOSSIBLE
    assert "p5" in str(error.value)


def test_a_core_beyond_the_pipeline_is_an_error(path: Path) -> None:
    with pytest.raises((CallerError, PassError), match="core 2; the pipeline has cores 0 to 1"):
        compile(path, cores=2, rules="core 2 nn.matmul")


def test_a_kept_product_is_exact_where_the_target_multiplies_f32(path: Path) -> None:
    program = compile(path, rules="keep f32 *")
    x = np.random.default_rng(1).standard_normal((4, 16), np.float32)
    (actual,) = program.run({"x0": x}).values()
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"x0": x})
    assert np.abs(actual - expected).max() < 1e-5  # f32 sums of 16 products in another order
    (narrow,) = compile(path).run({"x0": x}).values()
    assert np.abs(narrow - expected).max() > BF16_UNIT / 8  # so the rule did something


def test_a_kept_product_is_the_hosts_where_the_target_multiplies_none(path: Path) -> None:
    program = compile(path, target="inf1", rules='keep f32 name == "p2"')
    assert [op.name for op in program.host_ops] == ["p2"]
    assert program.host_ops[0].code == Code.OP_ELEMENT_TYPE.number
    assert program.host_ops[0].reason == "inf1 multiplies no f32, which nn.matmul keeps"


def test_a_warning_names_each_reason_once(path: Path) -> None:
    (path.parent / "r.rules").write_text('host nn.tanh\nhost name == "p3" because "slow"\n')
    done = ranvier("compile", path.name, "--rules", "r.rules", cwd=path.parent)
    lines = [line for line in done.stderr.splitlines() if ": on the host: " in line]
    assert len(lines) == 2
    assert "Tanh 't0', Tanh 't1', Tanh 't2' and 3 more" in lines[0]
    assert "MatMul 'p3': rule line 2: slow [RV0208]" in lines[1]
