"""Imports point down only, and nothing heavy is imported before it is needed.

The table is that of the design: a layer may import itself and what its row names. Imports inside
functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("dialects", "passes", "importers", "backend", "tools")
FRAMEWORKS = ("onnx", "torch", "tensorflow", "mxnet")
BASE = tuple(f"dialects.{name}" for name in ("interfaces", "diagnostics", "files", "weights"))

ALLOWED: dict[str, tuple[str, ...]] = {
    "dialects": (),
    "dialects.interfaces": BASE,
    "dialects.diagnostics": BASE,
    "dialects.files": BASE,
    "dialects.weights": BASE,
    "dialects.nn": (*BASE, "dialects.nn"),
    "dialects.graph": (*BASE, "dialects.graph"),
    "dialects.nc": (*BASE, "dialects.nc"),
    "passes": (*BASE, "dialects.nn", "dialects.graph", "passes"),
    "importers": (*BASE, "dialects.nn", "importers.*"),
    **{
        f"importers.{framework}": (*BASE, "dialects.nn", "importers.*", f"importers.{framework}")
        for framework in FRAMEWORKS
    },
    "backend": (),
    "backend.reference": (*BASE, "dialects.nn", "dialects.graph", "backend.reference"),
    "backend.processor": (),
    "backend.shared_library": BASE,
    "backend.neuron": (
        "dialects",
        "passes",
        "backend.reference",
        "backend.processor",
        "backend.shared_library",
        "backend.neuron",
    ),
    "tools": (*FOLDERS, "ranvier"),
    "ranvier": (*FOLDERS, "ranvier"),
}
"""What each part may import. `importers.*` is what importers share, without the frameworks."""


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of ours by its name without `ranvier.`, and the public face as `ranvier.…`."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path
    for path in sorted((ROOT / "src/ranvier").rglob("*.py")):
        yield ".".join(path.relative_to(ROOT / "src").with_suffix("").parts), path


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, wherever the import stands."""
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*(["ranvier", *parents] if node.level else []), node.module or ""])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def part_of(module: str) -> str:
    """The row of the table that a module belongs to: the longest that begins its name."""
    return max((row for row in ALLOWED if starts(module, row)), key=len)


def starts(module: str, prefix: str) -> bool:
    return f"{module}.".startswith(f"{prefix}.")


def may_import(part: str, imported: str) -> bool:
    for row in ALLOWED[part]:
        if row == "importers.*":
            shared = not any(starts(imported, f"importers.{name}") for name in FRAMEWORKS)
            if shared and starts(imported, "importers"):
                return True
        elif starts(imported, row):
            return True
    return False


def offences(module: str, path: Path) -> Iterator[str]:
    part = part_of(module.removesuffix(".__init__"))
    for line, name in imports(path, module):
        if name.split(".")[0] in FOLDERS:
            yield f"{path}:{line}: import ranvier.{name}, not {name}"
        if not starts(name, "ranvier"):
            continue
        imported = name.removeprefix("ranvier.")
        # `from ranvier.dialects import nn` imports what it names; the face has no other modules.
        if imported.split(".")[0] not in FOLDERS:
            imported = f"ranvier.{imported}"
        if not may_import(part, imported):
            yield f"{path}:{line}: {part} must not import {imported}"


@pytest.mark.parametrize(("module", "path"), [*modules()], ids=lambda value: str(value))
def test_imports_point_down_only(module: str, path: Path) -> None:
    assert not list(offences(module, path))


def test_the_table_refuses_what_it_should() -> None:
    assert not may_import("passes", "dialects.nc.types")
    assert not may_import("passes", "backend.reference")
    assert not may_import("importers.onnx", "importers.torch.trace")
    assert not may_import("importers", "importers.onnx")
    assert not may_import("dialects.nn", "dialects.graph")
    assert not may_import("backend.reference", "passes.target")
    assert not may_import("backend.neuron", "importers.onnx")
    assert may_import("importers.onnx", "importers.semantics")
    assert may_import("backend.neuron", "passes.target")


def test_imports_inside_functions_count(tmp_path: Path) -> None:
    path = tmp_path / "fake.py"
    path.write_text("def f():\n    from ranvier.backend import reference\n    import dialects.nn\n")
    assert [text.split(": ", 1)[1] for text in offences("passes.fake", path)] == [
        "passes must not import backend.reference",
        "import ranvier.dialects.nn, not dialects.nn",
    ]


LIGHT = {
    "the package": "import ranvier",
    "the universe": "import ranvier.tools.universe",
    "ranvier-opt --help": (
        "from ranvier.tools.opt import main\n"
        "import sys; sys.argv = ['ranvier-opt', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass"
    ),
}


@pytest.mark.parametrize("code", LIGHT.values(), ids=LIGHT.keys())
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    """A help text, and a stock xdsl-opt that sees our entry point, stay fast."""
    heavy = ("numpy", "onnx", "torch", "tensorflow", "mxnet", "jax")
    report = (
        f"import sys; print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    assert done.stderr.split() == []
