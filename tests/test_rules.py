"""The rules language: what a rule matches, which rule wins, and where an error is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import (
    ArrayAttr,
    FileLineColLoc,
    FusedLoc,
    IntAttr,
    ModuleOp,
    NameLoc,
    NoneAttr,
    StringAttr,
    f32,
    i64,
)
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation

from ranvier.dialects import nn
from ranvier.dialects.diagnostics import CallerError, Code, Reason
from ranvier.dialects.nn.types import tensor
from ranvier.passes.apply_rules import apply_rules, checked_rules
from ranvier.passes.cast_bf16 import cast_bf16
from ranvier.passes.errors import PassError
from ranvier.passes.placement import (
    before_rules,
    names_on_host,
    names_on_neuron,
    nodes_chosen,
    read_rules,
    types_supported,
)
from ranvier.passes.placement.conditions import quoted
from ranvier.passes.placement.nodes import decide
from ranvier.passes.rewriting.marks import core_of, keeps_f32, placement_of

X = tensor((4, 8), f32)
WORDS = (
    "host neuron core keep f32 where and or not in because == ~ < ( ) [ ] , ; . ? -1 2 1.5 4x? "
    'name axis shape dtype operand[0].rank nn.softmax nn.* * none true "a" "(" \n'
).split(" ")
ODD_NAMES = ["a/b:0", 'say "hi"', "back\\slash", "two\nlines", "", "ünïcode", "where # x; host"]


def located(name: str, kind: str) -> NameLoc:
    return NameLoc(StringAttr(name), NameLoc(StringAttr(kind), NoneAttr()))


def model() -> tuple[ModuleOp, dict[str, Operation]]:
    """Four ops with names and one of two names."""
    main = FuncOp("main", ([X, tensor((2,), i64)], [X]))
    x, _ = main.body.block.args
    softmax = nn.SoftmaxOp(x, axis=0)
    final = nn.SoftmaxOp(softmax.result, axis=1)
    relu = nn.ReluOp(final.result)
    total = nn.ReduceSumOp(relu.result, axes=(1,), keepdims=True)
    fused = nn.AddOp(relu.result, total.results[0])
    softmax.location = located("encoder/first", "Softmax")
    final.location = located("encoder/last", "Softmax")
    relu.location = located("act", "Relu")
    total.location = located("sum", "ReduceSum")
    fused.location = FusedLoc(
        ArrayAttr([located("add", "Add"), located("bias", "Bias")]), NoneAttr()
    )
    ops: dict[str, Operation] = {
        "first": softmax,
        "last": final,
        "act": relu,
        "sum": total,
        "add": fused,
    }
    main.body.block.add_ops([*ops.values(), ReturnOp(fused.results[0])])
    return ModuleOp([main]), ops


def hosted(rules: str) -> set[str]:
    module, ops = model()
    apply_rules(module, rules)
    return {name for name, op in ops.items() if (placement_of(op) or ("",))[0] == "host"}


MATCHES: Mapping[str, set[str]] = {
    "host nn.softmax": {"first", "last"},
    "host nn.softmax where axis != -1": {"first"},
    "host nn.softmax where axis == -1": {"last"},
    "host nn.softmax where axis == 1": {"last"},
    "host nn.reduce_*": {"sum"},
    "host nn.relu, nn.add": {"act", "add"},
    "host *": {"first", "last", "act", "sum", "add"},
    'host name ~ "encoder/.*"': {"first", "last"},
    'host name ~ "coder"': set(),
    'host name !~ "encoder/.*"': {"act", "sum", "add"},
    'host name == "bias"': {"add"},
    'host name != "bias"': {"first", "last", "act", "sum"},
    'host name in ["act", "sum"]': {"act", "sum"},
    'host framework_op == "Softmax" and not name == "encoder/last"': {"first"},
    "host rank == 2 and shape == [4, 1]": {"sum"},
    "host shape == 4x?": {"first", "last", "act", "sum", "add"},
    "host shape == [?, 8]": {"first", "last", "act", "add"},
    "host operand[1].shape == 4x1": {"add"},
    "host operand[1].rank >= 0": {"add"},
    "host result[0].size < 32": {"sum"},
    'host bytes > 16 and op != "nn.add"': {"first", "last", "act"},
    "host dtype == float32 and (rank > 2 or size <= 4)": {"sum"},
    "host keepdims == true": {"sum"},
    "host axes == [-1]": {"sum"},
    "host attr.axis == 1": {"last"},
    "host attr.axis in [0, 2]": {"first"},
    "host axis >= 0": {"first", "last"},
    "host nn.softmax where axis == none": set(),
    "host axis == none": {"act", "sum", "add"},
    "host rank == 2.5": set(),
    "host nn.softmax # the rest is a comment; host *": {"first", "last"},
    'host nn.softmax\nneuron name == "encoder/first"': {"last"},
    'neuron name == "encoder/first"\nhost nn.softmax': {"first", "last"},
    "host nn.softmax; neuron nn.softmax; host nn.softmax where axis == 0": {"first"},
    "": set(),
    "\n # nothing \n\n": set(),
}


@pytest.mark.parametrize(("rules", "expected"), MATCHES.items(), ids=MATCHES.keys())
def test_a_rule_matches(rules: str, expected: set[str]) -> None:
    assert hosted(rules) == expected


@pytest.mark.parametrize("rules", [rule for rule in MATCHES if rule], ids=str)
def test_a_rule_is_written_as_it_is_read(rules: str) -> None:
    parsed = read_rules(rules)
    again = read_rules("\n".join(rule.text() for rule in parsed))
    assert [rule.text() for rule in again] == [rule.text() for rule in parsed]
    assert hosted("\n".join(rule.text() for rule in parsed)) == hosted(rules)


ERRORS = {
    "host": "rules:1:5: unexpected .*expected .*an op such as nn.softmax",
    "hots nn.softmax": "rules:1:1: unexpected 'h",
    "host nn.softmax\n  neuron nn.softmax where axis = 1": "rules:2:32: unexpected '='",
    "host nn.softmax where axis ==": "rules:1:30: unexpected",
    "core nn.conv": "rules:1:6: unexpected .*expected a number",
    "core -1 nn.conv": "rules:1:6: unexpected",
    "keep bf16 *": "rules:1:6: unexpected",
    "host nn.sofmax": "rules:1:6: no op 'nn.sofmax'; did you mean 'nn.softmax'",
    "host Softmax": 'rules:1:13: unexpected .* chosen by framework_op == "Softmax"',
    "host aten::relu": 'rules:1:10: unexpected .* chosen by framework_op == "aten::relu"',
    "host nn.softmax nn.relu": "rules:1:17: unexpected 'nn.relu'; expected ',', because, ",
    "host nn.zzz*": "rules:1:6: no op 'nn.zzz\\*'",
    "host nn.relu where axis == 1": "rules:1:20: nn.relu has no attribute 'axis'",
    "host axsi == 1": "rules:1:6: no op has an attribute 'axsi'; did you mean 'axis'",
    "host shap == [1]": "did you mean 'shape'",
    "host dtype == flaot32": "rules:1:15: no element type 'flaot32'; did you mean 'float32'",
    'host name ~ "("': "rules:1:13: bad regular expression",
    "host name ~ act": "rules:1:13: a regular expression is a string",
    'host rank < "two"': "rules:1:13: < compares numbers",
    "host name < 3": 'rules:1:6: name is "encoder/first", which has no order',
    "host operand[0].name == 1": "rules:1:17: a tensor has no 'name'",
    "host nn.constant": "rules:1:6: nn.constant is a constant, which runs nowhere",
    "host nn.relu because reason": "rules:1:22: unexpected",
    'host name == "open': "rules:1:14: unexpected",
}


@pytest.mark.parametrize(("rules", "text"), ERRORS.items(), ids=ERRORS.keys())
def test_an_error_has_line_and_column(rules: str, text: str) -> None:
    with pytest.raises(PassError, match=text) as caught:
        hosted(rules)
    assert caught.value.code is Code.RULE_INVALID


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join))
def test_no_text_is_a_crash(text: str) -> None:
    with suppress(PassError):
        hosted(text)


@given(st.text(max_size=20))
def test_any_name_can_be_quoted(name: str) -> None:
    (rule,) = read_rules(f"host name == {quoted(name)}")
    assert rule.names == {name}


def test_a_file_is_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "my.rules"
    path.write_text("\nhost nn.softmax where\n")
    with pytest.raises(PassError, match=r"my\.rules:2:22: unexpected the end of the rule"):
        read_rules(path)
    with pytest.raises(CallerError, match=r"no\.rules"):
        read_rules(tmp_path / "no.rules")
    path.write_bytes(b"host \xff")
    with pytest.raises(CallerError, match="UTF-8"):
        read_rules(path)


def test_rules_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As from `--rules <(…)`: what is read is gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_text, args=("host nn.relu",), daemon=True)
    writer.start()
    assert checked_rules(pipe) == "host nn.relu"


def test_the_verbs_are_independent_and_the_last_of_each_wins() -> None:
    module, ops = model()
    apply_rules(module, "core 1 *\ncore 2 nn.softmax\nkeep f32 nn.softmax\nhost nn.softmax")
    assert placement_of(ops["first"]) == ("host", "rule line 4")
    assert core_of(ops["first"]) == 2
    assert core_of(ops["act"]) == 1
    assert keeps_f32(ops["first"])
    assert not keeps_f32(ops["act"])


def test_a_rule_says_why_if_it_is_told() -> None:
    module, ops = model()
    apply_rules(module, '\nhost nn.relu because "see the notes"')
    assert placement_of(ops["act"]) == ("host", "rule line 2: see the notes")


def test_a_rule_without_a_match_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    hosted("host nn.conv")
    assert "rule line 1 matches no op: host nn.conv" in caplog.text


def test_kept_ops_are_not_cast() -> None:
    module, _ = model()
    apply_rules(module, "keep f32 nn.relu")
    cast_bf16(module)
    elements = {op.name: str(op.results[0].type.element_type) for op in module.walk() if op.results}
    assert elements["nn.relu"] == "f32"
    assert elements["nn.add"] == "bf16"


# -- Options of the frameworks ------------------------------------------------------------------


def marked(rules: list[str], names: list[str]) -> dict[str, tuple[str, str] | None]:
    main = FuncOp("main", ([X], [X]))
    value = main.body.block.args[0]
    ops = []
    for name in names:
        op = nn.ReluOp(value)
        op.location = located(name, "Relu")
        ops.append(op)
        value = op.result
    main.body.block.add_ops([*ops, ReturnOp(value)])
    apply_rules(ModuleOp([main]), rules)
    return {name: placement_of(op) for name, op in zip(names, ops, strict=True)}


def test_names_with_any_characters_are_placed() -> None:
    found = marked(names_on_host(ODD_NAMES[:4], "no_fuse_ops"), ODD_NAMES)
    assert found == {
        name: ("host", "rule line 1: no_fuse_ops") if name in ODD_NAMES[:4] else None
        for name in ODD_NAMES
    }
    assert names_on_host([], "no_fuse_ops") == []


def test_a_later_option_wins() -> None:
    rules = names_on_host(["a", "b"], "excl_node_names")
    found = marked(rules + names_on_neuron(["b"], "force_incl_node_names"), ["a", "b"])
    assert found["a"] == ("host", "rule line 1: excl_node_names")
    assert found["b"] == ("neuron", "rule line 2: force_incl_node_names")


def test_a_callback_is_asked_once_for_each_node() -> None:
    asked: list[object] = []

    def chosen(node: object) -> bool:
        asked.append(node)
        return node != 1

    rules = nodes_chosen([("a", 0), ("b", 1)], chosen, "subgraph_builder_function")
    assert asked == [0, 1]
    found = marked(rules, ["a", "b"])
    assert found == {"a": None, "b": ("host", "rule line 1: subgraph_builder_function")}


def test_types_off_the_list_are_on_the_host() -> None:
    found = marked(types_supported(["Conv"], ["Relu", "Conv"], "supported_op_types"), ["a"])
    assert found["a"] == ("host", "rule line 1: supported_op_types")
    assert types_supported(["Relu"], ["Relu"], "supported_op_types") == []


def test_what_is_forced_is_an_exception_and_no_rule() -> None:
    assert names_on_host(["a", "b"], "no_fuse_ops", but={"b"}) == names_on_host(
        ["a"], "no_fuse_ops"
    )
    rules = types_supported(["Conv"], ["Relu"], "supported_op_types", but={"b"})
    assert marked(rules, ["a", "b"])["b"] is None
    assert marked(rules, ["a", "b"])["a"] == ("host", "rule line 1: supported_op_types")


def test_rules_of_a_user_follow_those_of_options_and_keep_their_lines() -> None:
    options = [*names_on_host(["a", "b"], "no_fuse_ops"), *names_on_host(["c"], "excl")]
    found = marked([before_rules(options, '# mine\nneuron name == "b"')], ["a", "b", "c"])
    assert found == {
        "a": ("host", "rule line 1: no_fuse_ops"),
        "b": ("neuron", "rule line 2"),
        "c": ("host", "rule line 1: excl"),
    }
    assert before_rules([], "host *") == "host *"


# -- Nodes of a framework -----------------------------------------------------------------------

NODES = [(0, "a", "Relu"), (1, "b", "Relu"), (2, "c/d", "Conv")]


@pytest.mark.parametrize(
    ("rules", "host", "neuron"),
    [
        ('host name == "a"', [0], []),
        ('host * where framework_op == "Relu"', [0, 1], []),
        ('host not name ~ "c/.*"', [0, 1], []),
        ('host framework_op == "Relu"\nneuron name == "b"', [0], [1]),
        ('host framework_op == "Relu"\ncore 1 *\nkeep f32 nn.relu', [0, 1], []),
        ("host nn.relu", [], []),
        ("host *\nneuron nn.relu", [], []),  # the op that a node becomes decides
        ('host *\nneuron nn.relu where name == "a"', [1, 2], []),
        ('neuron nn.relu where name == "a"\nhost *', [0, 1, 2], []),
        ("host rank == 4", [], []),
        ("host not rank == 4", [], []),
        ("host axis == none", [], []),
        ('host rank == 4 or name == "a"', [0], []),
        ('host *\nneuron rank == 4 and name == "a"', [1, 2], []),
        ("host operand[0].dtype == f32", [], []),
    ],
)
def test_rules_place_nodes_as_far_as_names_and_types_tell(
    rules: str, host: list[int], neuron: list[int]
) -> None:
    decided = decide(rules, NODES)
    assert sorted(decided.host) == host
    assert sorted(decided.neuron) == neuron


def test_a_rule_for_no_node_is_logged_and_one_for_no_op_of_a_part_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert decide('host name == "e" because "why"\nhost nn.exp', NODES).host == {}
    assert caplog.messages == [
        'rule line 1: why matches no node: host * where name == "e" because "why"'
    ]
    module, _ = model()
    caplog.clear()
    apply_rules(module, "host nn.exp", part=True)
    assert caplog.messages == []
    assert decide('host name == "a" because "why"', NODES).host == {
        0: Reason(Code.OP_RULE, "rule line 1: why")
    }


def test_lines_of_source_are_no_names() -> None:
    main = FuncOp("main", ([X], [X]))
    op = nn.ReluOp(main.body.block.args[0])
    line = FileLineColLoc(StringAttr("model.py"), IntAttr(3), IntAttr(7))
    op.location = FusedLoc(ArrayAttr([located("act", "aten::relu"), line]), NoneAttr())
    main.body.block.add_ops([op, ReturnOp(op.result)])
    apply_rules(ModuleOp([main]), 'host name == "act" and framework_op == "aten::relu"')
    assert placement_of(op) == ("host", "rule line 1")
