"""Models as users have them: with state, frozen, traced before, of lists and caches; lines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_models import EXACT, error

import ranvier.torch

# f32 sums in another order.
F32 = 1e-5
X = torch.linspace(-2, 2, 8).reshape(2, 4)


def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def test_a_checked_trace_of_a_model_with_state_starts_where_the_model_does() -> None:
    class Counts(nn.Module):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * self.calls + 1

    model = Counts().eval()
    traced = ranvier.torch.trace(model, X, compiler_args=EXACT, check_inputs=[X, 2 * X])
    assert model.calls == 0
    for call in (1, 2, 3):
        assert error(traced(X), X * call + 1) < F32


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("script", [torch.jit.script, lambda m: torch.jit.trace(m, X)])
def test_frozen_scripts_are_traced(script: Callable[[nn.Module], Any]) -> None:
    model = dense()
    frozen = torch.jit.freeze(script(model))
    assert error(ranvier.torch.trace(frozen, X, compiler_args=EXACT)(X), model(X)) < F32


def test_a_traced_model_can_be_traced_again() -> None:
    model = dense()
    once = ranvier.torch.trace(model, X, compiler_args=EXACT)
    again = ranvier.torch.trace(once, X, compiler_args=EXACT)
    assert "neff::execute" in str(again.graph)
    assert error(again(X), model(X)) < F32


@pytest.mark.parametrize("count", [1, 3])
def test_a_model_may_return_a_list(count: int, tmp_path: Path) -> None:
    def function(x: Tensor) -> list[Tensor]:
        return [x * step + 1 for step in range(2, 2 + count)]

    traced = ranvier.torch.trace(function, X, compiler_args=EXACT, minimum_segment_size=1)
    torch.jit.save(traced, tmp_path / "list.pt")
    for result in (traced(X), torch.jit.load(tmp_path / "list.pt")(X)):
        assert isinstance(result, list)
        assert error(result, function(X)) < F32


def test_an_object_that_a_model_returns_is_named() -> None:
    class Cache:
        pass

    with pytest.raises(RuntimeError, match=r"returns a Cache, .*use_cache=False"):
        ranvier.torch.trace(lambda x: (2 * x, Cache()), X)


@pytest.mark.parametrize("sort", [torch.argsort, lambda x: torch.sort(x, 0)[1]])
def test_the_order_of_equals_is_one_on_host_and_machine(sort: Callable[[Tensor], Tensor]) -> None:
    """As a mixture of experts sorts tokens by expert, and back; PyTorch's own order is another."""
    experts = torch.arange(64, dtype=torch.int32) * 7 % 4
    x = torch.arange(64 * 4.0).reshape(64, 4) / 64
    assert not torch.equal(torch.argsort(experts), torch.argsort(experts, stable=True))

    def function(x: Tensor, experts: Tensor) -> Tensor:
        order = sort(experts)
        mixed = torch.special.bessel_j0(x[order] * 2)
        return torch.zeros_like(x).index_copy(0, order, mixed + 1)

    traced = ranvier.torch.trace(
        function, (x, experts), compiler_args=EXACT, minimum_segment_size=1,
        single_fusion_ratio_threshold=1.0,
    )  # fmt: skip
    assert str(traced.graph).count("neff::execute") == 2
    assert error(traced(x, experts), function(x, experts)) < F32


# -- Attention without gradients --------------------------------------------------------------

TOKENS = torch.linspace(-1, 1, 2 * 5 * 16).reshape(2, 5, 16).sin()
PADDED = torch.tensor([[False] * 4 + [True], [False] * 2 + [True] * 3])


def encoder(norm_first: bool) -> nn.Module:
    torch.manual_seed(0)
    kind = "gelu" if norm_first else "relu"
    layer = nn.TransformerEncoderLayer(
        16, 4, 32, batch_first=True, norm_first=norm_first, activation=kind
    )
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first).eval()


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("script", [torch.jit.script, lambda m: torch.jit.trace(m, TOKENS)])
def test_scripts_of_encoders_run_on_the_machine(
    script: Callable[[nn.Module], Any], norm_first: bool
) -> None:
    """They hold PyTorch's own kernels of a whole layer, or of its attention."""
    model = encoder(norm_first)
    with torch.no_grad():
        scripted = script(model)
    traced = ranvier.torch.trace(scripted, TOKENS, compiler_args=EXACT, fallback=False)
    assert error(traced(TOKENS), model(TOKENS)) < F32


def causal(mask: Tensor) -> dict[str, Any]:
    return {"attn_mask": mask, "average_attn_weights": False}


@pytest.mark.parametrize(
    "settings",
    [{}, {"need_weights": False}, causal(torch.ones(5, 5).triu(1).bool())],
    ids=["averaged", "alone", "causal"],
)
def test_scripts_of_attention_run_on_the_machine(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = nn.MultiheadAttention(16, 4, batch_first=True).eval().requires_grad_(False)

    def function(x: Tensor) -> list[Tensor]:
        return [each for each in model(x, x, x, **settings) if each is not None]

    script = torch.jit.trace(function, TOKENS, strict=False)
    assert "_native_multi_head_attention" in str(script.graph)
    traced = ranvier.torch.trace(script, TOKENS, compiler_args=EXACT, fallback=False)
    assert error(traced(TOKENS), function(TOKENS)) < F32


def test_padded_positions_are_those_of_the_path_with_gradients() -> None:
    """The fast path of eager PyTorch writes zeros there; the other positions are equal."""
    model = encoder(norm_first=False)
    traced = ranvier.torch.trace(
        lambda x, mask: model(x, src_key_padding_mask=mask), (TOKENS, PADDED), compiler_args=EXACT
    )
    result, expected = traced(TOKENS, PADDED), model(TOKENS, src_key_padding_mask=PADDED)
    assert error(result[~PADDED], expected[~PADDED]) < F32


# -- Lines ------------------------------------------------------------------------------------


def bessel(x: Tensor, scale: float = 1.0) -> Tensor:
    return torch.special.bessel_j0(x * scale) + 1  # this line


class Calls:
    def __call__(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x) + 1  # this line


@pytest.mark.parametrize("function", [bessel, functools.partial(bessel, scale=2.0), Calls()])
def test_ops_of_a_function_have_their_line(function: Callable[[Tensor], Tensor]) -> None:
    lines = Path(__file__).read_text().splitlines()
    with pytest.raises(AttributeError, match=r"bessel_j0 .*test_torch_models\.py:\d+") as caught:
        ranvier.torch.trace(function, X, fallback=False)
    line = int(str(caught.value).split("test_torch_models.py:")[1].split(":")[0])
    assert lines[line - 1].endswith("# this line")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ops_of_a_script_have_no_line_rather_than_one_of_the_package() -> None:
    with pytest.raises(AttributeError, match="'special_bessel_j0': ") as caught:
        ranvier.torch.trace(torch.jit.trace(bessel, X), X, fallback=False)
    assert ".py" not in str(caught.value)


def test_without_fallback_only_what_the_machine_lacks_is_named() -> None:
    """A small segment stays on the host by the caller's own limit."""
    with pytest.raises(AttributeError, match="1 operator is not supported") as caught:
        ranvier.torch.trace(Calls(), X, fallback=False)
    assert "aten::add" not in str(caught.value)
    traced = ranvier.torch.trace(
        lambda x: torch.relu(x) * 2,
        X,
        fallback=False,
        subgraph_builder_function=lambda node: node.type_string != "aten::mul",
        allow_no_ops_on_neuron=True,
    )
    assert torch.equal(traced(X), torch.relu(X) * 2)


def test_an_error_is_not_buried_in_the_graph_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    def branches(x: Tensor) -> Tensor:
        return x + 1 if (2 * x).sum() > 0 else x - 1

    with pytest.raises(RuntimeError, match=r"test_torch_models\.py:\d+: control flow"):
        ranvier.torch.trace(branches, X)
    assert "def forward" not in capsys.readouterr().err
