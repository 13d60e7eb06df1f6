"""`ranvier run F --input NAME=FILE.npy … --output-dir D`: one inference on our machine."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import Any

from ranvier.dialects.diagnostics import CallerError, Code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("neff", type=Path, metavar="F", help="NEFF file")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE.npy",
        help="array of an input, repeatable",
    )
    parser.add_argument("--output-dir", type=Path, metavar="D", help="where outputs go, as .npy")
    parser.add_argument(
        "--exact", action="store_true", help="issue by issue, as the machine is defined"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    from ranvier.backend.neuron.interpreter.kernels import provider
    from ranvier.program import load
    from ranvier.tools.output import format_us, print_json, progress

    program = load(arguments.neff)
    inputs = {name: read_array(name, path) for name, path in map(split_input, arguments.input)}
    if arguments.output_dir is not None:
        make_folder(arguments.output_dir)
    with progress(f"Running {arguments.neff.name}", quiet=arguments.json):
        started = time.perf_counter()
        outputs = program.run(inputs, exact=arguments.exact)
        seconds = time.perf_counter() - started
    counters = program.runner.counters
    report: dict[str, Any] = {
        "outputs": write_outputs(outputs, arguments.output_dir),
        "seconds": seconds,
        "simulated_us": program.neff.simulated_us,
        "provider": provider(),
        "executed": {
            "macs": counters.macs,
            "elements": counters.elements,
            "instructions": counters.instructions,
        },
    }
    if arguments.json:
        print_json(report)
        return 0
    for name, output in report["outputs"].items():
        print(f"{name}: {output['dtype']} {output['shape']} {output['path'] or ''}".rstrip())
    print(
        f"{seconds * 1000:.0f} ms on this computer, {format_us(report['simulated_us'])} simulated, "
        f"{counters.macs / 1e6:.1f} million multiply-accumulates"
    )
    return 0


def split_input(text: str) -> tuple[str, Path]:
    """`NAME=FILE`; names may hold `=`, files not."""
    name, separator, path = text.rpartition("=")
    if not separator or not name:
        raise CallerError(Code.OPTION_INVALID, f"--input {text}: expected NAME=FILE.npy")
    return name, Path(path)


def read_array(name: str, path: Path) -> Any:
    """An array from a .npy file; pickled objects are refused."""
    import numpy as np

    if not path.is_file():
        raise CallerError(Code.FILE_MISSING, f"--input {name}: {path}: no such file")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CallerError(Code.FILE_INVALID, f"--input {name}: {path}: {error}") from error


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CallerError(Code.FILE_UNWRITABLE, f"{path}: {error.strerror}") from error


def write_outputs(outputs: dict[str, Any], folder: Path | None) -> dict[str, dict[str, Any]]:
    """Save each output under a name that any file system takes; describe them all."""
    import io

    import numpy as np

    from ranvier.tools.output import write_bytes

    described: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()
    for name, array in outputs.items():
        path = None
        if folder is not None:
            path = folder / f"{file_stem(name, taken)}.npy"
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            write_bytes(path, buffer.getvalue())
        described[name] = {
            "path": None if path is None else str(path),
            "shape": list(array.shape),
            "dtype": str(array.dtype),
        }
    return described


def file_stem(name: str, taken: set[str]) -> str:
    """A file name for an output name with slashes, colons or blanks; unique in `taken`."""
    stem = re.sub(r"[^\w.-]", "_", name).lstrip(".") or "output"
    unique, count = stem, 1
    while unique in taken:
        unique, count = f"{stem}_{count}", count + 1
    taken.add(unique)
    return unique
