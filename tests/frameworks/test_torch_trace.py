"""`torch.neuron.trace`: the samples of the reference, and each keyword."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from torch import Tensor, nn
from torch_models import EXACT, Bessel, Net, Selects, classifier, error

import ranvier.torch
from ranvier.backend.neuron.neff.decode import load_neff

# f32 sums in another order.
F32 = 1e-5
# Operands and results are rounded to bf16, 2**-9 each, a few times in a row.
BF16 = 3e-2


def foo(x: Tensor, y: Tensor) -> Tensor:
    return 2 * x + y


def resnet50() -> nn.Module:
    torch.manual_seed(0)
    return zoo.vision("resnet50").build().eval()


def fresh(path: Path, inputs: list[Tensor], *, imported: str = "import ranvier.torch") -> Any:
    """What a saved model gives in a process of its own. Raises CalledProcessError if it fails."""
    data, result = path.with_suffix(".inputs"), path.with_suffix(".outputs")
    torch.save(inputs, data)
    code = (
        f"import torch\n{imported}\nmodel = torch.jit.load({str(path)!r})\n"
        f"torch.save(model(*torch.load({str(data)!r})), {str(result)!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return torch.load(result)


SAMPLES: dict[str, Callable[[], tuple[Any, tuple[Tensor, ...]]]] = {
    "function": lambda: (foo, (torch.rand(3), torch.rand(3))),
    "module": lambda: (Net().eval(), (torch.rand(1, 1, 3, 3),)),
    "forward": lambda: (Net().eval().forward, (torch.rand(1, 1, 3, 3),)),
    "resnet50": lambda: (resnet50(), (zoo.image(1, 3, 224, 224)(0)["x"],)),
}


@pytest.mark.parametrize(
    "name",
    ["function", "module", "forward", pytest.param("resnet50", marks=pytest.mark.slow)],
)
def test_samples_of_the_reference_run_in_a_fresh_process(name: str, tmp_path: Path) -> None:
    model, inputs = SAMPLES[name]()
    traced = torch.neuron.trace(model, inputs)
    assert isinstance(traced, torch.jit.ScriptModule)
    path = tmp_path / "model.pt"
    torch.jit.save(traced, path)
    # ResNet-50 rounds to bf16 in 53 layers in a row; a wrong layout or bias costs about 1.
    tolerance = 0.2 if name == "resnet50" else BF16
    assert error(traced(*inputs), model(*inputs)) < tolerance
    assert torch.equal(fresh(path, list(inputs)), traced(*inputs))


def test_a_file_without_our_import_names_the_operator(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.neuron.trace(foo, (torch.rand(3), torch.rand(3))).save(path)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        fresh(path, [torch.rand(3), torch.rand(3)], imported="")
    assert "neff::execute" in caught.value.stderr


def test_weights_of_a_program_are_not_stored_twice(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512)).eval()
    traced = torch.neuron.trace(model, torch.rand(2, 512))
    assert list(traced.state_dict()) == ["neff_0"]
    traced.save(tmp_path / "model.pt")
    stored = sum(p.numel() for p in model.parameters()) * 2  # bf16
    assert stored < (tmp_path / "model.pt").stat().st_size < 1.1 * stored


def test_torch_neuron_is_an_alias() -> None:
    import torch.neuron
    from torch.neuron import Optimization, trace

    assert trace is ranvier.torch.trace
    assert Optimization is ranvier.torch.Optimization
    assert torch.neuron.is_available()


def test_inputs_are_a_tensor_a_list_or_a_tuple() -> None:
    model, x = Net().eval(), torch.rand(1, 1, 5, 5)
    results = [torch.neuron.trace(model, inputs)(x) for inputs in (x, [x], (x,))]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_inputs_have_names() -> None:
    traced = torch.neuron.trace(
        lambda x, scale: x * scale,
        (torch.ones(3),),
        example_kwarg_inputs={"scale": torch.full((3,), 2.0)},
        minimum_segment_size=1,
    )
    assert traced(torch.ones(3), torch.full((3,), 3.0)).tolist() == [3, 3, 3]


def test_a_module_in_training_mode_is_returned_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    model = Net()
    assert torch.neuron.trace(model, torch.rand(1, 1, 3, 3)) is model
    assert "training mode" in caplog.text


def test_a_script_module_is_traced_again(tmp_path: Path) -> None:
    model, x = classifier(), torch.rand(2, 3, 8, 8)
    torch.jit.script(model).save(tmp_path / "script.pt")
    loaded = torch.jit.load(tmp_path / "script.pt")
    for script in (torch.jit.trace(model, x), torch.jit.script(model), loaded):
        traced = torch.neuron.trace(script, x, compiler_args=EXACT)
        assert "neff::execute" in str(traced.graph)
        assert error(traced(x), model(x)) < F32


def test_a_traced_model_is_part_of_a_larger_one(tmp_path: Path) -> None:
    class Larger(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x).relu() * 2

    model, x = classifier(), torch.rand(2, 3, 8, 8)
    larger = Larger(torch.neuron.trace(model, x, compiler_args=EXACT)).eval()
    for result in (
        torch.jit.script(larger),
        torch.jit.trace(larger, x),
        torch.neuron.trace(larger, x, compiler_args=EXACT),
        torch.jit.freeze(torch.jit.script(larger)),
    ):
        result.save(tmp_path / "model.pt")
        loaded = torch.jit.load(tmp_path / "model.pt")
        assert error(loaded(x), model(x).relu() * 2) < F32


# -- Outputs ----------------------------------------------------------------------------------


def test_outputs_are_dicts_and_tuples() -> None:
    class Outputs(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return {"double": 2 * x, "sum": x + 1}, (x - 1, (x * x, x))

    x = torch.rand(3, 4)
    traced = torch.neuron.trace(Outputs().eval(), x, strict=False)
    named, (less, (square, same)) = traced(x)
    assert list(named) == ["double", "sum"]
    expected = [2 * x, x + 1, x - 1, x * x, x]
    assert error([named["double"], named["sum"], less, square, same], expected) < BF16


def test_a_dict_needs_strict_to_be_off() -> None:
    with pytest.raises(RuntimeError, match="strict"):
        torch.neuron.trace(lambda x: {"y": 2 * x + 1}, torch.rand(3))


def test_a_structure_that_torchscript_lacks_is_named_and_can_be_exported() -> None:
    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return {"y": 2 * x + 1, "both": (x - 1, x + 4)}

    x = torch.rand(3)
    with pytest.raises(RuntimeError, match="TorchScript has no type"):
        torch.neuron.trace(Mixed().eval(), x, strict=False)
    exported = ranvier.torch.export(Mixed().eval(), x).module()
    assert error(exported(x), Mixed()(x)) < BF16


# -- Placement --------------------------------------------------------------------------------


def counts(traced: torch.jit.ScriptModule) -> tuple[int, int]:
    """Calls of programs, and of ops of PyTorch."""
    kinds = [node.kind() for node in traced.inlined_graph.nodes()]
    return kinds.count("neff::execute"), sum(kind.startswith("aten::") for kind in kinds)


def test_what_the_machine_lacks_stays_between_programs(tmp_path: Path) -> None:
    model, x = Bessel().eval(), torch.randn(4, 16)
    traced = torch.neuron.trace(model, x, compiler_args=EXACT)
    assert counts(traced) == (2, 1)
    traced.save(tmp_path / "model.pt")
    y = torch.randn(4, 16)
    assert error(traced(y), model(y)) < F32
    assert torch.equal(fresh(tmp_path / "model.pt", [y]), traced(y))


def test_sizes_that_depend_on_data_are_not_fixed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = Selects().eval()
    traced = torch.neuron.trace(
        model,
        torch.randn(2, 3, 8, 8),
        compiler_args=EXACT,
        minimum_segment_size=1,
        single_fusion_ratio_threshold=1.0,
    )
    assert counts(traced)[0] == 2
    traced.save(tmp_path / "model.pt")
    loaded = torch.jit.load(tmp_path / "model.pt")
    totals = set[float]()
    for scale in (0.1, 1, 2):
        x = torch.randn(2, 3, 8, 8) * scale
        assert error(loaded(x), model(x)) < F32
        totals.add(float(loaded(x)[1][1]))
    assert len(totals) == 3


def test_fallback_false_names_op_file_and_line() -> None:
    with pytest.raises(
        AttributeError, match=r"aten::special_bessel_j0 .*torch_models\.py:\d+.*RV02"
    ) as caught:
        torch.neuron.trace(Bessel().eval(), torch.randn(4, 16), fallback=False)
    line = int(str(caught.value).split("torch_models.py:")[1].split(":")[0])
    assert (
        "bessel_j0"
        in Path(__file__).with_name("torch_models.py").read_text().splitlines()[line - 1]
    )


def test_small_segments_stay_on_the_host() -> None:
    class Small(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(2 * x) + 1

    model, x = Small().eval(), torch.rand(3, 4)
    with pytest.raises(RuntimeError, match="No operations were successfully partitioned"):
        torch.neuron.trace(model, x)
    assert counts(torch.neuron.trace(model, x, minimum_segment_size=1)) == (2, 1)
    assert counts(torch.neuron.trace(model, x, allow_no_ops_on_neuron=True)) == (0, 3)


def test_one_large_segment_leaves_the_others_on_the_host() -> None:
    class Uneven(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.special.bessel_j0(x * 2 + 1)
            for _ in range(5):
                x = torch.tanh(x * 2)
            return x

    model, x = Uneven().eval(), torch.rand(3, 4)
    assert counts(torch.neuron.trace(model, x))[0] == 1
    assert counts(torch.neuron.trace(model, x, single_fusion_ratio_threshold=0.95))[0] == 2


def test_a_function_chooses_nodes_by_their_module() -> None:
    class ExampleConvolutionLayer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + 1

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = ExampleConvolutionLayer()

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) * 100

    seen: list[str] = []

    def wanted(node: Any) -> bool:
        seen.append(node.type_string)
        return "ExampleConvolutionLayer" in node.name

    model, x = Model().eval(), torch.rand(1, 1, 5, 5)
    traced = torch.neuron.trace(model, x, subgraph_builder_function=wanted)
    assert seen == ["aten::conv2d", "aten::add", "aten::mul"]
    assert counts(traced) == (1, 1)
    assert error(traced(x), model(x)) < BF16


def test_skip_compiler_only_says_what_would_be_compiled(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "Neuron")
    model, x = Bessel().eval(), torch.randn(4, 16)
    traced = torch.neuron.trace(model, x, skip_compiler=True)
    assert counts(traced)[0] == 0
    assert torch.equal(traced(x), model(x))
    assert "created 2 sub-graphs" in caplog.text
    assert "Compiling" not in caplog.text


# -- The compiler -----------------------------------------------------------------------------


def test_compiler_args_reach_the_compiler(tmp_path: Path) -> None:
    arguments = [
        "--neuroncore-pipeline-cores",
        "2",
        "--fp32-cast",
        "matmult",
        "-O2",
        "--verbose",
        "2",
    ]
    torch.neuron.trace(
        classifier(), torch.rand(1, 3, 8, 8), compiler_args=arguments, compiler_workdir=tmp_path
    )
    neff = load_neff(tmp_path / "0" / "graph_def.neff")
    assert {"--neuroncore-pipeline-cores=2", "--fp32-cast=matmult"} <= set(neff.flags)


def test_the_work_directory_keeps_files_of_each_segment(tmp_path: Path) -> None:
    torch.neuron.trace(Bessel().eval(), torch.randn(4, 16), compiler_workdir=tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    for number in (0, 1):
        for suffix in ("neff", "neuron-cc.log", "mlir"):
            assert f"{number}/graph_def.{suffix}" in names


def test_a_timeout_kills_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    folder = tmp_path / "site"
    folder.mkdir()
    # What the compiler starts must die with it: a child of the worker would write the mark.
    (folder / "sitecustomize.py").write_text(
        "import os, subprocess, sys, time\n"
        "if 'ranvier.torch.worker' in ' '.join(sys.orig_argv):\n"
        f"    subprocess.Popen(['sh', '-c', 'sleep 4; touch {mark}'])\n"
        "    time.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        torch.neuron.trace(foo, (torch.rand(3), torch.rand(3)), compiler_timeout=1)
    assert time.monotonic() - started < 30
    time.sleep(5)
    assert not mark.exists()


def test_a_compiler_in_time_gives_the_same_bytes() -> None:
    model, x = classifier(), torch.rand(1, 3, 8, 8)
    here = torch.neuron.trace(model, x)
    apart = torch.neuron.trace(model, x, compiler_timeout=300)
    assert torch.equal(here.neff_0, apart.neff_0)


def test_a_failed_segment_runs_on_the_host_and_is_reported(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ranvier.torch import compiler

    compile_to, calls = compiler.compile_to, []

    def fails_once(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise ValueError("no such luck")
        compile_to(*arguments)

    monkeypatch.setattr(compiler, "compile_to", fails_once)
    model, x = Bessel().eval(), torch.randn(4, 16)
    traced = torch.neuron.trace(model, x, compiler_args=EXACT)
    assert "torch.neuron.trace failed on _NeuronGraph$0" in caplog.text
    assert "neuron-cc failed with the following command line call" in caplog.text
    assert counts(traced)[0] == 1
    assert error(traced(x), model(x)) < F32
    calls.clear()
    with pytest.raises(subprocess.SubprocessError, match="no such luck"):
        torch.neuron.trace(classifier(), torch.rand(1, 3, 8, 8), fallback=False)


def test_f16_takes_both_types() -> None:
    model, x = classifier(), torch.rand(2, 3, 8, 8)
    half = [torch.neuron.Optimization.FLOAT32_TO_FLOAT16]
    traced = torch.neuron.trace(model, x, optimizations=half)
    for given in (x, x.half()):
        assert traced(given).dtype == torch.float16
        # inputs, weights and results of 11 bits
        assert error(traced(given).float(), model(x)) < 5e-3
    assert model[0].weight.dtype == torch.float32


def test_separate_weights_is_accepted() -> None:
    model, x = classifier(), torch.rand(2, 3, 8, 8)
    traced = torch.neuron.trace(model, x, separate_weights=True, compiler_args=EXACT)
    assert error(traced(x), model(x)) < F32


# -- Checks -----------------------------------------------------------------------------------


class Forgetful(nn.Module):
    """A model with a state that is not in its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[None] = []

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls.append(None)
        return 2 * x + 1, x * len(self.calls) + 1


def test_a_checked_trace_that_differs_names_the_tensor() -> None:
    x = torch.rand(3) + 1
    with pytest.raises(RuntimeError, match=r"output\[1\] of the trace differs"):
        torch.neuron.trace(Forgetful().eval(), x)
    torch.neuron.trace(Forgetful().eval(), x, check_trace=False)
    torch.neuron.trace(Forgetful().eval(), x, check_tolerance=10.0)


def test_check_inputs_are_used() -> None:
    def steep(x: Tensor) -> Tensor:
        # export fixes the sign of the example, as Python's own number
        return x * (1 + 0.0 * len(x.shape)) + (
            5 if not torch.compiler.is_compiling() and flag else 1
        )

    flag = False
    x = torch.rand(3)
    torch.neuron.trace(steep, x, check_inputs=[x, x + 1])
    flag = True
    with pytest.raises(RuntimeError, match="output of the trace differs"):
        torch.neuron.trace(steep, x, check_inputs=[x + 1])


def test_a_wrong_program_is_named_with_its_op(monkeypatch: pytest.MonkeyPatch) -> None:
    from ranvier.torch.runtime import Loaded

    run = Loaded.run

    def swapped(self: Loaded, inputs: Any, signature: str) -> list[Tensor]:
        return [output.flip(-1) for output in run(self, inputs, signature)]

    monkeypatch.setattr(Loaded, "run", swapped)
    with pytest.raises(
        RuntimeError, match=r"differs from the CPU in the result of aten::tanh.*py:"
    ):
        torch.neuron.trace(Bessel().eval(), torch.randn(4, 16))


# -- The log ----------------------------------------------------------------------------------


def test_the_log_has_the_lines_of_the_original(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "Neuron")
    torch.neuron.trace(classifier(), torch.rand(1, 3, 8, 8))
    lines = [record.getMessage() for record in caplog.records if record.name == "Neuron"]
    patterns = (
        "All operators are compiled by neuron-cc (this does not guarantee that neuron-cc will "
        "successfully compile)",
        "Number of arithmetic operators (pre-compilation) before = 5, fused = 5, percent fused = "
        "100.0%",
        "Compiling function _NeuronGraph$0 with neuron-cc",
        "Compiling with command line: '",
        "Compiler status PASS",
        "Compile command returned: 0",
        "Number of arithmetic operators (post-compilation) before = 5, compiled = 5, percent "
        "compiled = 100.0%",
        "The neuron partitioner created 1 sub-graphs",
        "Neuron successfully compiled 1 sub-graphs, Total fused subgraphs = 1, Percent of model "
        "sub-graphs successfully compiled = 100.0%",
        "Compiled these operators (and operator counts) to Neuron:",
        " => aten::batch_norm: 1",
        "Not compiled operators (and operator counts) to Neuron:",
    )
    places = [next(i for i, line in enumerate(lines) if line.startswith(p)) for p in patterns]
    assert places == sorted(places)


def test_the_log_says_why_an_op_is_on_the_host(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "Neuron")
    torch.neuron.trace(Bessel().eval(), torch.randn(4, 16))
    lines = [record.getMessage() for record in caplog.records]
    assert any(
        "1 ops of 1 different types" in line and "aten::special_bessel_j0" in line for line in lines
    )
    assert " => aten::special_bessel_j0: 1 [not supported]" in lines
    assert any(
        line.startswith(" -> aten::special_bessel_j0") and "torch_models.py:" in line
        for line in lines
    )
