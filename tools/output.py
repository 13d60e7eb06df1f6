"""Writing results: files that are complete or absent, JSON, tables, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.dialects.files import completed, is_special
from ranvier.tools.log import LOG


def write_text(path: Path, text: str) -> None:
    """Write a file, complete or not at all. Raises CallerError if it cannot.

    Halves of characters, which no file holds, are spelled.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`, for bytes."""
    if is_special(path):  # `/dev/stdout`, or a pipe to another process
        try:
            path.write_bytes(data)
        except OSError as error:
            raise CallerError(Code.FILE_UNWRITABLE, f"{path}: {error.strerror}") from error
        return
    with completed(path) as temporary:
        temporary.write_bytes(data)


def print_json(value: dict[str, Any]) -> None:
    """The one object of a command's `--json`."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


@contextmanager
def progress(text: str, *, quiet: bool) -> Generator[None]:
    """Show that something long runs: a spinner on a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def steps(text: str, *, shown: bool) -> Generator[Callable[[str], None]]:
    """What takes the names of passes as they begin: a spinner on a terminal, and lines of INFO."""
    if not shown or not sys.stderr.isatty():
        yield lambda name: LOG.info("%s: %s", text, name)
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(text)) as status:

        def begin(name: str) -> None:
            LOG.info("%s: %s", text, name)
            status.update(escape(f"{text}: {name}"))

        yield begin


def format_bytes(count: int) -> str:
    """`512 B`, `1.5 KiB`, `25.3 MiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def format_us(microseconds: float) -> str:
    """`850 us`, `12.4 ms`."""
    return f"{microseconds:.0f} us" if microseconds < 10_000 else f"{microseconds / 1000:.1f} ms"
