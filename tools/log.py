"""Messages of the commands: which level goes where, and in which form.

As with neuron-cc, trace, debug and info go to stdout, warnings and errors to stderr, each a line
`MM/DD/YYYY HH:MM:SS AM LEVEL <pid> [ranvier]: text`. With `--json` stdout holds the object alone,
so that all messages go to stderr. `--verbose 35` adds dots and a closing status.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from threading import Event, Thread

LOG = logging.getLogger("ranvier")

PROGRESS = 35
"""The level of dots and a closing status, between warnings and errors."""

DOT_SECONDS = 20.0

NAMES = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.ERROR,
}

LINE = "%(asctime)s %(levelname)s %(process)d [ranvier]: %(message)s"
DATE = "%m/%d/%Y %I:%M:%S %p"


def verbosity(text: str) -> int:
    """The level that `--verbose` names: a name, a number of Python's, 0 to 2 for everything."""
    if (level := NAMES.get(text.lower())) is not None:
        return level
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no level: DEBUG INFO WARN ERROR or a number")
    return min(max(int(text), logging.DEBUG), logging.ERROR)


def add_verbose(parser: argparse.ArgumentParser, *, default: int | str) -> None:
    """The option stands before or after the command; after it, absence must not overwrite."""
    parser.add_argument(
        "--verbose",
        type=verbosity,
        default=default,
        metavar="LEVEL",
        help="DEBUG, INFO, WARN or ERROR, or a number; 35 shows dots (default: WARN)",
    )


class LineFormatter(logging.Formatter):
    """A record is one line, whatever a message of xDSL looks like."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(super().format(record).split("\n"))


def configure(level: int, *, json: bool) -> None:
    """Send messages of at least a level to their streams."""
    logging.addLevelName(logging.WARNING, "WARN")
    logging.addLevelName(logging.CRITICAL, "FATAL")
    formatter = LineFormatter(LINE, DATE)
    low = logging.StreamHandler(sys.stderr if json else sys.stdout)
    low.addFilter(lambda record: record.levelno < logging.WARNING)
    high = logging.StreamHandler(sys.stderr)
    high.setLevel(logging.WARNING)
    for handler in (low, high):
        handler.setFormatter(formatter)
    LOG.handlers = [low, high]
    LOG.propagate = False
    LOG.setLevel(min(level, logging.WARNING) if level == PROGRESS else level)


@contextmanager
def dots(*, json: bool, shown: bool) -> Generator[None]:
    """A dot at once and every 20 seconds, as `--verbose 35` shows them."""
    if not shown:
        yield
        return
    stream = sys.stderr if json else sys.stdout
    done = Event()

    def show() -> None:
        while True:
            print(".", end="", file=stream, flush=True)
            if done.wait(DOT_SECONDS):
                return

    thread = Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        print(file=stream, flush=True)


def print_status(status: int, *, json: bool) -> None:
    """The closing line of `--verbose 35`."""
    stream = sys.stderr if json else sys.stdout
    print(f"Compiler status {'ERROR' if status else 'PASS'}", file=stream, flush=True)
