"""Import MXNet 1.9.1 beside NumPy 2.

MXNet reads names that NumPy 2 no longer has while it is imported. They are there during that
import only, so that nobody else comes to depend on them.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

CONSTANTS = {
    "Inf": np.inf,
    "Infinity": np.inf,
    "NAN": np.nan,
    "NINF": -np.inf,
    "NZERO": -0.0,
    "NaN": np.nan,
    "PINF": np.inf,
    "PZERO": 0.0,
    "infty": np.inf,
}
RENAMED = {
    "alltrue": "all",
    "cumproduct": "cumprod",
    "in1d": "isin",
    "product": "prod",
    "round_": "round",
    "row_stack": "vstack",
    "sometrue": "any",
    "trapz": "trapezoid",
}
GONE = ("mirr", "msort", "npv", "pmt", "ppmt", "pv", "rate")
"""MXNet lists them for its NumPy interface; nobody calls them."""


def installed() -> bool:
    """Whether MXNet can be imported; does not import it. A folder of its name is not MXNet."""
    spec = find_spec("mxnet")
    return spec is not None and spec.origin is not None


def import_mxnet() -> Any:
    """The `mxnet` module. Raises ImportError where it is not installed."""
    with old_names():
        return import_module("mxnet")


@contextmanager
def old_names() -> Generator[None]:
    """Names that NumPy 2 has dropped, for as long as the context lasts."""
    names: dict[str, Any] = {
        **CONSTANTS,
        **{old: getattr(np, new) for old, new in RENAMED.items()},
        **dict.fromkeys(GONE, _gone),
    }
    missing = {name: value for name, value in names.items() if name not in vars(np)}
    for name, value in missing.items():
        setattr(np, name, value)
    try:
        yield
    finally:
        for name in missing:
            delattr(np, name)


def _gone(*arguments: object) -> None:
    raise NotImplementedError("NumPy has dropped this function")
