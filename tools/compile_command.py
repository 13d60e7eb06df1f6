"""`ranvier compile MODEL… -o F`: models to NEFF files."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ranvier.casting import CASTS, KEYWORDS
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.tools.arguments import add_model_arguments, shapes_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("out.neff"), help="default: out.neff"
    )
    parser.add_argument("--target", default="inf2", help="inf1 or inf2 (default: inf2)")
    parser.add_argument(
        "--neuroncore-pipeline-cores",
        "--num-neuroncores",
        dest="cores",
        type=int,
        default=1,
        metavar="N",
        help="NeuronCores of the pipeline (default: 1)",
    )
    parser.add_argument(
        "--fast-math",
        nargs="+",
        default=["all"],
        metavar="KEYWORD",
        help=f"{', '.join(KEYWORDS)} (default: all)",
    )
    parser.add_argument("--fp32-cast", choices=CASTS, help="beats the casts of --fast-math")
    parser.add_argument(
        "--fallback",
        choices=("host", "error"),
        default="host",
        help="what becomes of an op that the target lacks (default: host)",
    )
    parser.add_argument(
        "--minimum-size", type=int, default=1, metavar="N", help="of a segment (default: 1)"
    )
    parser.add_argument("--save-temps", type=Path, metavar="DIR", help="keep the IR of each pass")
    parser.add_argument("--print-pipeline", action="store_true", help="print the passes and exit")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    from ranvier.importers.registry import import_model
    from ranvier.program import Options, compile_module
    from ranvier.tools.output import print_json, progress

    options = Options(
        target=arguments.target,
        cores=arguments.cores,
        fast_math=tuple(arguments.fast_math),
        fp32_cast=arguments.fp32_cast,
        fallback=arguments.fallback,
        minimum_size=arguments.minimum_size,
        save_temps=arguments.save_temps,
    )
    if arguments.print_pipeline:
        print(options.pipeline())
        return 0
    check_output(arguments.output)
    started = time.perf_counter()
    with progress(f"Compiling {arguments.models[0].name}", quiet=arguments.json):
        module = import_model(
            arguments.models, framework=arguments.framework, shapes=shapes_of(arguments)
        )
        compiled = compile_module(module, options)
        compiled.write(arguments.output)
    report = report_of(arguments.output, compiled, time.perf_counter() - started)
    if arguments.json:
        print_json(report)
    else:
        print_report(report)
    return 0


def check_output(path: Path) -> None:
    """Refuse an output that cannot be written before the work starts."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise CallerError(Code.FILE_UNWRITABLE, f"{path}: no folder {folder}")
    if path.is_dir():
        raise CallerError(Code.FILE_UNWRITABLE, f"{path}: is a folder")


def report_of(path: Path, compiled: Any, seconds: float) -> dict[str, Any]:
    """The object of `--json`. See the command reference."""
    from ranvier.backend.neuron.neff.decode import load_neff

    neff = load_neff(path)
    report: dict[str, Any] = {
        "neff": str(path),
        "sha256": neff.sha256,
        "seconds": round(seconds, 3),
        "target": compiled.options.target,
        "cores": neff.cores,
        "operators": asdict(compiled.operators),
        "host_ops": [asdict(op) for op in compiled.host_ops],
        "bytes": path.stat().st_size,
        "simulated_us": neff.simulated_us,
    }
    if compiled.options.cores > 1:
        report["pipeline"] = neff.pipeline
    return report


def print_report(report: dict[str, Any]) -> None:
    """The same for a person: operator counts in the originals' wording."""
    from ranvier.tools.output import format_bytes, format_us

    counts = report["operators"]
    print(f"Number of operations in original model: {counts['before']}")
    print(f"Number of operations in compiled model: {counts['after']}")
    print(f"Number of Neuron subgraphs in compiled model: {counts['segments']}")
    print(f"Number of operations placed on Neuron runtime: {counts['on_neuron']}")
    for op in report["host_ops"]:
        print(
            f"On the host: {op['op']} '{op['name']}': {op['reason']} [{op['code']}]",
            file=sys.stderr,
        )
    print(
        f"{report['neff']}: {format_bytes(report['bytes'])}, {report['cores']} NeuronCores of "
        f"{report['target']}, {format_us(report['simulated_us'])} simulated, compiled in "
        f"{report['seconds']:.1f} s"
    )
