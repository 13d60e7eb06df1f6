"""`ranvier`: import, compile, run and inspect models. One file for each subcommand.

Exit status: 0 success, 1 the input or the program is at fault, 2 usage, 3 internal error, 10 the
NEFF version is not supported, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, cast

COMMANDS = {
    "import": "read a model and print it as nn IR",
    "compile": "compile models to NEFF files",
    "run": "run a NEFF file on the reference machine",
    "info": "show what a NEFF file holds",
}
"""Subcommands and their one-line help; `tools/<name>_command.py` has each."""

UNSUPPORTED_VERSION = 10


class Command(Protocol):
    """A subcommand's module."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


def load_command(name: str) -> Command:
    return cast(Command, import_module(f"ranvier.tools.{name}_command"))


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `ranvier`."""
    sys.exit(execute(sys.argv[1:] if argv is None else list(argv)))


def execute(argv: list[str]) -> int:
    """Run one command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="ranvier",
        description="An open compiler for NeuronCore-style accelerators.",
        epilog="ranvier COMMAND --help describes a command.",
    )
    parser.add_argument("-V", "--version", action="store_true", help="print versions and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = next((word for word in argv if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=text.capitalize() + ".")
        if name == chosen:  # the others need not be imported
            load_command(name).add_arguments(subparser)
    arguments = parser.parse_args(argv)
    if arguments.version:
        print_versions()
        return 0
    if arguments.command is None:
        parser.print_usage(sys.stderr)
        return 2
    return guarded(load_command(arguments.command), arguments, argv)


def guarded(command: Command, arguments: argparse.Namespace, argv: list[str]) -> int:
    """Run a command; errors of the user's become one line, bugs of ours a report."""
    from xdsl.utils.exceptions import ParseError, PassFailedException, VerifyException

    from ranvier.dialects.diagnostics import Code, CodedError

    try:
        return command.run(arguments)
    except CodedError as error:
        print(f"ranvier: {error.report()}", file=sys.stderr)
        return UNSUPPORTED_VERSION if error.code is Code.NEFF_VERSION else 1
    except (ParseError, PassFailedException, VerifyException) as error:
        print(f"ranvier: {str(error).strip()}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("ranvier: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        where = error.filename or "input or output"
        print(f"ranvier: {where}: {error.strerror or error}", file=sys.stderr)
        return 1
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        report = write_report(argv, error)
        print(
            f"ranvier: internal error: {type(error).__name__}: {error}; a report for the "
            f"developers is in {report} [{Code.INTERNAL.number}]",
            file=sys.stderr,
        )
        return 3


def write_report(argv: list[str], error: BaseException) -> Path:
    """Keep what is needed to look into a bug of ours: command, versions, traceback."""
    handle, name = tempfile.mkstemp(prefix="ranvier-error-", suffix=".txt")
    lines = [
        f"Command line: ranvier {' '.join(argv)}",
        f"Version information: ranvier {version('ranvier')}, xdsl {version('xdsl')}, "
        f"numpy {version('numpy')}, python {platform.python_version()}",
        "Internal details:",
        "".join(traceback.format_exception(error)),
    ]
    with os.fdopen(handle, "w") as stream:
        stream.write("\n".join(lines))
    return Path(name)


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
