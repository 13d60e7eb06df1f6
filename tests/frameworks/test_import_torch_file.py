"""Files of PyTorch at the shell: exported programs and TorchScript, and what is no model."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_models import classifier

import ranvier
from ranvier.dialects.diagnostics import Code
from ranvier.explanation import explain_module
from ranvier.importers.errors import ModelImportError
from ranvier.importers.registry import import_model
from ranvier.program import Options

# f32 sums in another order.
F32 = 1e-5
SHAPES = {"input": (2, 3, 8, 8)}


def images() -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def exported(model: nn.Module, *inputs: Tensor, **settings: Any) -> torch.export.ExportedProgram:
    return torch.export.export(model.eval(), inputs, **settings)


def test_an_exported_program_is_compiled_at_the_shell(tmp_path: Path) -> None:
    model, x = classifier(), images()
    torch.export.save(exported(model, x), tmp_path / "model.pt2")
    np.save(tmp_path / "x.npy", x.numpy())
    for words in (
        ["compile", "model.pt2", "-o", "m.neff", "--fast-math", "none", "--json"],
        ["run", "m.neff", "--input", "input=x.npy", "--output-dir", "out", "--json"],
    ):
        command = [sys.executable, "-m", "ranvier.tools", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        report = json.loads(done.stdout)
        if words[0] == "compile":
            counts = report["operators"]
            assert (counts["before"], counts["on_neuron"], counts["host"]) == (5, 5, 0)
    (output,) = report["outputs"].values()
    expected = model(x).detach().numpy()
    assert np.load(tmp_path / output["path"]) == pytest.approx(expected, abs=F32)


@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, images())])
def test_torchscript_needs_shapes(make: Any, tmp_path: Path) -> None:
    model, x, path = classifier(), images(), tmp_path / "model.pt"
    make(model).save(path)
    with pytest.raises(ModelImportError, match="--shape input=") as caught:
        import_model([path])
    assert caught.value.code is Code.SHAPE_UNKNOWN
    program = ranvier.compile(path, shapes=SHAPES, fast_math=("none",), fallback="error")
    (actual,) = program.run({"input": x.numpy()}).values()
    assert actual == pytest.approx(model(x).detach().numpy(), abs=F32)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.det(self.inner(x)) + 1


LINE = Layer.forward.__code__.co_firstlineno + 1


@pytest.mark.parametrize("kind", ["traced", "scripted", "exported", "onnx"])
def test_every_op_is_told_with_its_line_of_python(kind: str, tmp_path: Path) -> None:
    """The innermost that is not PyTorch's own. What scripting inlines of `nn` has no other."""
    model, x, path = Layer().eval(), torch.rand(4, 4), tmp_path / "model"
    shapes: dict[str, tuple[int, ...]] = {}
    match kind:
        case "exported":
            torch.export.save(exported(model, x), path)
        case "onnx":
            torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
        case _:
            make = torch.jit.script if kind == "scripted" else torch.jit.trace
            (make(model) if kind == "scripted" else make(model, x)).save(path)
            shapes = {"x": (4, 4)}
    explanation = explain_module(import_model([path], shapes=shapes), Options())
    places = {row.framework_op: row.source for row in explanation.ops}
    assert len(places) == 3
    if kind == "scripted":
        assert f"{os.sep}linear.py:" in places.pop("aten::linear")
    assert set(places.values()) == {f"{__file__}:{LINE}"}


class Counts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x > 0).nonzero() + 1


@pytest.mark.parametrize(
    ("shapes", "code"),
    [({"input": (2, 3, 9, 9)}, Code.SHAPE_MISMATCH), ({"x": (1,)}, Code.INPUT_UNKNOWN)],
)
def test_an_exported_program_has_its_shapes(
    shapes: dict[str, tuple[int, ...]], code: Code, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(exported(classifier(), images()), path)
    assert import_model([path], shapes=SHAPES)
    with pytest.raises(ModelImportError) as caught:
        import_model([path], shapes=shapes)
    assert caught.value.code is code


def test_dynamic_programs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    batch = torch.export.Dim("batch")
    for program in (
        exported(classifier(), images(), dynamic_shapes=({0: batch},)),
        exported(Counts(), torch.rand(3)),
    ):
        torch.export.save(program, path)
        with pytest.raises(ModelImportError, match="dynamic dimensions") as caught:
            import_model([path])
        assert caught.value.code is Code.SHAPE_UNKNOWN


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(exported(classifier(), images()), path)
    whole = path.read_bytes()
    script = tmp_path / "script.pt"
    torch.jit.script(classifier()).save(script)
    pickled = tmp_path / "pickled.pt"
    torch.save(classifier(), pickled)
    for data in (whole[: len(whole) // 2], whole[:4], pickled.read_bytes(), b"PK\x03\x04"):
        path.write_bytes(data)
        with pytest.raises(ModelImportError) as caught:
            import_model([path])
        assert caught.value.code is Code.FILE_INVALID
    with pytest.raises(ModelImportError, match="one file, got 2"):
        import_model([script, script])


class Touches:
    """Its pickle creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.export.save(exported(classifier(), images()), tmp_path / "model.pt2")
    torch.jit.script(classifier()).save(tmp_path / "model.pt")
    payload = pickle.dumps(Touches(tmp_path / "touched"))
    for name, member, reader in (
        ("model.pt2", "model.pt", r"torch\.export\.load"),
        ("model.pt", "constants.pkl", r"torch\.jit\.load"),
    ):
        changed = tmp_path / f"changed-{name}"
        with zipfile.ZipFile(tmp_path / name) as source, zipfile.ZipFile(changed, "w") as target:
            for info in source.infolist():
                is_payload = info.filename.endswith(member)
                target.writestr(info.filename, payload if is_payload else source.read(info))
        with pytest.raises(ModelImportError, match=reader) as caught:
            import_model([changed], shapes=SHAPES)
        assert caught.value.code is Code.FILE_INVALID
    assert not (tmp_path / "touched").exists()


def test_a_class_that_a_model_returns_need_not_be_known(tmp_path: Path) -> None:
    """As models of other packages do; only a process that has the class can write it."""
    script = """
import sys
from dataclasses import dataclass
import torch
from torch.utils import _pytree

@dataclass
class Result:
    first: torch.Tensor
    second: torch.Tensor

_pytree.register_dataclass(Result, serialized_type_name="elsewhere.Result")

class Model(torch.nn.Module):
    def forward(self, x):
        return Result(torch.relu(x), torch.tanh(x))

torch.export.save(torch.export.export(Model(), (torch.ones(3),)), sys.argv[1])
"""
    path = tmp_path / "model.pt2"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True)
    found = explain_module(import_model([path]), Options())
    assert [row.framework_op for row in found.ops] == ["aten::relu", "aten::tanh"]


class Spectrum(nn.Module):
    """Between two layers, numbers that nn does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(torch.relu(self.layer(x)))
        return torch.tanh(torch.fft.irfft(spectrum * 2, n=8))


class Branches(nn.Module):
    """What runs follows from values."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(x)
        if bool(h.sum() > 0):
            h = h.sin()
        return torch.tanh(h)


def rows(path: Path, **shapes: tuple[int, ...]) -> dict[str, tuple[str, str, str]]:
    """Placement, code and reason by the op's type."""
    found = explain_module(import_model([path], shapes=shapes, untyped=True), Options())
    assert found.operators.before == len(found.ops)
    return {row.framework_op: (row.placement, row.code, row.reason) for row in found.ops}


@pytest.mark.parametrize("scripted", [False, True])
def test_calls_that_stay_with_pytorch_have_rows(scripted: bool, tmp_path: Path) -> None:
    """What follows them is placed where PyTorch knows its type."""
    path, x = tmp_path / "model", torch.rand(4, 8)
    shapes: dict[str, tuple[int, ...]] = {}
    if scripted:
        torch.jit.script(Spectrum().eval()).save(path)
        shapes = {"x": (4, 8)}
    else:
        torch.export.save(exported(Spectrum(), x), path.with_suffix(".pt2"))
        path = path.with_suffix(".pt2")
    found = rows(path, **shapes)
    placements = {name: placement for name, (placement, _, _) in found.items()}
    assert placements == {
        "aten::linear": "neuron",
        "aten::relu": "neuron",
        "aten::fft_rfft": "host",
        "aten::mul": "host",
        "aten::fft_irfft": "host",
        "aten::tanh": "neuron",
    }
    assert found["aten::fft_rfft"][1] == "RV0202"
    assert "(aten::fft_rfft) gives, whose type is not known" in found["aten::mul"][2]
    with pytest.raises(ModelImportError, match="complex64"):
        import_model([path], shapes=shapes)


def test_branches_on_values_have_rows(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.script(Branches()).save(path)
    found = rows(path, x=(4, 8))
    assert found["aten::gt"][0] == "neuron"
    assert found["aten::Bool"][:2] == ("host", "RV0207")
    assert found["prim::If"][0] == found["aten::tanh"][0] == "host"
    assert "(aten::Bool) gives" in found["prim::If"][2]


def test_a_model_in_training_mode_says_so(tmp_path: Path) -> None:
    """Dropout that was left on is what keeps such a model from the machine."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    torch.export.save(torch.export.export(model.train(), (torch.rand(2, 4),)), tmp_path / "m.pt2")
    why = "nn has no such form of aten::dropout: it is random in training mode"
    assert rows(tmp_path / "m.pt2")["aten::dropout"] == ("host", "RV0205", why)


def test_wrong_shapes_are_an_error_and_no_row(tmp_path: Path) -> None:
    torch.jit.script(classifier()).save(tmp_path / "model.pt")
    with pytest.raises(ModelImportError, match=r"PyTorch refuses it: .*channels") as caught:
        import_model([tmp_path / "model.pt"], shapes={"input": (2, 4, 8, 8)}, untyped=True)
    assert caught.value.code is Code.NODE_INVALID


UNKNOWN_OP = """
import sys
import torch

@torch.library.custom_op("elsewhere::double", mutates_args=())
def double(x: torch.Tensor, times: int, name: str = "it") -> torch.Tensor:
    return x * times

@double.register_fake
def _(x, times, name="it"):
    return torch.empty_like(x)

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.tanh(torch.ops.elsewhere.double(torch.relu(x), 2, name="other"))

torch.export.save(torch.export.export(Model(), (torch.ones(3),)), sys.argv[1])
torch.jit.trace(Model(), torch.ones(3)).save(sys.argv[2])
"""


def test_ops_of_libraries_that_are_not_loaded(tmp_path: Path) -> None:
    """An exported program says enough of a call to place it; TorchScript is not read with it."""
    program, script = tmp_path / "model.pt2", tmp_path / "model.pt"
    words = [sys.executable, "-c", UNKNOWN_OP, str(program), str(script)]
    subprocess.run(words, check=True, capture_output=True)
    found = rows(program)
    assert found["elsewhere::double"] == (
        "host",
        "RV0205",
        "no library that is loaded has elsewhere::double",
    )
    assert found["aten::tanh"][0] == "neuron"
    for path in (program, script):
        with pytest.raises(ModelImportError, match=r"elsewhere::double is of no lib") as caught:
            import_model([path], shapes={"x": (3,)} if path is script else {})
        assert caught.value.code is Code.PROVIDER_MISSING
    assert not hasattr(torch.ops.elsewhere, "double")
