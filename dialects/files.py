"""Files that are complete or absent: written under another name, and renamed."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from ranvier.dialects.diagnostics import CallerError, Code


@contextmanager
def completed(path: Path) -> Generator[Path]:
    """A name to write to, whose file takes the place of `path` at the end.

    Raises CallerError if it cannot be written. A device or a pipe would be replaced, so it is
    refused.
    """
    if is_special(path):
        raise CallerError(Code.FILE_UNWRITABLE, f"{path}: is no regular file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise CallerError(Code.FILE_UNWRITABLE, f"{path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it may never have come to be
            temporary.unlink()


def is_special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()
