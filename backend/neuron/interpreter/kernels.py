"""The compiled kernels: the sources in `native` as functions, where the system has a C compiler.

Without one, and with `RANVIER_KERNELS=numpy`, the machine runs on NumPy alone. Elementwise results
have the same bits either way; sums of products may differ in the last place of f32.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
from collections.abc import Callable
from ctypes import c_int, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from ranvier.backend.processor import features
from ranvier.backend.shared_library import NoLibrary, built
from ranvier.dialects.diagnostics import CallerError, Code

LOG = logging.getLogger("ranvier")

SOURCE = Path(__file__).parent / "native" / "kernels.c"
# Products and sums fuse: a product of two bf16 is exact in f32, so that changes no bit of theirs.
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O3", "-march=native", "-ffp-contract=fast")
LINKED = ("-shared", "-fPIC", "-pthread")
VARIABLE = "RANVIER_KERNELS"
PROVIDERS = ("compiled", "numpy")

# As in kernels.c.
TURNS = 4
DIMS = 8
WINDOW = 64
TYPES = {"float32": 0, "bfloat16": 1}
FIRST = 0
OPS = {"add": 1, "subtract": 2, "mult": 3, "max": 4, "min": 5}

Turns = c_int64 * TURNS
Dims = c_int64 * DIMS
Places = c_int64 * WINDOW


class Matrix(ctypes.Structure):
    """Where an operand of a product lies: strides in bytes."""

    _fields_ = (
        ("row", c_int64),
        ("turns", Turns),
        ("strides", Turns),
        ("counts", Turns),
        ("type", c_int64),
    )


class Product(ctypes.Structure):
    """A nest of products into one accumulator."""

    _fields_ = (
        ("stationary", Matrix),
        ("moving", Matrix),
        ("dst", Matrix),
        ("trips", Turns),
        ("partitions", c_int64),
        ("columns", c_int64),
        ("free", c_int64),
    )


class View(ctypes.Structure):
    """Where an operand of an elementwise instruction lies: strides in bytes."""

    _fields_ = (("strides", Dims), ("type", c_int64))


class Combination(ctypes.Structure):
    """An elementwise instruction, or a copy."""

    _fields_ = (
        ("rank", c_int64),
        ("counts", Dims),
        ("dst", View),
        ("first", View),
        ("second", View),
        ("third", View),
        ("op", c_int64),
        ("then", c_int64),
        ("window", c_int64),
        ("places", Places),
    )


Kernel: TypeAlias = Callable[..., None]
"""Takes a structure, those of the operands, then numbers; it gives up the GIL."""


@dataclass(frozen=True)
class Kernels:
    """The functions of the library. Their last argument is the number of threads."""

    product: Kernel
    """`(product, dst, stationary, moving, accumulate, threads)`"""
    combine: Kernel
    """`(combination, dst, first, second, third, threads)`"""
    copy: Kernel
    """`(combination, dst, src, threads)`"""


def kernels() -> Kernels | None:
    """The compiled kernels; None where the machine is to run on NumPy.

    Raises CallerError for an unknown name in RANVIER_KERNELS, and where it asks for what cannot be.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in PROVIDERS:
        raise CallerError(Code.OPTION_INVALID, f"{VARIABLE}={asked}; known: {', '.join(PROVIDERS)}")
    if asked == "numpy":
        return None
    found = _loaded()
    if isinstance(found, Kernels):
        return found
    if asked:
        raise CallerError(Code.PROVIDER_MISSING, f"{VARIABLE}={asked}, but {found}")
    return None


def provider() -> str:
    """What the machine computes with: `compiled` or `numpy`."""
    return PROVIDERS[0] if kernels() is not None else PROVIDERS[1]


def threads() -> int:
    """Threads of one instruction: what the user asks of OpenBLAS or OpenMP, else all processors."""
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if (asked := os.environ.get(variable, "")).isdecimal() and int(asked) > 0:
            return min(int(asked), _MOST_THREADS)
    own = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(own, _MOST_THREADS)


_MOST_THREADS = 16
"""An instruction has work for no more."""


@cache
def _loaded() -> Kernels | str:
    """The kernels, or why there are none; asked once in a process."""
    processor = " ".join([platform.machine(), *sorted(features())]).encode()
    try:
        headers = [path.read_bytes() for path in sorted(SOURCE.parent.glob("*.h"))]
        parts = b"\0".join([processor, *headers])
        path = built(SOURCE, (*FLAGS, *LINKED), "kernels", "the machine's kernels", parts)
        library = ctypes.CDLL(str(path))
    except (NoLibrary, OSError) as reason:
        LOG.info("the machine runs on NumPy: %s", reason)
        return str(reason)
    return Kernels(
        _function(library, "ranvier_product", 4, 2),
        _function(library, "ranvier_combine", 5, 1),
        _function(library, "ranvier_copy", 3, 1),
    )


def _function(library: ctypes.CDLL, name: str, addresses: int, numbers: int) -> Kernel:
    function = library[name]
    function.argtypes = (*[c_void_p] * addresses, *[c_int] * numbers)
    function.restype = None
    return function
