"""ranvier-opt, the universe, targets and pipelines."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from xdsl.dialects.builtin import ModuleOp
from xdsl.transforms import get_all_passes
from xdsl.universe import Universe

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.passes import target as targets
from ranvier.passes.errors import PassError
from ranvier.passes.pipelines import (
    Placing,
    default_pipeline,
    parse_pipeline,
    placement_pipeline,
    run_pipeline,
)
from ranvier.passes.target import load_target, set_target, target_name, target_of
from ranvier.tools.universe import PASSES, UNIVERSE

BIN = Path(sys.executable).parent


def opt(*args: str, text: str = "", tool: str = "ranvier-opt") -> subprocess.CompletedProcess[str]:
    command = [str(BIN / tool), *args]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def test_no_name_is_one_of_xdsl():
    assert not set(PASSES) & set(get_all_passes())
    assert set(PASSES) <= set(Universe.get_multiverse().all_passes)


@pytest.mark.parametrize(
    "name", [n for n, place in PASSES.items() if place.startswith("ranvier.passes")]
)
def test_a_pass_has_its_name_and_help(name):
    passed = UNIVERSE.all_passes[name]()
    assert passed.name == name
    assert passed.__doc__


def test_help_loads_nothing_but_xdsl():
    """So it is as fast as that of `xdsl-opt`; `benchmarks/linear.py` has the seconds."""
    assert "--verify-execution" in opt("--help").stdout
    code = """if True:
        import contextlib, io, sys
        from ranvier.tools.opt import main
        sys.argv = ["ranvier-opt", "--help"]
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            main()
        loaded = {name.split(".")[0] for name in sys.modules} - sys.stdlib_module_names
        print(*sorted(name for name in loaded if not name.startswith("_")))
    """
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) <= {"ranvier", "xdsl", "immutabledict", "typing_extensions"}


IDENTITY = """func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  func.return %x : tensor<4xf32>
}"""


@pytest.mark.parametrize(
    ("args", "text", "message"),
    [
        (["/no/such/file.mlir"], "", "/no/such/file.mlir: No such file"),
        (["-p", "no-such-pass"], IDENTITY, "no-such-pass"),
        (["-p", "segment{"], IDENTITY, "segment{"),
        (["-p", "cast-bf16{mode=fp8}"], IDENTITY, "[RV0114]"),
        (["-p", "legalize{target=tpu}"], IDENTITY, "[RV0115]"),
        ([], "func.func @main(", "stdin:1"),
        ([], IDENTITY.replace("%x :", "%y :"), "not defined: [%y]"),
    ],
)
def test_an_error_of_the_user_is_one_message(args, text, message):
    result = opt(*args, text=text)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_traceback_is_there_on_request():
    assert "Traceback" in opt("--traceback", "/no/such/file.mlir").stderr


def test_a_verification_error_names_the_op():
    text = "func.func @f(%x: tensor<4xf32>) {\n  %r = nn.softmax %x {axis = 3} : tensor<4xf32>\n"
    text += "  func.return\n}"
    assert '"nn.softmax"(%x)' in opt(text=text).stderr


WEIGHT = """nn.weight @w : tensor<4xf32> from "w.safetensors" key "k"
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %w = nn.load_weight @w : tensor<4xf32>
  %r = nn.add %x, %w : tensor<4xf32>
  func.return %r : tensor<4xf32>
}"""


def test_weights_are_looked_for_beside_the_file(tmp_path):
    save_file({"k": np.ones(4, np.float32)}, tmp_path / "w.safetensors")
    file = tmp_path / "m.mlir"
    file.write_text(WEIGHT)
    check = ("-p", "fold-constants", "--verify-execution")
    assert opt(str(file), *check).returncode == 0
    missing = opt(*check, text=WEIGHT)
    assert missing.returncode == 1
    assert "[RV0117]" in missing.stderr
    assert opt(*check, "--weights", str(tmp_path), text=WEIGHT).returncode == 0


def test_verify_execution_names_pass_and_output(monkeypatch, tmp_path, capsys):
    """A pass that breaks the program: casting through i64 in place of nothing."""
    from ranvier.passes import simplify_shapes as module
    from ranvier.tools import opt as tool

    def wrong(ir: ModuleOp) -> None:
        for op in list(ir.walk()):
            if isinstance(op, nn.TanhOp):
                op.result.replace_all_uses_with(op.operand)

    monkeypatch.setattr(module, "simplify_shapes", wrong)
    file = tmp_path / "m.mlir"
    file.write_text(
        IDENTITY.replace("{\n", "{\n  %r = nn.tanh %x : tensor<4xf32>\n").replace(
            "return %x", "return %r"
        )
    )
    args = ["ranvier-opt", str(file), "-p", "simplify-shapes", "--verify-execution"]
    monkeypatch.setattr(sys, "argv", args)
    with pytest.raises(SystemExit) as caught:
        tool.main()
    assert caught.value.code == 1
    assert "simplify-shapes changed output 'result0' at [" in capsys.readouterr().err


def test_stock_xdsl_opt_runs_our_passes():
    text = "func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> {\n  %r = nn.relu %x : tensor<4xf32>\n"
    text += "  func.return %r : tensor<4xf32>\n}"
    result = opt("-p", "cast-bf16", text=text, tool="xdsl-opt")
    assert "tensor<4xbf16>" in result.stdout


def test_the_target_is_stated_once():
    module = ModuleOp([])
    assert target_name(module) == "inf2"
    assert target_name(module, "inf1") == "inf1"
    set_target(module, load_target("inf1"))
    assert target_name(module) == "inf1"
    with pytest.raises(PassError, match="target=inf2 contradicts") as caught:
        target_of(module, "inf2")
    assert caught.value.code is Code.TARGET_CONFLICT


def test_an_unknown_target_lists_the_installed_ones():
    with pytest.raises(PassError, match="unknown target 'tpu'; installed targets: ") as caught:
        load_target("tpu")
    assert caught.value.code is Code.TARGET_UNKNOWN
    installed = {entry.name for entry in entry_points(group=targets.ENTRY_POINTS)}
    assert all(name in str(caught.value) for name in installed)


def test_named_pipelines_are_text_that_the_tool_takes():
    text = placement_pipeline("inf2", "matmult", keep=("nn.exp",), placing=Placing(minimum_size=2))
    steps = parse_pipeline(text)
    assert [step.name for step in steps][-2:] == ["segment", "fold-constants"]
    assert {step.name: step for step in steps}["cast-bf16"].keep == ("nn.exp",)
    assert default_pipeline("inf1", 4).endswith(
        "partition-pipeline{cores=4},lower-nn-to-nc,keep-on-chip,double-buffer,allocate,schedule"
    )
    with pytest.raises(PassError, match="no-such-pass"):
        parse_pipeline("no-such-pass")


def test_a_pipeline_runs_in_process_and_reports_each_pass():
    seen: list[str] = []
    run_pipeline(
        ModuleOp([]),
        "fold-constants,simplify-shapes,cast-bf16{mode=none}",
        after_each=lambda step, module: seen.append(str(step)),
        verify=True,
    )
    assert seen == ["fold-constants", "simplify-shapes", 'cast-bf16{mode="none"}']
