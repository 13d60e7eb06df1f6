"""Calls of compiled models: threads, batches, NeuronCores, and the other ways to get one."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch_models import EXACT, Bessel, classifier, error

import ranvier.torch
from ranvier.torch import DataParallel, experimental
from ranvier.torch.runtime import Loaded, loaded_of

# f32 sums in another order.
F32 = 1e-5


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return classifier()


@pytest.fixture(scope="module")
def traced(model: nn.Module) -> torch.jit.ScriptModule:
    """Compiled for a batch of 4."""
    return ranvier.torch.trace(model, torch.rand(4, 3, 8, 8), compiler_args=EXACT)


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 8, 8)


def test_threads_share_a_model(traced: torch.jit.ScriptModule, model: nn.Module) -> None:
    inputs = [images(4) for _ in range(16)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(traced, inputs))
    for x, result in zip(inputs, results, strict=True):
        assert error(result, model(x)) < F32


def test_outputs_have_memory_of_their_own(traced: torch.jit.ScriptModule) -> None:
    x = images(4)
    first = traced(x)
    kept = first.clone()
    traced(images(4))
    assert torch.equal(first, kept)


def test_a_copied_or_moved_buffer_is_loaded_anew(traced: torch.jit.ScriptModule) -> None:
    x = images(4)
    expected = traced(x)
    for copy in (traced.neff_0.clone(), traced.neff_0.detach()):
        (result,) = torch.ops.neff.execute([x], copy)
        assert torch.equal(result, expected)


@pytest.mark.parametrize("place", [0, 600, 5000, -1])
def test_damaged_bytes_are_refused(traced: torch.jit.ScriptModule, place: int) -> None:
    damaged = traced.neff_0.clone()
    damaged[place] ^= 255
    with pytest.raises(Exception, match="neff"):
        torch.ops.neff.execute([images(4)], damaged)


def test_inputs_that_do_not_fit_are_refused(traced: torch.jit.ScriptModule) -> None:
    cases = (
        (images(3), r"compiled for \[4, 3, 8, 8\], got \[3, 3, 8, 8\]"),
        (torch.rand(4, 3, 9, 8), r"got \[4, 3, 9, 8\]"),
        (images(4).double(), r"is torch.float32, got torch.float64"),
        (images(4).half(), r"got torch.float16"),
    )
    for given, message in cases:
        with pytest.raises(RuntimeError, match=message):
            traced(given)


def test_values_beyond_32_bits_are_refused() -> None:
    traced = ranvier.torch.trace(
        nn.Embedding(10, 4).eval(), torch.arange(6), minimum_segment_size=1
    )
    with pytest.raises(RuntimeError, match="beyond 32 bits"):
        traced(torch.arange(6) + 2**40)


# -- Batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 12])
def test_a_dynamic_batch_has_any_size(model: nn.Module, count: int) -> None:
    x = images(count)
    result = dynamic(model)(x)
    assert result.shape == (count, 10)
    assert not count or error(result, model(x)) < F32


def dynamic(model: nn.Module) -> torch.jit.ScriptModule:
    return ranvier.torch.trace(model, images(4), dynamic_batch_size=True, compiler_args=EXACT)


def test_a_dynamic_batch_with_ops_on_the_host() -> None:
    model, x = Bessel().eval(), torch.randn(4, 16)
    traced = ranvier.torch.trace(model, x, dynamic_batch_size=True, compiler_args=EXACT)
    for count in (1, 4, 9):
        given = torch.randn(count, 16)
        assert error(traced(given), model(given)) < F32


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x - x.mean(0), "depend on the other samples"),
        (lambda x: x.softmax(0) * 2, "depend on the other samples"),
        (lambda x: torch.relu(x + x[0]), "depend on the other samples"),
        (lambda x: (2 * x).flip(0), "depend on the other samples"),
        (lambda x: x.sum() + torch.zeros(3), "no batch of 4"),
        (lambda x: x.reshape(2, -1) * 2, "no batch of 4"),
        (lambda x: x.reshape(4, 5) * 2, "does not take a batch of 8"),
    ],
)
def test_a_batch_that_mixes_cannot_be_cut(function: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranvier.torch.trace(function, torch.rand(4, 5), dynamic_batch_size=True)


# -- NeuronCores ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 17])
def test_data_parallel_keeps_the_order(
    traced: torch.jit.ScriptModule, model: nn.Module, count: int
) -> None:
    x = images(count)
    assert error(DataParallel(traced)(x), model(x)) < F32


def test_data_parallel_runs_on_the_cores_it_is_given(traced: torch.jit.ScriptModule) -> None:
    parallel = DataParallel(traced, device_ids=["nc:1", 3])
    assert (parallel.num_workers, parallel.device_ids) == (4, [1, 3])
    (loaded,) = loaded_of(traced)
    loaded._machines.clear()
    parallel(images(8))
    assert set(loaded._machines) == {1, 3}


def test_data_parallel_without_dynamic_batching(
    traced: torch.jit.ScriptModule, model: nn.Module
) -> None:
    parallel = DataParallel(traced, device_ids=[0, 1])
    parallel.disable_dynamic_batching()
    x = images(8)
    assert error(parallel(x), model(x)) < F32
    with pytest.raises(ValueError, match="make chunks of 4; the model is compiled for 4"):
        parallel(images(9))


def test_data_parallel_cuts_another_dimension() -> None:
    traced = ranvier.torch.trace(lambda x: 2 * x + 1, torch.rand(3, 4))
    x = torch.ones(3, 16)
    parallel = DataParallel(traced, dim=1)
    assert torch.equal(parallel(x), torch.full((3, 16), 3.0))


def test_data_parallel_refuses_what_it_cannot_run(traced: torch.jit.ScriptModule) -> None:
    for devices in ([4], ["nc:9"], ["cuda:0"], [], [-1]):
        with pytest.raises(ValueError, match="device_ids"):
            DataParallel(traced, device_ids=devices)
    with pytest.raises(ValueError, match=r"ranvier\.torch\.trace has compiled"):
        DataParallel(nn.Linear(2, 2))
    pipeline = ranvier.torch.trace(
        classifier(), images(1), compiler_args=["--neuroncore-pipeline-cores", "2"]
    )
    with pytest.raises(ValueError, match="pipelines"):
        DataParallel(pipeline)


def cores_of(traced: torch.jit.ScriptModule, calls: int) -> list[int]:
    """The cores of some calls, in order."""
    (loaded,) = loaded_of(traced)
    return [loaded.replicas.next() for _ in range(calls)]


def test_models_are_placed(traced: torch.jit.ScriptModule, tmp_path: Path) -> None:
    experimental.set_neuron_cores(traced, start_nc=2, nc_count=2)
    assert cores_of(traced, 4) == [2, 3, 2, 3]
    experimental.set_multicore(traced)
    assert cores_of(traced, 5) == [0, 1, 2, 3, 0]
    experimental.set_neuron_cores(traced, start_nc=1)
    assert cores_of(traced, 2) == [1, 1]
    traced.save(tmp_path / "model.pt")
    with experimental.neuron_cores_context(start_nc=3):
        placed = torch.jit.load(tmp_path / "model.pt")
    assert cores_of(placed, 1) == [3]
    with experimental.multicore_context():
        spread = torch.jit.load(tmp_path / "model.pt")
    assert sorted(cores_of(spread, 4)) == [0, 1, 2, 3]


def test_cores_that_do_not_exist_are_refused(
    traced: torch.jit.ScriptModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start, count in ((4, 1), (0, 5), (0, 0), (-2, 1)):
        with pytest.raises(ValueError, match="NeuronCore"):
            experimental.set_neuron_cores(traced, start, count)
    monkeypatch.setenv("NEURON_RT_NUM_CORES", "two")
    with pytest.raises(RuntimeError, match="the runtime cannot start"):
        experimental.set_multicore(traced)


@pytest.mark.parametrize(("name", "value"), [("VISIBLE_CORES", "4-5"), ("NUM_CORES", "2")])
def test_the_environment_says_which_cores_there_are(name: str, value: str) -> None:
    code = "from ranvier.torch.cores import available_cores; print(available_cores())"
    environment = {**os.environ, f"NEURON_RT_{name}": value}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "2"


# -- Other ways -------------------------------------------------------------------------------


def test_an_exported_program_is_saved_and_loaded(model: nn.Module, tmp_path: Path) -> None:
    x, path = images(4), tmp_path / "model.pt2"
    torch.export.save(ranvier.torch.export(model, x, compiler_args=EXACT), path)
    torch.save(x, tmp_path / "x")
    code = (
        "import torch, ranvier.torch\n"
        f"model = torch.export.load({str(path)!r}).module()\n"
        f"torch.save(model(torch.load({str(tmp_path / 'x')!r})), {str(tmp_path / 'y')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert error(torch.load(tmp_path / "y"), model(x)) < F32


def test_torch_compile_runs_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    run = Loaded.run

    def counted(self: Loaded, inputs: list[Tensor], signature: str) -> list[Tensor]:
        calls.append(len(inputs))
        return run(self, inputs, signature)

    monkeypatch.setattr(Loaded, "run", counted)
    model = classifier()
    fast = torch.compile(model, backend=ranvier.torch.backend, options={"compiler_args": EXACT})
    with torch.no_grad():
        for x in (images(2), images(2), images(5)):
            assert error(fast(x), model(x)) < F32
        assert calls == [1, 1, 1]
        model[0].weight.mul_(2)
        x = images(2)
        assert error(fast(x), model(x)) < F32


def test_analyze_model_counts(capsys: pytest.CaptureFixture[str]) -> None:
    result = ranvier.torch.analyze_model(Bessel().eval(), torch.randn(4, 16))
    assert result["unsupported_operators"] == ["aten::special_bessel_j0"]
    assert result["supported_operators"] == {"aten::linear", "aten::mul", "aten::tanh"}
    assert (result["supported_count"], result["total_count"]) == (6, 7)
    assert result["percent_supported"] == 85.71
    assert result["operator_count"]["aten::tanh"] == 2
    assert "85.71% of arithmetic operations (6 of 7) are supported" in capsys.readouterr().out


def test_analyze_model_refuses_control_flow() -> None:
    with pytest.raises(NotImplementedError, match=r"test_torch_calls\.py:\d+"):
        ranvier.torch.analyze_model(depends_on_data, torch.rand(3))


def depends_on_data(x: Tensor) -> Tensor:
    return x + 1 if x.sum() > 0 else x - 1


def test_explain_has_a_reason_for_each_op_on_the_host() -> None:
    explanation = ranvier.torch.explain(Bessel().eval(), torch.randn(4, 16))
    (host,) = [op for op in explanation.ops if op["placement"] == "host"]
    assert host["framework_op"] == "aten::special_bessel_j0"
    assert host["code"].startswith("RV02")
    assert "torch_models.py:" in host["location"]
    assert [segment["bytes_in"] for segment in explanation.segments] == [256, 256]
    assert host["reason"] in str(explanation)
