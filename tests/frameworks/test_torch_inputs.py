"""Bad input: a clear error, or ops on the host with a reason; never a wrong number."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_models import EXACT, classifier, error

import ranvier.torch
from ranvier.dialects.diagnostics import CodedError

# f32 sums in another order.
F32 = 1e-5
# A few roundings to f16, 2**-12 each.
F16 = 2e-3


def takes_a_branch(x: Tensor) -> Tensor:
    return x + 1 if x.sum() > 0 else x - 1


def slices_by_a_value(x: Tensor) -> Tensor:
    return x[: int(x.sum().item())] * 2


def fills_by_a_value(x: Tensor) -> Tensor:
    return 2 * x + torch.full((3,), x.sum().item())


@pytest.mark.parametrize("function", [takes_a_branch, slices_by_a_value, fills_by_a_value])
def test_what_depends_on_values_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(
        RuntimeError, match=r"test_torch_inputs\.py:\d+|takes a number out"
    ) as caught:
        ranvier.torch.trace(function, torch.ones(3))
    assert isinstance(caught.value, CodedError)


def test_branches_of_a_script_and_of_cond_are_refused_with_their_place() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if bool(x.sum() > 0):
                return x + 1
            return x - 1

    class Chooses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))

    for model in (torch.jit.script(Branches().eval()), Chooses().eval()):
        with pytest.raises(RuntimeError, match=r"test_torch_inputs\.py:\d+: .*static") as caught:
            ranvier.torch.trace(model, torch.ones(3))
        assert isinstance(caught.value, CodedError)


def test_errors_of_the_model_are_its_own() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        ranvier.torch.trace(Fails().eval(), torch.ones(3))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (3, "example_inputs is a tensor"),
        ({"x": torch.ones(1)}, "example_inputs is a tensor"),
        ((3,), "example input 0 is of type int"),
        ((torch.ones(2), "a"), "example input 1 is of type str"),
        ((), "holds no tensor"),
        (torch.ones(2, device="meta"), "is on meta"),
        (torch.eye(2).to_sparse(), "not strided"),
    ],
)
def test_example_inputs_are_tensors_on_the_cpu(inputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranvier.torch.trace(nn.ReLU().eval(), inputs)


def test_parameters_are_on_the_cpu() -> None:
    model, x = nn.BatchNorm1d(2, device="meta").eval(), torch.ones(2, 2)
    for call in (ranvier.torch.trace, ranvier.torch.export, ranvier.torch.analyze_model):
        with pytest.raises(ValueError, match="parameter weight is on meta"):
            call(model, x)


def test_inputs_of_a_call_are_on_the_cpu() -> None:
    traced = ranvier.torch.trace(lambda x: 2 * x + 1, torch.ones(3))
    with pytest.raises(RuntimeError, match="inputs are on meta"):
        traced(torch.ones(3, device="meta"))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"compiler_args": ["--no-such-flag"]}, "no-such-flag"),
        ({"compiler_args": ["fp32"]}, "'fp32' is no option"),
        ({"compiler_args": ["--fast-math", "quick"]}, "quick"),
        ({"compiler_args": ["--neuroncore-pipeline-cores", "1000"]}, "1000"),
        ({"compiler_timeout": 0}, "compiler_timeout"),
        ({"minimum_segment_size": -1}, "minimum_segment_size"),
        ({"single_fusion_ratio_threshold": 2}, "single_fusion_ratio_threshold"),
        ({"optimizations": ["fp16"]}, "fp16"),
        ({"subgraph_builder_function": 3}, "not a function"),
    ],
)
def test_keywords_out_of_range_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranvier.torch.trace(classifier(), torch.rand(1, 3, 8, 8), **keywords)


def test_an_unknown_keyword_is_torchs() -> None:
    with pytest.raises(TypeError, match="no_such_keyword"):
        ranvier.torch.trace(classifier(), torch.rand(1, 3, 8, 8), no_such_keyword=1)


def test_a_model_is_callable() -> None:
    with pytest.raises((ValueError, TypeError), match=r"callable|a model is"):
        ranvier.torch.trace("model.pt", torch.ones(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_types_that_the_machine_lacks_stay_on_the_host(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            wide = torch.tanh(2 * x).to(dtype)
            return torch.relu((wide * wide).real.float() * 3 if dtype.is_complex else
                              (wide * wide).float() * 3)  # fmt: skip

    caplog.set_level(logging.INFO, "Neuron")
    model, x = Mixed().eval(), torch.randn(5)
    traced = ranvier.torch.trace(model, x, compiler_args=EXACT)
    assert "neff::execute" in str(traced.graph)
    assert f"the machine has no {dtype}" in caplog.text
    assert error(traced(x), model(x)) < F32


def test_an_input_that_the_model_writes_to_is_written_to() -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x.add_(1)
            return x * 2 + x

    model, x = Writes().eval(), torch.rand(4)
    example = x.clone()
    traced = ranvier.torch.trace(model, example, compiler_args=EXACT)
    assert torch.equal(example, x)
    ours, theirs = x.clone(), x.clone()
    assert error(traced(ours), model(theirs)) < F32
    assert error(ours, theirs) < F32


class WritesToOne(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x.mul_(3)
        return x * 2 + y, x


def test_inputs_that_share_memory_are_not_written_to(tmp_path: Path) -> None:
    example = torch.rand(4)
    model = WritesToOne().eval()
    traced = ranvier.torch.trace(model, (example, example), compiler_args=EXACT)
    traced.save(tmp_path / "model.pt")
    exported = ranvier.torch.export(model, (example, example), compiler_args=EXACT)
    loaded = torch.jit.load(tmp_path / "model.pt")
    for each in (traced, loaded, torch.jit.freeze(loaded), exported.module()):
        ours, theirs, y = example.clone(), example.clone(), torch.rand(4)
        assert error(each(ours, y), model(theirs, y)) < F32
        assert error(ours, theirs) < F32
        memory = torch.rand(8)
        with pytest.raises((RuntimeError, ValueError), match="two inputs share memory"):
            each(memory[:4], memory[2:6])
        assert error(each(memory[:4], memory[4:]), (memory[:4] * 2 + memory[4:], memory[:4])) < F32


def test_an_input_of_f32_is_written_to_by_a_model_in_f16() -> None:
    model, x, y = WritesToOne().eval(), torch.rand(4), torch.rand(4)
    half = [ranvier.torch.Optimization.FLOAT32_TO_FLOAT16]
    traced = ranvier.torch.trace(model, (x.clone(), y), optimizations=half)
    ours, theirs = x.clone(), x.clone()
    assert error(traced(ours, y), model(theirs, y)) < F16
    assert error(ours, theirs) < F16


def test_a_buffer_that_the_model_writes_to_keeps_its_state() -> None:
    class Counts(nn.Module):
        total: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            self.total.add_(x)
            return torch.relu(self.total * 2) + 1

    x = torch.ones(3)
    model = Counts().eval()
    traced = ranvier.torch.trace(model, x, check_trace=False, compiler_args=EXACT)
    assert model.total.tolist() == [0, 0, 0]
    assert [traced(x).tolist() for _ in range(2)] == [[3, 3, 3], [5, 5, 5]]


def test_outputs_that_are_inputs_or_constants() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(3))

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return x, 2 * x + 1, self.weight, torch.arange(3), x.view(1, 3)

    model, x = Mixed().eval(), torch.rand(3)
    assert error(ranvier.torch.trace(model, x, compiler_args=EXACT)(x), model(x)) < F32


def test_random_numbers_stay_on_the_host() -> None:
    class Draws(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(2 * x + 1) + nn.functional.dropout(x, 0.5, training=True)

    model, x = Draws().eval(), torch.rand(64)
    with pytest.raises(RuntimeError, match="random"):
        ranvier.torch.trace(model, x)
    traced = ranvier.torch.trace(model, x, check_trace=False)
    assert not torch.equal(traced(x), traced(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_models_keep_their_type(dtype: torch.dtype) -> None:
    model, x = classifier().to(dtype), torch.rand(2, 3, 8, 8, dtype=dtype)
    result = ranvier.torch.trace(model, x)(x)
    assert result.dtype == dtype
    # bf16 has 8 bits, and sums of 27 and 144 products round to it
    assert error(result.float(), model(x).float()) < 5e-2


# -- Packed sequences -------------------------------------------------------------------------


class Packed(nn.Module):
    """The networks of the original's guide."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], use: str, *, is_sorted: bool, **settings: Any):
        super().__init__()
        torch.manual_seed(2)
        self.layer = kind(input_size=3, hidden_size=7, **settings)
        self.use = use
        self.is_sorted = is_sorted

    def forward(self, inputs: Tensor, lengths: Tensor) -> Any:
        packed = pack_padded_sequence(
            inputs,
            lengths,
            enforce_sorted=self.is_sorted,
            batch_first=self.layer.batch_first,
        )
        result, states = self.layer(packed)
        match self.use:
            case "padded":
                padded, sizes = pad_packed_sequence(result, batch_first=self.layer.batch_first)
                return padded, sizes.float(), states
            case "states":
                return states
            case "returned":
                return result.data, states
            case _:
                return torch.max(result.data)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("use", ["padded", "states"])
@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize(
    "settings",
    [{}, pytest.param({"bidirectional": True, "num_layers": 2}, marks=pytest.mark.slow)],
)
def test_packed_sequences_of_the_guide(
    kind: type[nn.LSTM | nn.GRU], use: str, is_sorted: bool, settings: dict[str, Any]
) -> None:
    model = Packed(kind, use, is_sorted=is_sorted, **settings).eval()
    inputs = torch.rand(5, 3, 3)
    traced = ranvier.torch.trace(
        model, (inputs, torch.tensor([5, 5, 5])), compiler_args=EXACT, minimum_segment_size=1
    )
    assert "neff::execute" in str(traced.graph)
    orders = ([5, 4, 1], [5, 5, 2]) if is_sorted else ([1, 5, 3], [5, 2, 5])
    for lengths in map(torch.tensor, orders):
        x = torch.rand(5, 3, 3)
        # activation tables of the machine are good to 1e-6; errors add up over 5 steps
        assert error(traced(x, lengths), model(x, lengths)) < 1e-4


@pytest.mark.parametrize(("use", "user"), [("returned", "prim::Return"), ("max", "aten::max")])
def test_other_uses_of_packed_sequences_are_refused_in_the_guides_words(
    use: str, user: str
) -> None:
    message = (
        'Operator "aten::lstm" consuming a PackedSequence input can only be supported when its '
        'corresponding PackedSequence output is unused or unpacked using "aten::_pad_packed_input"'
        f'. Found usage by "{user}"'
    )
    model = Packed(nn.LSTM, use, is_sorted=False).eval()
    with pytest.raises(RuntimeError) as caught:
        ranvier.torch.trace(model, (torch.rand(5, 2, 3), torch.tensor([5, 5])))
    assert str(caught.value) == message


def test_sequences_of_fixed_length() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(input_size=3, hidden_size=7)

        def forward(self, inputs: Tensor) -> Any:
            return self.lstm(inputs)

    model, inputs = Network().eval(), torch.rand(5, 2, 3)
    traced = ranvier.torch.trace(model, (inputs,), compiler_args=EXACT, allow_no_ops_on_neuron=True)
    assert error(traced(inputs), model(inputs)) < 1e-4
