"""C and C++ sources of ranvier, compiled when they are first needed.

The compiler is the system's, the place the user's cache, and the file's name there a hash of all
that it is made of: a change makes another file, and the same is built once.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from ranvier.dialects.diagnostics import Code, CodedError

LOG = logging.getLogger("ranvier")

SECONDS = 120
"""A compiler that takes longer hangs: it takes one or two."""
COMPILERS = {".c": ("CC", ("cc", "gcc", "clang")), ".cc": ("CXX", ("c++", "g++", "clang++"))}
"""The variable of the environment that names a compiler, else what to look for, by suffix."""


class NoLibrary(CodedError):
    """The library cannot be built here; the text says why."""

    def __init__(self, text: str) -> None:
        super().__init__(Code.PROVIDER_MISSING, text)


def built(source: Path, flags: Sequence[str], stem: str, what: str, parts: bytes = b"") -> Path:
    """The shared library of a source, built unless it is in the cache.

    `parts` is what else it is made of. `what` names it in the log. Raises NoLibrary without a
    compiler, where that fails, and where no file can be written.
    """
    command = [*compiler(source.suffix), *flags, str(source), "-o"]
    identity = sha256(source.read_bytes() + parts + "\0".join(command).encode()).hexdigest()
    path = cache_folder() / f"{stem}-{identity[:32]}.so"
    try:
        if not path.is_file():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            LOG.info("compiling %s, once: %s", what, path)
            _build(command, path)
    except OSError as error:
        raise NoLibrary(f"{path.parent}: {error.strerror or error}") from error
    return path


def compiler(suffix: str) -> list[str]:
    """The compiler of the environment, or the system's. Raises NoLibrary if there is none."""
    variable, names = COMPILERS[suffix]
    named = shlex.split(os.environ.get(variable, ""))
    for command in [named] if named else [[name] for name in names]:
        if (found := shutil.which(command[0])) is not None:
            return [found, *command[1:]]
    language = "C++" if suffix == ".cc" else "C"
    raise NoLibrary(f"there is no {language} compiler '{named[0] if named else names[0]}'")


def cache_folder() -> Path:
    """The user's folder for what can be made again. Raises NoLibrary for a user without one."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "ranvier"
    except RuntimeError as error:
        raise NoLibrary(str(error)) from error


def _build(command: list[str], path: Path) -> None:
    """Compile into a temporary file beside `path`, then rename: the file is whole or absent."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        done = subprocess.run(
            [*command, temporary], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line]
            raise NoLibrary(f"{command[0]} failed: {lines[0] if lines else done.returncode}")
        ctypes.CDLL(temporary)  # a library that cannot be loaded must not enter the cache
        os.replace(temporary, path)
    except subprocess.TimeoutExpired as error:
        raise NoLibrary(f"{command[0]} took longer than {SECONDS} s") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
