"""Placement rules of a user, and of `subgraph_builder_function`, in `ranvier.torch`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from ruled import BF16, F32, ONE, TWO, X, error, products_in, write
from torch import Tensor, nn

import ranvier.torch
from ranvier.dialects.diagnostics import Code, CodedError


class Dense(nn.Linear):
    def __init__(self, weight: Any) -> None:
        super().__init__(8, 8, bias=False)
        self.weight = nn.Parameter(torch.from_numpy(weight.T.copy()), requires_grad=False)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = Dense(ONE)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.one(x))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.two = Encoder(), Dense(TWO)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.two(self.encoder(x)), -1)


class Special(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(torch.exp(x))


INPUT = torch.from_numpy(X)


def traced(folder: Path, rules: str, *arguments: str, **keywords: Any) -> Any:
    args = ["--rules", write(folder, rules), *arguments]
    return ranvier.torch.trace(Model().eval(), INPUT, compiler_args=args, **keywords)


def left(model: Any) -> list[str]:
    """Ops of PyTorch."""
    kinds = [node.kind() for node in model.inlined_graph.nodes()]
    return [kind.removeprefix("aten::") for kind in kinds if kind.startswith("aten::")]


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ('host name ~ "encoder[./].*"', ["linear", "tanh"]),
        ('host framework_op == "aten::tanh"', ["linear", "tanh"]),  # the first is left alone
        ("host nn.softmax where shape == [4, ?]", ["softmax"]),
        ("host nn.softmax where shape == [5, ?]", []),
        ('host *\nneuron nn.tanh where name == "encoder/tanh"', ["linear", "linear", "softmax"]),
        ('neuron *\nhost framework_op == "aten::softmax"', ["softmax"]),
    ],
)
def test_rules_place_nodes(rules: str, wanted: list[str], tmp_path: Path) -> None:
    model = traced(tmp_path, rules)
    assert left(model) == wanted
    assert error(model(INPUT)) < BF16


def test_explain_obeys_rules_and_shows_the_names_that_they_take(tmp_path: Path) -> None:
    path = write(tmp_path, 'host name ~ "encoder[./].*" because "see the notes"')
    found = ranvier.torch.explain(Model().eval(), INPUT, compiler_args=["--rules", path])
    assert [op["name"] for op in found.ops][:2] == ["encoder.one/linear", "encoder/tanh"]
    assert [op["reason"] for op in found.ops][:2] == 2 * ["rule line 1: see the notes"]
    assert [op["placement"] for op in found.ops] == ["host", "host", "neuron", "neuron"]


def no_tanh(node: Any) -> bool:
    return node.type_string != "aten::tanh"


def test_a_rule_beats_the_callback_and_lines_are_those_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "Neuron")
    asked: dict[str, Any] = {"subgraph_builder_function": no_tanh, "minimum_segment_size": 1}
    model = traced(tmp_path, "# two lines\nhost nn.softmax", **asked)
    assert left(model) == ["tanh", "softmax"]
    assert "'encoder/tanh' at " in caplog.text
    assert ": rule line 1: subgraph_builder_function [RV0208]" in caplog.text
    assert ": rule line 2 [RV0208]" in caplog.text
    assert left(traced(tmp_path, 'neuron framework_op == "aten::tanh"', **asked)) == []


def test_a_small_segment_that_a_rule_wants_is_compiled(tmp_path: Path) -> None:
    rules = 'host framework_op == "aten::tanh"\nneuron name == "encoder.one/linear"'
    model = traced(tmp_path, rules, single_fusion_ratio_threshold=0.4)
    assert left(model) == ["tanh"]
    assert error(model(INPUT)) < BF16


@pytest.mark.parametrize("rule", ['framework_op == "aten::special_bessel_j0"', "nn.opaque"])
def test_what_cannot_be_on_the_machine_is_an_error(rule: str, tmp_path: Path) -> None:
    args = ["--rules", write(tmp_path, f"neuron {rule}")]
    with pytest.raises(CodedError, match=r"rule line 1: .*special_bessel_j0.*RV0205") as caught:
        ranvier.torch.trace(Special().eval(), INPUT, compiler_args=args)
    assert caught.value.code is Code.RULE_IMPOSSIBLE


@pytest.mark.parametrize("core", [0, 1])
def test_a_rule_chooses_the_core(core: int, tmp_path: Path) -> None:
    cores = ["--neuroncore-pipeline-cores", "2"]
    model = traced(tmp_path, f"core {core} *", *cores, compiler_workdir=tmp_path)
    assert products_in(tmp_path) == {core: 2}
    assert error(model(INPUT)) < BF16


@pytest.mark.parametrize("timeout", [None, 100])
def test_a_core_that_is_not_there_is_an_error(timeout: int | None, tmp_path: Path) -> None:
    with pytest.raises(CodedError, match="core 2; the pipeline has cores 0 to 1") as caught:
        traced(tmp_path, "core 2 *", "--num-neuroncores", "2", compiler_timeout=timeout)
    assert caught.value.code is Code.RULE_IMPOSSIBLE


def test_kept_ops_compute_in_f32(tmp_path: Path) -> None:
    assert error(traced(tmp_path, "keep f32 *")(INPUT)) < F32
    assert F32 < error(traced(tmp_path, "keep f32 nn.tanh")(INPUT)) < BF16


def test_a_rule_for_nothing_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    traced(tmp_path, 'host framework_op == "aten::tanh"\nkeep f32 name == "encodr"')
    warned = [r.getMessage() for r in caplog.records if "matches no" in r.getMessage()]
    assert warned == ['rule line 2 matches no node: keep f32 * where name == "encodr"']
