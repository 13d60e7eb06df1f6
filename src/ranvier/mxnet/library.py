"""The extension library that makes `_neuron_subgraph_op` an op of MXNet.

It is compiled when it is first needed, with the compiler of the system and the header in MXNet's
own package, into the user's cache. Its name there is a hash of all that it is made of.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

from ranvier.dialects.diagnostics import Code, CodedError

LOG = logging.getLogger("ranvier")

SOURCE = Path(__file__).with_name("library.cc")
FLAGS = ("-std=c++11", "-O1", "-shared", "-fPIC")
SECONDS = 120
"""A compiler that takes longer hangs: it takes two."""


class NoLibrary(CodedError):
    """The library cannot be built here; the text says why."""

    def __init__(self, text: str) -> None:
        super().__init__(Code.PROVIDER_MISSING, text)


def built(include: Path) -> Path:
    """The library for the MXNet whose headers are in `include`, built unless it is in the cache.

    Raises NoLibrary without a compiler, for another version of MXNet, and where no file can be
    written.
    """
    command = [*compiler(), *FLAGS, f"-I{include}", str(SOURCE), "-o"]
    try:
        header = (include / "mxnet" / "lib_api.h").read_bytes()
    except OSError as error:
        raise NoLibrary(f"MXNet's package has no lib_api.h: {error.strerror}") from error
    identity = sha256(SOURCE.read_bytes() + header + "\0".join(command).encode()).hexdigest()
    path = cache_folder() / f"mxnet-{identity[:32]}.so"
    try:
        if not path.is_file():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _build(command, path)
    except OSError as error:
        raise NoLibrary(f"{path.parent}: {error.strerror}") from error
    return path


def compiler() -> list[str]:
    """The C++ compiler of the environment, or the system's. Raises NoLibrary if there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [["c++"], ["g++"], ["clang++"]]:
        if (found := shutil.which(command[0])) is not None:
            return [found, *command[1:]]
    raise NoLibrary(f"there is no C++ compiler '{named[0] if named else 'c++'}'")


def cache_folder() -> Path:
    """The user's folder for what can be made again."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "ranvier"


def _build(command: list[str], path: Path) -> None:
    """Compile into a temporary file beside `path`, then rename: the file is whole or absent."""
    LOG.info("compiling MXNet's extension library, once: %s", path)
    handle, temporary = tempfile.mkstemp(prefix=".mxnet-", suffix=".so", dir=path.parent)
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
