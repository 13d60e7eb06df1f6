"""neuron-cc's command line: its flags, io-config, log and statuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import RANVIER, W, X, model_of, ranvier
from onnx import helper, save_model

from ranvier import load
from ranvier.estimates import StageCost, automatic_cores, pipeline_balance
from ranvier.tools import cli, compile_command

LINE = re.compile(
    r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d [AP]M (WARN|ERROR|INFO|FATAL) \d+ \[ranvier\]: ."
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models: `a.onnx` of two outputs, and `b.onnx`."""
    nodes = [
        helper.make_node("MatMul", ["x:0", "w"], ["h:0"]),
        helper.make_node("Relu", ["h:0"], ["y:0"]),
    ]
    save_model(model_of(nodes, {"x:0": X}, {"w": W}, ["h:0", "y:0"]), tmp_path / "a.onnx")
    save_model(model_of([helper.make_node("Exp", ["x"], ["y"])], {"x": X}), tmp_path / "b.onnx")
    return tmp_path


# -- Flags ------------------------------------------------------------------------------------


def test_every_flag_of_the_reference_is_taken_at_once(folder: Path) -> None:
    config = {"inputs": {"x:0": [[4, 8], "float32"]}, "outputs": ["y:0", "h:0"]}
    done = ranvier(
        *("--verbose", "INFO", "compile", "a.onnx", "--framework", "ONNX"),
        *("--io-config", json.dumps(config), "--output", "a.neff", "-O2"),
        *("--fast-math", "fp32-cast-matmult", "no-fast-relayout", "--fp32-cast", "matmult-bf16"),
        *("--num-neuroncores", "1", "--enable-fast-loading-neuron-binaries"),
        *("--enable-fast-context-switch", "--pipeline", "compile", "SaveTemps"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "never compressed" in done.stdout
    assert "a.onnx: schedule" in done.stdout
    assert (folder / "00-import.mlir").is_file(), "SaveTemps keeps files in the working directory"
    program = load(folder / "a.neff")
    assert [port.name for port in program.outputs] == ["y:0", "h:0"]
    assert "--fp32-cast=matmult-bf16" in program.neff.flags


def test_flags_without_effect_are_named(folder: Path) -> None:
    flags = ["--static-weights", "--batching_en", "--rematerialization_en", "--spill_dis", "-O1"]
    settings = {"--sb_size": "60", "--enable-replication": "True", "--model-type": "transformer"}
    words = [*flags, *(word for pair in settings.items() for word in pair)]
    done = ranvier(
        *("compile", "b.onnx", *words, "--tensor-layout-heuristics=spatial-locality"),
        *("--pipeline", "Backend", "--arith_intensity_target", "2400", "--json"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    named = {*flags, *settings, "--tensor-layout-heuristics", "--pipeline Backend"}
    assert all(f"[ranvier]: {flag} is accepted" in done.stderr for flag in named)
    assert all(LINE.match(line) for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    "words", [("--frobnicate",), ("--verb", "1"), ("--verbose", "loud"), ("--fp32-cast", "fp8")]
)
def test_unknown_flags_are_usage_errors(words: tuple[str, ...], folder: Path) -> None:
    done = ranvier("compile", "b.onnx", *words, cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""


def test_must_compile_forbids_the_host(folder: Path) -> None:
    node = helper.make_node("Det", ["x"], ["y"], name="det")
    save_model(model_of([node], {"x": np.zeros((3, 3), np.float32)}), folder / "d.onnx")
    assert ranvier("compile", "d.onnx", cwd=folder).returncode == 0
    done = ranvier("compile", "d.onnx", "--must-compile", cwd=folder)
    assert done.returncode == 1
    assert "'det'" in done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [(("--single-fusion-ratio-threshold", "2"), "from 0 to 1")],
)
def test_what_cannot_be_done_is_refused(words: tuple[str, ...], text: str, folder: Path) -> None:
    done = ranvier("compile", "b.onnx", *words, cwd=folder)
    assert done.returncode == 1
    assert text in done.stderr
    assert "[RV0114]" in done.stderr


# -- Several models ---------------------------------------------------------------------------


def test_several_models_go_into_a_folder(folder: Path) -> None:
    done = ranvier("compile", "a.onnx", "b.onnx", "-o", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("[")] == [
        "[1/2] a.onnx -> out/a.neff",
        "[2/2] b.onnx -> out/b.neff",
    ]
    reports = json.loads(
        ranvier("compile", "a.onnx", "b.onnx", "-o", "out", "--json", cwd=folder).stdout
    )
    assert [report["neff"] for report in reports["models"]] == ["out/a.neff", "out/b.neff"]


def test_several_models_need_a_folder_and_distinct_names(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other/a.onnx").write_bytes((folder / "a.onnx").read_bytes())
    assert "-o DIR" in ranvier("compile", "a.onnx", "b.onnx", cwd=folder).stderr
    same = ranvier("compile", "a.onnx", "other/a.onnx", "-o", "out", cwd=folder)
    assert same.returncode == 1
    assert "two models are named 'a'" in same.stderr


# -- io-config --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "file", "uri"])
def test_an_io_config_is_text_a_file_or_a_uri(form: str, folder: Path) -> None:
    text = json.dumps({"inputs": {"x:0": [[4, 8], "float32"]}, "outputs": ["y:0"]})
    path = folder / "io config.json"
    path.write_text(text)
    argument = {"text": text, "file": path.name, "uri": path.as_uri()}[form]
    done = ranvier("compile", "a.onnx", "--io-config", argument, cwd=folder)
    assert done.returncode == 0, done.stderr
    program = load(folder / "out.neff")
    assert [port.name for port in program.outputs] == ["y:0"]
    np.testing.assert_allclose(program.run({"x:0": X})["y:0"], np.maximum(X @ W, 0), atol=0.1)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ('{"inputs": {', "line 1 column 13"),
        ('{\n "inputs": {"x:0": [[4, 8]], }}', "line 2"),
        ('{"outputs": ["y:0"]}', "no object 'inputs'"),
        ('{"inputs": {}, "output": []}', "'output'"),
        ('{"inputs": {"x:0": "float32"}}', "x:0"),
        ('{"inputs": {"x:0": [[null, 8], "float32"]}}', "every dimension is an integer"),
        ('{"inputs": {"x:0": [[4, 8], "float16"]}}', "declares float32"),
        ('{"inputs": {"x:0": [[4, 9], "float32"]}}', "4x8"),
        ('{"inputs": {"x": [[4, 8], "float32"]}}', "x:0"),
        ('{"inputs": {}, "outputs": ["z:0"]}', "outputs: h:0, y:0"),
        ('{"inputs": {}, "outputs": ["y:0", "y:0"]}', "twice"),
        ("missing.json", "missing.json"),
    ],
)
def test_a_wrong_io_config_is_one_line(config: str, text: str, folder: Path) -> None:
    done = ranvier("compile", "a.onnx", "--io-config", config, cwd=folder)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert text in done.stderr
    assert "[RV0" in done.stderr


# -- Cores ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("millions", "cores"), [(0, 1), (9.9, 1), (25.6, 4), (110, 24), (302, 60), (2000, 64)]
)
def test_auto_is_the_documented_rule(millions: float, cores: int) -> None:
    assert automatic_cores(int(millions * 1e6), 64) == cores


def test_auto_counts_weights_and_an_idle_core_is_told(folder: Path) -> None:
    auto = ranvier("compile", "a.onnx", "--neuroncore-pipeline-cores", "auto", cwd=folder)
    assert auto.returncode == 0, auto.stderr
    assert load(folder / "out.neff").neff.cores == 1
    many = ranvier("compile", "b.onnx", "--neuroncore-pipeline-cores", "8", cwd=folder)
    assert "neuroncore-pipeline-cores (8) may not be suitable for this network" in many.stderr


def test_stages_and_their_balance_are_reported(folder: Path) -> None:
    nodes = [
        helper.make_node("MatMul", [f"v{i}", "w"], [f"v{i + 1}"], name=f"layer{i}")
        for i in range(4)
    ]
    save_model(model_of(nodes, {"v0": X}, {"w": W}, ["v4"]), folder / "deep.onnx")
    done = ranvier("compile", "deep.onnx", "--neuroncore-pipeline-cores", "2", "--json", cwd=folder)
    got = json.loads(done.stdout)
    assert [stage["core"] for stage in got["stages"]] == [0, 1]
    assert all(stage["estimated_us"] > 0 < stage["simulated_us"] for stage in got["stages"])
    pipeline = got["pipeline"]
    assert pipeline["bottleneck_us"] == max(stage["simulated_us"] for stage in got["stages"])
    assert pipeline["bottleneck_us"] >= pipeline["bound_us"] > 0
    info = json.loads(ranvier("info", "out.neff", "--json", cwd=folder).stdout)
    assert info["stages"] == got["stages"]
    assert info["pipeline"] == pipeline
    assert "slowest stage" in ranvier("info", "out.neff", cwd=folder).stdout


def test_the_bound_is_an_even_share_or_the_largest_op() -> None:
    even = [StageCost("seg0", i, 1.0, 5.0, 1.0) for i in range(2)]
    assert pipeline_balance(even, 2) == {"bottleneck_us": 5.0, "bound_us": 5.0, "gap": 0.0}
    lumpy = [StageCost("seg0", 0, 1.0, 9.0, 9.0), StageCost("seg0", 1, 1.0, 1.0, 1.0)]
    assert pipeline_balance(lumpy, 2)["gap"] == 0.0
    uneven = [StageCost("seg0", 0, 1.0, 6.0, 3.0), StageCost("seg0", 1, 1.0, 2.0, 2.0)]
    assert pipeline_balance(uneven, 2)["gap"] == 0.5


# -- Log and statuses -------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
def test_level_35_is_dots_and_a_status(before: bool, folder: Path) -> None:
    level = ("--verbose", "35")
    words = (*level, "compile", "b.onnx") if before else ("compile", "b.onnx", *level)
    done = ranvier(*words, cwd=folder)
    assert done.returncode == 0
    assert re.fullmatch(r"\.+\nCompiler status PASS\n", done.stdout)
    assert done.stderr == ""
    wrong = ranvier("compile", "none.onnx", *level, cwd=folder)
    assert wrong.returncode == 1
    assert wrong.stdout.endswith("Compiler status ERROR\n")
    assert LINE.match(wrong.stderr)


@pytest.mark.parametrize("level", ["0", "1", "2", "INFO", "debug", "20"])
def test_low_levels_show_passes_on_stdout(level: str, folder: Path) -> None:
    done = ranvier("compile", "b.onnx", "--verbose", level, cwd=folder)
    lines = [line for line in done.stdout.splitlines() if " INFO " in line]
    assert done.stderr == ""
    assert all(LINE.match(line) for line in lines)
    assert lines[0].endswith("b.onnx: import")


def test_json_has_stdout_for_itself(folder: Path) -> None:
    done = ranvier("compile", "b.onnx", "--verbose", "INFO", "--json", cwd=folder)
    assert json.loads(done.stdout)["neff"] == "out.neff"
    assert "b.onnx: import" in done.stderr


def test_weights_that_are_not_finite_compile_and_are_named(folder: Path) -> None:
    big, bias = W.copy().repeat(8, 0).repeat(8, 1), W[0].copy()
    big[3, 3], bias[1] = np.inf, np.nan
    nodes = [
        helper.make_node("MatMul", ["x", "layer/w"], ["h"]),
        helper.make_node("Add", ["h", "bias:0"], ["i"]),
        helper.make_node("Max", ["i", "floor"], ["y"]),
    ]
    constants = {"layer/w": big, "bias:0": bias.repeat(8), "floor": np.float32(-np.inf)}
    save_model(model_of(nodes, {"x": np.zeros((2, 64), np.float32)}, constants), folder / "n.onnx")
    done = ranvier("compile", "n.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "weights hold NaN or infinities: layer/w, bias:0\n" in done.stderr


def test_a_bug_leaves_a_report_in_the_known_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(compile_command, "report_of", fail)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert cli.execute(["compile", "a.onnx"]) == 3
    (report,) = folder.glob("ranvier-error-*/report.txt")
    assert str(report) in capsys.readouterr().err
    text = report.read_text()
    assert text.splitlines()[1].strip() == "An Internal Compiler Error has occurred"
    heads = ["Error message:", "Error class:", "Error location:", "Command line:"]
    heads += ["Internal details:", "Version information:", "Artifacts stored in:"]
    places = [text.index(f"\n{head}") for head in heads]
    assert places == sorted(places)
    reproducer = report.with_name("reproducer.mlir")
    pipeline = re.search(r"-p '(.*)'", reproducer.read_text())
    assert pipeline is not None
    opt = [Path(sys.executable).with_name("ranvier-opt"), reproducer, "-p", pipeline[1]]
    assert subprocess.run(opt, capture_output=True, check=False).returncode == 0


def test_an_interrupt_ends_with_130(folder: Path) -> None:
    w = np.ones((8, 8), np.float32)
    nodes = [helper.make_node("MatMul", [f"v{i}", "w"], [f"v{i + 1}"]) for i in range(1000)]
    save_model(model_of(nodes, {"v0": w}, {"w": w}, ["v1000"]), folder / "long.onnx")
    before = sorted(folder.iterdir())
    words = [*RANVIER, "--verbose", "INFO", "compile", "long.onnx"]
    with subprocess.Popen(
        words,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background makes its children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the import begins, of what takes a second or more
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert LINE.match(errors)
    assert errors.endswith("interrupted\n")
    assert sorted(folder.iterdir()) == before


def test_an_interrupt_leaves_no_half_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = sorted(folder.iterdir())
    monkeypatch.chdir(folder)
    monkeypatch.setattr("os.replace", interrupt)  # all is written, nothing has its name yet
    assert cli.execute(["compile", "a.onnx"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o500)
    done = ranvier("compile", "b.onnx", "-o", "locked/b.neff", cwd=folder)
    assert done.returncode == 1
    assert "[RV0103]" in done.stderr


def test_an_output_below_a_file_is_named(folder: Path) -> None:
    done = ranvier("compile", "b.onnx", "a.onnx", "-o", "b.onnx/deeper", cwd=folder)
    assert done.returncode == 1
    assert "[RV0103]" in done.stderr
    done = ranvier("compile", "b.onnx", "-o", "b.onnx/b.neff", cwd=folder)
    assert done.returncode == 1
    assert "[RV0103]" in done.stderr
