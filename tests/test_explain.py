"""`ranvier explain`: it agrees with what runs, its files load back, its page works in a browser."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ranvier
from onnx import ModelProto, TensorProto, helper, numpy_helper, save_model

from ranvier import compile
from ranvier.backend.neuron.lowering import registry
from ranvier.dialects import nn
from ranvier.dialects.diagnostics import Code
from ranvier.explanation import explain_module
from ranvier.importers.registry import import_model
from ranvier.passes.errors import PassError
from ranvier.program import Options
from ranvier.tools.explain_command import print_table

NAMES = {"det": 'det <b>"1"</b>:0', "hot": "hot/</script><script>alert(1)</script>"}
"""Names that a page or a rule could trip over."""


def model() -> ModelProto:
    """Two products with a determinant, which is the host's, between them."""
    weight = np.random.default_rng(0).standard_normal((8, 8), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name=NAMES["hot"]),
        helper.make_node("Det", ["b"], ["d"], name=NAMES["det"]),
        helper.make_node("Add", ["b", "d"], ["e"], name="sum"),
        helper.make_node("Softmax", ["e"], ["f"], name="last", axis=-1),
        helper.make_node("MatMul", ["f", "w"], ["y"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_model(model(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def explained(path: Path, *words: object) -> dict[str, Any]:
    done = ranvier("explain", path.name, "--json", *words, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


RULES = ["", "host nn.softmax", "host nn.matmul", 'host name == "sum"', "host *"]


@pytest.mark.parametrize("rules", RULES)
def test_what_is_explained_is_what_runs(rules: str, path: Path, tmp_path: Path) -> None:
    """Counts, names and reasons are those of the program; the MACs are those that it executes."""
    found = explain_module(import_model([path]), Options(rules=rules))
    program = compile(path, rules=rules)
    x = np.random.default_rng(1).standard_normal((8, 8), np.float32)
    program.run({"x": x})
    assert vars(found.operators) == dict(program.operators)
    host = [row for row in found.ops if row.placement == "host"]
    assert [(r.name, r.code, r.reason, r.location) for r in host] == [
        (op.name, op.code, op.reason, op.location) for op in program.host_ops
    ]
    assert len(found.ops) == found.operators.before == 6
    assert len([s for s in found.segments if s.placement == "neuron"]) == found.operators.segments
    products = sum(row.framework_op == "MatMul" for row in found.ops if row not in host)
    assert program.runner.counters.macs == products * 8**3
    for segment in found.segments:
        assert segment.ops == sum(row.segment == segment.name for row in found.ops)


def test_bytes_are_those_of_the_values_that_cross(path: Path) -> None:
    """seg0 reads x and gives b, 256 bytes each; the determinant is 4 bytes."""
    report = explained(path)
    assert [(s["name"], s["bytes_in"], s["bytes_out"]) for s in report["segments"]] == [
        ("seg0", 256, 256),
        ("host0", 256, 4),
        ("seg1", 260, 256),
    ]
    rows = {row["name"]: row for row in report["ops"]}
    assert rows["first"]["bytes_in"] == 256
    assert rows[NAMES["hot"]]["bytes_out"] == 256
    assert rows["sum"]["bytes_in"] == 260
    assert rows["second"]["bytes_out"] == 256
    assert {"name", "op", "framework_op", "placement", "segment", "code", "reason", "location"} <= (
        set(rows["sum"])
    )


def test_the_gain_of_a_reason_is_what_fixing_it_brings(path: Path) -> None:
    report = explained(path, "--rules", write(path, "host nn.softmax"))
    gains = {gain["op"]: (gain["ops"], gain["segments"]) for gain in report["summary"]}
    assert gains == {"nn.opaque": (1, 1), "nn.softmax": (1, 1)}
    assert report["operators"]["segments"] == 3


def test_the_graph_is_the_models_own_whatever_is_merged(tmp_path: Path) -> None:
    """Two projections become one product, sums go into products, and an identity is gone."""
    random = np.random.default_rng(0)
    values = {name: random.standard_normal((8, 8), np.float32) for name in ("v", "w", "b")}
    nodes = [
        helper.make_node("Relu", ["x"], ["h"], name="relu"),
        helper.make_node("MatMul", ["h", "v"], ["p"], name="left"),
        helper.make_node("Add", ["p", "b"], ["q"], name="left sum"),
        helper.make_node("Identity", ["q"], ["r"], name="same"),
        helper.make_node("MatMul", ["h", "w"], ["s"], name="right"),
        helper.make_node("Add", ["s", "b"], ["t"], name="right sum"),
        helper.make_node("MatMul", ["r", "t"], ["y"], name="both"),
    ]
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [8, 8]) for n in "xy"]
    weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "graph", info[:1], info[1:], weights)
    opset = helper.make_opsetid("", 17)
    save_model(helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "g.onnx")
    found = explain_module(import_model([tmp_path / "g.onnx"]), Options())
    assert {(found.ops[a].name, found.ops[b].name) for a, b in found.edges} == {
        ("relu", "left"),
        ("left", "left sum"),
        ("relu", "right"),
        ("right", "right sum"),
        ("left sum", "both"),
        ("right sum", "both"),
    }


TRACE = """File "/src/model.py", line 14, in forward
    y = self.linear(x)
  File "/env/lib/python3.11/site-packages/torch/nn/modules/linear.py", line 134, in forward
    return F.linear(input, self.weight, self.bias)"""


def test_lines_of_python_that_an_exporter_recorded_are_told(tmp_path: Path) -> None:
    """The innermost that is not PyTorch's own, in the table, in JSON and in errors."""
    proto = model()
    for node in proto.graph.node:
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=TRACE)
    save_model(proto, tmp_path / "m.onnx")
    rows = explained(tmp_path / "m.onnx")["ops"]
    assert {row["source"] for row in rows} == {"/src/model.py:14"}
    assert rows[0]["location"] == "'first' (MatMul), /src/model.py:14"
    table = ranvier("explain", "m.onnx", cwd=tmp_path).stdout.splitlines()
    assert table[0].endswith("\tfrom")
    assert table[1].endswith("\t/src/model.py:14")
    refused = ranvier("compile", "m.onnx", "--fallback", "error", cwd=tmp_path)
    assert "(Det), /src/model.py:14: " in refused.stderr


def write(path: Path, rules: str) -> Path:
    path.with_suffix(".rules").write_text(rules)
    return path.with_suffix(".rules")


@pytest.mark.parametrize("rules", RULES)
def test_written_rules_give_the_same_placement(rules: str, path: Path, tmp_path: Path) -> None:
    written = tmp_path / "placement.rules"
    before = explained(path, "--rules", write(path, rules), "--write-rules", written)
    assert len(written.read_text().splitlines()) == 1 + len(before["ops"])
    after = explained(path, "--rules", written)
    for report in (before, after):
        for row in report["ops"]:
            del row["reason"], row["code"]
    assert after["ops"] == before["ops"]
    assert after["segments"] == before["segments"]


def test_the_cores_of_a_pipeline_are_told(path: Path) -> None:
    rules = write(path, 'core 0 name == "last"; core 1 name == "second"')
    rows = explained(path, "--rules", rules, "--neuroncore-pipeline-cores", 2)["ops"]
    cores = {row["name"]: row["core"] for row in rows}
    assert (cores["last"], cores["second"], cores[NAMES["det"]]) == (0, 1, None)
    assert {row["core"] for row in explained(path)["ops"]} == {None}
    refused = ranvier("explain", path.name, "--rules", rules, cwd=path.parent)
    assert refused.returncode == 1
    assert "'second' (MatMul) on core 1; the pipeline has cores 0 to 0" in refused.stderr


def test_text_is_tabs_and_ends_with_the_summary(path: Path) -> None:
    done = ranvier("explain", path.name, "--rules", write(path, "host nn.softmax"), cwd=path.parent)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].split("\t")[:4] == ["op", "name", "type", "runs on"]
    assert "4 of 6 ops run on inf2, in 3 segments; 2 on the host" in done.stdout
    assert "1 op, 1 segment, 512 B across: nn.softmax: rule line 1 [RV0208]" in done.stdout


def test_paths_keep_their_ends_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and the line, and the op in its module, say more than the folders before them."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    source = "/somebody/projects/vision/models/classifier.py:175"
    name = "encoder.layer.11.attention.output.dense/linear"
    print_table(("op", "name", "why", "from"), [["nn.gemm", name, "a reason " * 20, source]])
    first = next(line for line in capsys.readouterr().out.splitlines() if "nn.gemm" in line)
    assert "tput.dense/linear" in first
    assert first.endswith("classifier.py:175")


def test_heavy_work_on_the_host_is_a_warning(path: Path) -> None:
    rules = write(path, 'host nn.matmul where name == "second"')
    done = ranvier("compile", path.name, "--rules", rules, cwd=path.parent)
    assert "heavy work stays on the host: 1 nn.matmul, 50 % of the MACs" in done.stderr
    done = ranvier("compile", path.name, cwd=path.parent)
    assert "heavy" not in done.stderr


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ("host nn.sofmax", "m.rules:1:6: no op 'nn.sofmax'; did you mean 'nn.softmax'"),
        ("neuron nn.opaque", "rule line 1: nn.opaque at 'det"),
        ("core 1 nn.relu", "the pipeline has cores 0 to 0"),
        ("host", "m.rules:1:5: unexpected"),
    ],
)
def test_a_bad_rule_is_one_line_and_leaves_no_file(rules: str, text: str, path: Path) -> None:
    done = ranvier("compile", path.name, "--rules", write(path, rules), cwd=path.parent)
    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (path.parent / "out.neff").exists()
    missing = ranvier("compile", path.name, "--rules", "none.rules", cwd=path.parent)
    assert missing.returncode == 1
    assert "none.rules" in missing.stderr


@pytest.mark.parametrize("option", ["--html", "--write-rules"])
@pytest.mark.parametrize("place", ["none/page", ".", "m.onnx/page"])
def test_outputs_that_cannot_be_are_refused_before_the_work(
    option: str, place: str, path: Path
) -> None:
    before = {*path.parent.iterdir()}
    done = ranvier("explain", path.name, option, place, cwd=path.parent)
    assert done.returncode == 1
    assert f"{place}: " in done.stderr
    assert "[RV0103]" in done.stderr
    assert done.stdout == ""
    assert {*path.parent.iterdir()} == before


def test_a_rule_that_matches_nothing_is_a_warning(path: Path) -> None:
    rules = write(path, 'host name == "nothing"')
    done = ranvier("explain", path.name, "--rules", rules, cwd=path.parent)
    assert done.returncode == 0
    assert 'rule line 1 matches no op: host * where name == "nothing"' in done.stderr


def test_forbidden_fallback_lists_the_ops(path: Path) -> None:
    done = ranvier("explain", path.name, "--fallback", "error", cwd=path.parent)
    assert done.returncode == 1
    assert "1 op needs the host" in done.stderr
    assert "(Det)" in done.stderr


# -- A lowering that fails ----------------------------------------------------------------------


@pytest.fixture
def broken_softmax(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A lowering whose guard is wrong: it accepts what it cannot lower."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where reproducers go

    def fail(*_: object) -> None:
        raise IndexError("tile 7 of 4")

    lowering = type(registry.lowerings()[nn.SoftmaxOp])
    monkeypatch.setattr(lowering, "lower", fail)


@pytest.mark.usefixtures("broken_softmax")
def test_a_segment_that_fails_goes_back_to_the_host(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = compile(path)
    assert [(op.name, op.code) for op in program.host_ops] == [
        (NAMES["det"], "RV0205"),
        ("sum", "RV0212"),
        ("last", "RV0212"),
        ("second", "RV0212"),
    ]
    assert program.operators["before"] == 6
    assert "segment seg1 failed to lower (IndexError: tile 7 of 4)" in caplog.text
    reproducer = Path(caplog.text.partition("reproducer: ")[2].split()[0])
    text = reproducer.read_text()
    assert "nn.softmax" in text
    assert "RUN: ranvier-opt %s -p lower-nn-to-nc,keep-on-chip,double-buffer,allocate" in text
    x = np.random.default_rng(1).standard_normal((8, 8), np.float32)
    weight = numpy_helper.to_array(model().graph.initializer[0])
    b = np.maximum(x @ weight, 0)
    e = np.exp(b + np.linalg.det(b) - (b + np.linalg.det(b)).max(-1, keepdims=True))
    expected = e / e.sum(-1, keepdims=True) @ weight
    # The first product has bf16 operands, and the softmax amplifies what that leaves.
    np.testing.assert_allclose(program.run({"x": x})["y"], expected, atol=0.2)


@pytest.mark.usefixtures("broken_softmax")
def test_a_segment_that_fails_is_an_error_if_the_host_is_forbidden(tmp_path: Path) -> None:
    node = helper.make_node("Softmax", ["x"], ["y"])
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, 8]) for n in "xy"]
    graph = helper.make_graph([node], "graph", info[:1], info[1:])
    opset = helper.make_opsetid("", 17)
    save_model(helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "s.onnx")
    with pytest.raises(PassError, match="seg0: tile 7 of 4") as caught:
        compile(tmp_path / "s.onnx", fallback="error")
    assert caught.value.code is Code.SEGMENT_FAILED


# -- The page -----------------------------------------------------------------------------------


@pytest.fixture
def page(path: Path, tmp_path: Path) -> Iterator[Any]:
    """The page of a model in headless Chromium, opened from disk, with what it complains about."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    explained(path, "--html", "page.html", "--rules", write(path, "host nn.softmax"))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page()
        complaints: list[str] = []
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("dialog", lambda dialog: complaints.append(dialog.message))
        opened.on("request", lambda request: complaints.append(request.url))
        opened.goto((tmp_path / "page.html").as_uri())
        yield opened
        browser.close()
        assert [text for text in complaints if not text.startswith("file:")] == []
        assert len(complaints) == 1  # the page itself


def test_the_page_shows_the_graph(page: Any) -> None:
    assert page.title() == "m.onnx: placement"
    assert "4 of 6 ops on inf2 in 3 segments, 2 on the host" in page.inner_text("#counts")
    assert page.locator(".box").count() == 6
    assert page.locator(".box.host").count() == 2
    assert page.locator(".edge").count() == 6
    colors = page.eval_on_selector_all(".box rect", "all => all.map(r => r.getAttribute('fill'))")
    assert len(set(colors)) == 4  # three segments, and one colour for the host
    hues = [float(color[4:].split()[0]) for color in colors if color.startswith("hsl(")]
    assert len(hues) == 4
    assert min(hues) >= 80  # the host is orange, at 40 degrees


def test_the_page_is_searchable(page: Any) -> None:
    page.fill("#search", "matmul")
    assert page.inner_text("#found") == "2 found"
    assert page.locator(".box:not(.faded)").count() == 2
    page.fill("#search", "rule line 1")
    page.press("#search", "Enter")
    assert "nn.softmax" in page.inner_text("#op")
    assert "rule line 1 [RV0208]" in page.inner_text("#op")
    page.fill("#search", "alert(1)")
    assert page.inner_text("#hits").strip() == NAMES["hot"]
    page.fill("#search", "no such op")
    assert page.inner_text("#found") == "0 found"
    page.click("#fit")
    assert page.locator(".box.faded").count() == 0


def test_a_box_tells_about_its_op(page: Any) -> None:
    page.locator(".box.host").first.focus()
    page.keyboard.press("Enter")
    assert NAMES["det"] in page.inner_text("#op")
    assert "RV0205" in page.inner_text("#op")
