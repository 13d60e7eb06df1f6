"""`ranvier`: import, compile, run and inspect models. One file for each subcommand.

Exit status: 0 success, 1 the input or the program is at fault, 2 usage, 3 internal error, 10 the
NEFF version is not supported, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Protocol, cast

from ranvier.tools.blas import choose_kernels
from ranvier.tools.log import LOG, PROGRESS, add_verbose, configure, print_status

COMMANDS = {
    "import": "read a model and print it as nn IR",
    "compile": "compile models to NEFF files",
    "run": "run a NEFF file on the reference machine",
    "explain": "say where each op of a model runs, and why",
    "info": "show what a NEFF file holds",
    "list-operators": "list the operators of a framework that run on the machine",
}
"""Subcommands and their one-line help; `tools/<name>_command.py` has each."""

UNSUPPORTED_VERSION = 10
INTERNAL_ERROR = 3
INTERRUPTED = 130


class Command(Protocol):
    """A subcommand's module."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


def load_command(name: str) -> Command:
    return cast(Command, import_module(f"ranvier.tools.{name.replace('-', '_')}_command"))


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `ranvier`."""
    choose_kernels()
    try:
        sys.exit(execute(sys.argv[1:] if argv is None else list(argv)))
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(INTERRUPTED)


def execute(argv: list[str]) -> int:
    """Run one command line and return its exit status."""
    parser = make_parser(argv)
    arguments = parser.parse_args(argv)
    if arguments.version:
        print_versions()
        return 0
    if arguments.command is None:
        parser.print_usage(sys.stderr)
        return 2
    json = getattr(arguments, "json", False)
    configure(arguments.verbose, json=json)
    status = guarded(arguments, argv)
    if arguments.command == "compile" and arguments.verbose == PROGRESS:
        print_status(status, json=json)
    return status


def make_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser with the arguments of the command that the line names."""
    parser = argparse.ArgumentParser(
        prog="ranvier",
        description="An open compiler for NeuronCore-style accelerators.",
        epilog="ranvier COMMAND --help describes a command.",
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="store_true", help="print versions and exit")
    add_verbose(parser, default=logging.WARNING)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = next((word for word in argv if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=text, description=text.capitalize() + ".", allow_abbrev=False
        )
        add_verbose(subparser, default=argparse.SUPPRESS)
        if name == chosen:  # the others need not be imported
            load_command(name).add_arguments(subparser)
    return parser


def guarded(arguments: argparse.Namespace, argv: list[str]) -> int:
    """Run a command; errors of the user's become one line, bugs of ours a report."""
    try:
        return load_command(arguments.command).run(arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        LOG.error("interrupted")
        return INTERRUPTED
    except Exception as error:  # the last place where a bug of ours can become a report
        if (failure := failure_of(error)) is None:
            report_bug(error, arguments, argv)
            return INTERNAL_ERROR
        text, status = failure
        LOG.error(text)
        return status


def failure_of(error: BaseException) -> tuple[str, int] | None:
    """The line and the exit status of an error of the user's; None for a bug of ours."""
    from xdsl.utils.exceptions import ParseError, PassFailedException, VerifyException

    from ranvier.dialects.diagnostics import Code, CodedError

    match error:
        case CodedError():
            return error.report(), UNSUPPORTED_VERSION if error.code is Code.NEFF_VERSION else 1
        case ParseError() | PassFailedException() | VerifyException():
            return str(error).strip(), 1
        case OSError():
            return f"{error.filename or 'input or output'}: {error.strerror or error}", 1
        case _:
            return None


def report_bug(error: BaseException, arguments: argparse.Namespace, argv: list[str]) -> None:
    """Write the report and say where it is."""
    from ranvier.dialects.diagnostics import Code
    from ranvier.tools.internal_error import REPORT, write_report

    folder = write_report(argv, error, getattr(arguments, "reproducer", None))
    LOG.critical(
        f"internal error: {type(error).__name__}: {error}; a report for the developers is in "
        f"{folder / REPORT} [{Code.INTERNAL.number}]"
    )


def print_versions() -> None:
    """Compiler, targets, file format, and the frameworks that are installed."""
    from importlib.metadata import PackageNotFoundError, entry_points

    from ranvier.backend.neuron.neff.container import FORMAT_MAJOR, FORMAT_MINOR

    targets = ", ".join(sorted(entry_points(group="ranvier.targets").names))
    print(f"ranvier compiler version {version('ranvier')}\n")
    print(f"Targets {targets}")
    print(f"NEFF format {FORMAT_MAJOR}.{FORMAT_MINOR}")
    for package in ("xdsl", "numpy", "onnx", "torch", "tensorflow", "mxnet"):
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:
            print(f"{package} not available")
