"""`ranvier explain MODEL`: where each op runs, why, and what fixing each reason would bring."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ranvier.tools.arguments import add_model_arguments, read_model
from ranvier.tools.compile_command import (
    add_cast_arguments,
    add_placement_arguments,
    check_output,
    options_of,
)

if TYPE_CHECKING:
    from ranvier.explanation import Explanation

ENDS = ("name", "from")
"""Columns of paths."""
COLUMNS = ("op", "name", "type", "runs on", "core", "in", "out", "why", "from")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    add_placement_arguments(parser)
    add_cast_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page of the graph that needs no network"
    )
    parser.add_argument(
        "--write-rules", type=Path, metavar="FILE", help="write the placement as rules, one per op"
    )
    parser.add_argument(
        "--host-only", action="store_true", help="leave the ops on the target out of the table"
    )
    parser.set_defaults(save_temps=None)


def run(arguments: argparse.Namespace) -> int:
    from ranvier.explanation import explain_module
    from ranvier.tools.explain_page import page_of
    from ranvier.tools.output import print_json, progress, write_text
    from ranvier.written_rules import rules_of

    for path in filter(None, (arguments.html, arguments.write_rules)):
        check_output(path)
    options = options_of(arguments)
    name = arguments.models[0].name
    with progress(f"{name}: placing its ops", quiet=arguments.json):
        module = read_model(arguments, arguments.models, untyped=True)
        explanation = explain_module(module, options.for_module(module))
    if arguments.html is not None:
        write_text(arguments.html, page_of(explanation, name))
    if arguments.write_rules is not None:
        write_text(arguments.write_rules, rules_of(explanation))
    if arguments.json:
        print_json(explanation.describe())
    else:
        print_explanation(explanation, host_only=arguments.host_only)
    return 0


def print_explanation(explanation: Explanation, *, host_only: bool) -> None:
    """The ops, the segments, and last the summary, which is what most want to read."""
    from ranvier.tools.output import format_bytes

    rows = [
        (
            row.op,
            row.name,
            row.framework_op,
            row.segment,
            "" if row.core is None else str(row.core),
            format_bytes(row.bytes_in) if row.bytes_in else "",
            format_bytes(row.bytes_out) if row.bytes_out else "",
            f"{row.reason} [{row.code}]" if row.code else "",
            row.source,
        )
        for row in explanation.ops
        if not host_only or row.placement == "host"
    ]
    if rows:
        print_table(COLUMNS, rows)
        print()
    print_table(
        ("segment", "runs on", "ops", "bytes in", "bytes out"),
        [
            (s.name, s.placement, str(s.ops), format_bytes(s.bytes_in), format_bytes(s.bytes_out))
            for s in explanation.segments
        ],
    )
    print()
    for line in summary(explanation):
        print(line)


def summary(explanation: Explanation) -> Iterable[str]:
    """Counts, what each reason costs, and heavy work on the host."""
    from ranvier.tools.output import format_bytes

    counts = explanation.operators
    yield (
        f"{counts.on_neuron} of {counts.before} ops run on {explanation.target}, in "
        f"{plural(counts.segments, 'segment')}; {counts.host} on the host"
    )
    if explanation.gains:
        yield "What each reason costs: ops on the host, and device segments more for it"
    for gain in explanation.gains:
        crossing = f", {format_bytes(gain.bytes)} across" if gain.bytes > 0 else ""
        yield (
            f"  {plural(gain.ops, 'op')}, {plural(gain.segments, 'segment')}{crossing}: {gain.op}: "
            f"{gain.reason.text} [{gain.reason.code.number}]"
        )
    for op, count, share in explanation.heavy_host_work:
        yield f"Heavy work on the host: {count} {op}, {share * 100:.0f} % of the MACs"


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; elsewhere lines of tab-separated cells, under a line of their names.

    Columns without an entry are left out.
    """
    used = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    columns, rows = [columns[i] for i in used], [[row[i] for i in used] for row in rows]
    if not rows:
        return
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console, table = Console(highlight=False), Table(box=None, pad_edge=False)
    most = console.width // 5
    ends = [i for i, name in enumerate(columns) if name in ENDS]
    rows = [[ending(c, most) if i in ends else c for i, c in enumerate(row)] for row in rows]
    for i, name in enumerate(columns):
        table.add_column(name, no_wrap=i in ends)
    for row in rows:
        style = "yellow" if any(cell.startswith("host") for cell in row) else None
        table.add_row(*map(escape, row), style=style)
    console.print(table)


def ending(text: str, most: int) -> str:
    """The end of a text, which says more than its beginning where it is a path."""
    return text if len(text) <= most else f"…{text[1 - most :]}"
