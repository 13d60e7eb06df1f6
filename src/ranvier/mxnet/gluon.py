"""Compile a Gluon block: the block that is returned has the symbol and the parameters that result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def compile_block(
    block: Any, inputs: Mapping[str, Any] | None, compile_args: Mapping[str, Any]
) -> Any:
    raise NotImplementedError
