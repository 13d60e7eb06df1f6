"""Writing results: files that are complete or absent, JSON, tables, progress."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ranvier.dialects.diagnostics import CallerError, Code


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it. Raises CallerError if it cannot."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`, for bytes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise CallerError(Code.FILE_UNWRITABLE, f"{path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


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
