"""What is kept of a bug of ours: a report in the order of neuron-cc's block, and a reproducer."""

from __future__ import annotations

import platform
import shlex
import tempfile
import traceback
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

BANNER = ("*" * 64, " An Internal Compiler Error has occurred", "*" * 64)
REPORT, REPRODUCER = "report.txt", "reproducer.mlir"


@dataclass
class Reproducer:
    """A module before any pass, and the pipeline that was run on it."""

    module: ModuleOp
    pipeline: str

    def text(self) -> str:
        """The module as `ranvier-opt` takes it; weights are seeds, so no model data are in it."""
        from xdsl.dialects.builtin import IntegerAttr, i64
        from xdsl.printer import Printer

        from ranvier.dialects import nn

        for op in self.module.body.block.ops:
            if isinstance(op, nn.WeightOp) and (op.sha256 or op.file):
                for name in ("sha256", "file", "key"):
                    op.properties.pop(name, None)
                op.properties["seed"] = IntegerAttr(0, i64)
        text = StringIO()
        text.write(f"// RUN: ranvier-opt %s -p {shlex.quote(self.pipeline)}\n")
        Printer(text, print_debuginfo=True).print_op(self.module)
        return text.getvalue() + "\n"


def write_report(argv: list[str], error: BaseException, reproducer: Reproducer | None) -> Path:
    """Write report and reproducer to a folder of their own, and return that."""
    folder = Path(tempfile.mkdtemp(prefix="ranvier-error-"))
    (folder / REPORT).write_text("\n".join(report_lines(argv, error, folder)) + "\n")
    if reproducer is not None:
        (folder / REPRODUCER).write_text(reproducer.text())
    return folder


def report_lines(argv: list[str], error: BaseException, folder: Path) -> list[str]:
    """The block, its lines in the order that users of neuron-cc know."""
    versions = ", ".join(
        f"{package} {version(package)}" for package in ("ranvier", "xdsl", "numpy", "onnx")
    )
    return [
        *BANNER,
        "",
        f"Error message:  {error}",
        "",
        f"Error class:    {type(error).__name__}",
        f"Error location: {location_of(error)}",
        f"Command line:   {shlex.join(['ranvier', *argv])}",
        "",
        "Internal details:",
        "".join(traceback.format_exception(error)),
        f"Version information: {versions}, python {platform.python_version()}",
        "",
        f"Artifacts stored in: {folder}",
    ]


def location_of(error: BaseException) -> str:
    """Module, line and function where the error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "unknown"
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} in {last.name}"
