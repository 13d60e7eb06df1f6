"""`save_checkpoint` and `load_checkpoint`: a `symbol.json` and a `.params` file."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.importers.errors import ModelImportError
from ranvier.importers.mxnet.compiled import check_compiled
from ranvier.importers.mxnet.params import read_params, write_params
from ranvier.mxnet import real
from ranvier.mxnet.compat import installed
from ranvier.mxnet.executor import array_of
from ranvier.mxnet.ndarray import NDArray
from ranvier.mxnet.symbol import Symbol, load


def load_checkpoint(
    prefix: str | PathLike[str], epoch: int
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Symbol, parameters and auxiliary states of `<prefix>-symbol.json` and `-0000.params`.

    They are MXNet's where it is installed, else ours, as `read_checkpoint` gives them.
    """
    light, args, aux = read_checkpoint(prefix, epoch)
    if not installed() or (theirs := real.symbol(light.graph)) is None:
        return light, args, aux
    return theirs, converted(args), converted(aux)


def converted(arrays: Mapping[str, NDArray]) -> dict[str, Any]:
    """MXNet's arrays of ours."""
    return {name: real.array(array.view()) for name, array in arrays.items()}


def read_checkpoint(
    prefix: str | PathLike[str], epoch: int
) -> tuple[Symbol, dict[str, NDArray], dict[str, NDArray]]:
    """A symbol and arrays of ours.

    Raises ModelImportError for files that are damaged, and for a compiled symbol without its
    programs.
    """
    path, params = names_of(prefix, epoch)
    found = load(path)
    arrays = read_params(params)
    sides: dict[str, dict[str, NDArray]] = {"arg": {}, "aux": {}}
    for name, array in arrays.items():
        side, separator, own = name.partition(":")
        if not separator or side not in sides:
            raise ModelImportError(
                Code.FILE_INVALID, f"{params.name}: '{name}' is neither 'arg:…' nor 'aux:…'"
            )
        sides[side][own] = NDArray(array)
    programs = {name: array.view() for name, array in sides["arg"].items()}
    check_compiled(found.graph, programs, path.name)
    return found, sides["arg"], sides["aux"]


def save_checkpoint(
    prefix: str | PathLike[str],
    epoch: int,
    symbol: Any,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any],
    remove_amp_cast: bool = True,
) -> None:
    """Write the files that `load_checkpoint` reads, as MXNet writes them, byte by byte.

    Takes symbols and arrays of MXNet's and of ours.
    """
    path, params = names_of(prefix, epoch)
    if symbol is not None:
        symbol.save(str(path))
    arrays = {f"arg:{name}": array_of(value, name) for name, value in arg_params.items()}
    arrays |= {f"aux:{name}": array_of(value, name) for name, value in aux_params.items()}
    try:
        write_params(params, arrays)
    except OSError as error:
        raise CallerError(Code.FILE_UNWRITABLE, f"{params}: {error.strerror}") from error


def names_of(prefix: str | PathLike[str], epoch: int) -> tuple[Path, Path]:
    return Path(f"{fspath(prefix)}-symbol.json"), Path(f"{fspath(prefix)}-{epoch:04d}.params")
