"""NEURON_CC_FLAGS: options of the bridge itself, and arguments that it hands to the compiler."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import NoReturn

from ranvier.compiler_arguments import words_of
from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.tensorflow.options import Compilation, compilation_of

EXACT = ("--fast-math", "none", "--fp32-cast", "matmult-fp16")
"""What TensorFlow 2 asks for unless the flags say otherwise: f16 products, exact transposes."""


@dataclass(frozen=True)
class Flags:
    workdir: str | None
    dynamic_batch_size: bool
    must_compile: bool
    """Whether a subgraph that does not compile is an error."""
    rest: tuple[str, ...]

    def compilation(self) -> Compilation:
        """For `trace`."""
        casts = any(flag.startswith(("--fp32-cast", "--fast-math")) for flag in self.rest)
        return compilation_of(
            self.rest if casts else (*EXACT, *self.rest),
            workdir=self.workdir,
            dynamic_batch_size=self.dynamic_batch_size,
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CallerError(Code.OPTION_INVALID, f"NEURON_CC_FLAGS: {message}")


def read_flags() -> Flags:
    """The flags in the environment. Raises CallerError for what has no value."""
    parser = _Parser(prog="NEURON_CC_FLAGS", add_help=False, allow_abbrev=False)
    parser.add_argument("--workdir")
    parser.add_argument("--dynamic-batch-size", action="store_true")
    parser.add_argument("--must-compile", action="store_true")
    parser.add_argument("--extract-weights")
    parser.add_argument("--verbose")
    words = words_of(os.environ.get("NEURON_CC_FLAGS", ""), "NEURON_CC_FLAGS")
    known, rest = parser.parse_known_args(words)
    return Flags(known.workdir, known.dynamic_batch_size, known.must_compile, tuple(rest))
