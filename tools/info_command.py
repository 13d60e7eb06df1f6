"""`ranvier info F`: what a NEFF file holds, without running it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("neff", type=Path, metavar="F", help="NEFF file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    from ranvier.backend.neuron.neff.decode import load_neff
    from ranvier.tools.output import print_json

    report = load_neff(arguments.neff).describe()
    if arguments.json:
        print_json(report)
    else:
        print_info(report)
    return 0


def print_info(report: dict[str, Any]) -> None:
    """The header, then a table of inputs and outputs."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ranvier.tools.output import format_bytes

    console = Console(highlight=False)
    counts = report["operators"]
    rows = {
        "Name": report["name"],
        "Compiler": report["compiler_version"],
        "Flags": " ".join(report["flags"]),
        "Format": report["format_version"],
        "Target": f"{report['target']}, {report['cores']} NeuronCores",
        "Size": ", ".join(f"{key} {format_bytes(n)}" for key, n in report["sizes"].items()),
        "SHA-256": report["sha256"],
        "Operations": ", ".join(f"{key} {count}" for key, count in counts.items()),
    }
    for key, value in rows.items():
        console.print(f"{key + ':':<12}{escape(str(value))}", soft_wrap=True)
    table = Table("", "name", "shape", "type")
    for kind in ("inputs", "outputs"):
        for port in report[kind]:
            shape = "x".join(map(str, port["shape"])) or "scalar"
            table.add_row(kind[:-1], escape(port["name"]), shape, port["dtype"])
    console.print(table)
    print_stages(console, report)


def print_stages(console: Console, report: dict[str, Any]) -> None:
    """What each core costs, and how even the pipeline is."""
    from rich.markup import escape
    from rich.table import Table

    from ranvier.tools.output import format_us

    table = Table("segment", "core", "estimated", "simulated")
    for stage in report["stages"]:
        times = (format_us(stage[f"{kind}_us"]) for kind in ("estimated", "simulated"))
        table.add_row(escape(stage["segment"]), str(stage["core"]), *times)
    if report["stages"]:
        console.print(table)
    pipeline = report["pipeline"]
    if pipeline["cores"] > 1 and "gap" in pipeline:
        console.print(
            f"Pipeline    slowest stage {format_us(pipeline['bottleneck_us'])}, at best "
            f"{format_us(pipeline['bound_us'])}, gap {pipeline['gap']:.1%}"
        )
