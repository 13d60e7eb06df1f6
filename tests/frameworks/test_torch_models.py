"""Models as users have them: with state, frozen, traced before, of lists and caches; their lines."""

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
