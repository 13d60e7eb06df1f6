"""The extension library that makes `_neuron_subgraph_op` an op of MXNet.

It is compiled when it is first needed, with the compiler of the system and the header in MXNet's
own package, into the user's cache.
"""

from __future__ import annotations

from pathlib import Path

from ranvier.backend import shared_library
from ranvier.backend.shared_library import NoLibrary

SOURCE = Path(__file__).with_name("library.cc")
FLAGS = ("-std=c++11", "-O1", "-shared", "-fPIC")


def built(include: Path) -> Path:
    """The library for the MXNet whose headers are in `include`, built unless it is in the cache.

    Raises NoLibrary without a compiler, for another version of MXNet, and where no file can be
    written.
    """
    try:
        header = (include / "mxnet" / "lib_api.h").read_bytes()
    except OSError as error:
        raise NoLibrary(f"MXNet's package has no lib_api.h: {error.strerror}") from error
    flags = (*FLAGS, f"-I{include}")
    return shared_library.built(SOURCE, flags, "mxnet", "MXNet's extension library", header)
