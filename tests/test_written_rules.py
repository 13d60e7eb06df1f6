"""Written rules give the placement again: rows, cores, precisions, and the bytes of programs."""

from __future__ import annotations

import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from command_line import W, model_of, ranvier
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, helper, save_model

from ranvier import compile
from ranvier.backend.neuron.neff.container import HEADER_SIZE
from ranvier.explanation import Explanation, explain_module
from ranvier.importers.registry import import_model
from ranvier.program import Options
from ranvier.written_rules import rules_of

X = np.ones((8, 8), np.float32)
NAMES = [
    "plain",
    "scope/op:0",
    'say "hi"',
    "back\\slash\\n",
    "two\nlines\r\nand more",
    "a\rb",
    "?",
    "",
    "# no comment; host *",
    "café ünï \u2028",
    "twice",
    "twice",
]
OPS = ["MatMul", "MatMul", "Relu", "Softmax", "Add", "Det", "Tanh"]
RULES = [
    "",
    "host nn.softmax",
    "keep f32 nn.matmul",
    "host nn.add\nkeep f32 nn.tanh, nn.softmax",
    'host name ~ "t.*"\nneuron nn.tanh',
]


@st.composite
def models(draw: st.DrawFn) -> list[NodeProto]:
    """Chains with sums across, some ops of which the target lacks; names as files may hold them."""
    values, nodes = ["x"], list[NodeProto]()
    for kind in draw(st.lists(st.sampled_from(OPS), min_size=2, max_size=10)):
        operands, result = [values[-1]], f"v{len(values)}"
        if kind == "Det":  # a number, which the host computes, is added to what it was made of
            nodes.append(helper.make_node("Det", operands, [f"d{result}"], name="determinant"))
            kind, operands = "Add", [values[-1], f"d{result}"]
        elif kind == "MatMul":
            operands.append("w")
        elif kind == "Add":
            operands.append(draw(st.sampled_from(values)))
        name = draw(st.sampled_from(NAMES))
        nodes.append(helper.make_node(kind, operands, [result], name=name))
        values.append(result)
    return nodes


def explained(path: Path, options: Options) -> Explanation:
    return explain_module(import_model([path]), options)


def rows_of(explanation: Explanation) -> list[dict[str, Any]]:
    """All of each row but why it is there."""
    return [{**vars(row), "code": "", "reason": ""} for row in explanation.ops]


def programs(path: Path) -> dict[str, bytes]:
    """The members of a NEFF file but for those that hold its flags, or begin where others end."""
    with path.open("rb") as stream:
        stream.seek(HEADER_SIZE)
        with tarfile.open(fileobj=stream) as archive:
            members = {m.name: archive.extractfile(m) for m in archive if m.isfile()}
            return {
                name: member.read()
                for name, member in members.items()
                if member is not None and not name.startswith((".align", "manifest", "info"))
            }


@settings(max_examples=25, deadline=None)
@given(models(), st.sampled_from(RULES), st.sampled_from([1, 2, 3]))
def test_rules_give_the_placement_again(nodes: list[NodeProto], rules: str, cores: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        save_model(model_of(nodes, {"x": X}, {"w": W}, [nodes[-1].output[0]]), path)
        before = explained(path, Options(cores=cores, rules=rules))
        written = rules_of(before)
        after = explained(path, Options(cores=cores, rules=written))
        assert rows_of(after) == rows_of(before)
        assert after.segments == before.segments
        assert rule_lines(rules_of(after)) == rule_lines(written)
        compile(path, cores=cores, rules=rules).save(Path(folder) / "a.neff")
        compile(path, cores=cores, rules=written).save(Path(folder) / "b.neff")
        assert programs(Path(folder) / "a.neff") == programs(Path(folder) / "b.neff")


def rule_lines(text: str) -> list[str]:
    """Rules without the comments that say why, which change when a rule is the reason."""
    return [line.partition("  # ")[0] for line in text.splitlines()]


def two_called_alike(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("Tanh", ["x"], ["a"], name="act"),
        helper.make_node("MatMul", ["a", "w"], ["b"], name="product"),
        helper.make_node("Tanh", ["b"], ["y"], name="act"),
    ]
    save_model(model_of(nodes, {"x": X}, {"w": W}), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_ops_of_one_name_are_told_apart_by_their_position(tmp_path: Path) -> None:
    """The second of two ops of one name and type is on the host, and stays there alone."""
    path = two_called_alike(tmp_path)
    found = explained(path, Options(rules="host position == 2"))
    assert [row.placement for row in found.ops] == ["neuron", "neuron", "host"]
    assert 'host name == "act" and position == 2' in rules_of(found)


def test_cores_and_precisions_are_written(tmp_path: Path) -> None:
    path = two_called_alike(tmp_path)
    rules = 'keep f32 nn.matmul\ncore 0 position == 0\ncore 1 name == "product"'
    lines = rule_lines(rules_of(explained(path, Options(cores=2, rules=rules))))
    assert lines[1:] == [
        'neuron name == "act" and position == 0',
        'core 0 name == "act" and position == 0',
        'neuron name == "product"',
        'core 1 name == "product"',
        'keep f32 name == "product"',
        'neuron name == "act" and position == 2',
        'core 1 name == "act" and position == 2',
    ]


def test_a_question_mark_is_a_name_and_no_wildcard(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Tanh", ["x"], ["a"], name="?"),
        helper.make_node("Relu", ["a"], ["y"], name="other"),
    ]
    save_model(model_of(nodes, {"x": X}), tmp_path / "m.onnx")
    found = explained(tmp_path / "m.onnx", Options(rules='host name == "?"'))
    assert [(row.name, row.placement) for row in found.ops] == [("?", "host"), ("other", "neuron")]


@pytest.mark.parametrize("name", ["café", "東京/Conv", "\u2028", "naïve\\xe9"])
def test_names_of_any_alphabet_are_names(name: str, tmp_path: Path) -> None:
    """In rows and in rules, as the model has them."""
    save_model(
        model_of([helper.make_node("Tanh", ["x"], ["y"], name=name)], {"x": X}), tmp_path / "m.onnx"
    )
    shown = "naïveé" if "naïve" in name else name  # a location cannot tell these two apart
    found = explained(tmp_path / "m.onnx", Options(rules=f'host name == "{shown}"'))
    assert [(row.name, row.placement) for row in found.ops] == [(shown, "host")]


def test_rules_can_go_down_a_pipe(tmp_path: Path) -> None:
    """A device stays a device: what is no file is written to, not replaced."""
    path = two_called_alike(tmp_path)
    done = ranvier("explain", path.name, "--write-rules", "/dev/stdout", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'neuron name == "product"' in done.stdout
    done = ranvier("compile", path.name, "-o", "/dev/null", cwd=tmp_path)
    assert done.returncode == 1
    assert "/dev/null: is no regular file" in done.stderr
    assert Path("/dev/null").is_char_device()
    assert not Path("/dev/stdout").is_file() or Path("/dev/stdout").is_symlink()
