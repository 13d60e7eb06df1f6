"""`ranvier-opt`: xDSL's opt tool with ranvier's dialects and passes, weights, and plain errors."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import (
    ArgSpecParseError,
    DiagnosticException,
    ParseError,
    PassFailedException,
)
from xdsl.xdsl_opt_main import xDSLOptMain

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]

EXACT_TOLERANCE = 1e-3
NARROW_TOLERANCE = 0.05
"""How far `--verify-execution` lets an output move in one pass, relative to its largest element:
of modules without and with bf16 and f16 values."""


class RanvierOptMain(xDSLOptMain):
    """The passes and dialects come through the entry point `xdsl.universe`, as for `xdsl-opt`."""

    version_format: ClassVar[str] = f"ranvier-opt {version('ranvier')} on xdsl {{xdsl_version}}"

    def register_all_arguments(self, arg_parser: argparse.ArgumentParser) -> None:
        super().register_all_arguments(arg_parser)
        arg_parser.add_argument(
            "--weights",
            metavar="DIR",
            help="Folder that paths of weights files start from; the input file's own by default, "
            "the working directory for stdin",
        )
        arg_parser.add_argument(
            "--verify-execution",
            action="store_true",
            help="Run the module on seeded random inputs before and after each pass, up to the "
            f"lowering, and fail where an output moves by more than {EXACT_TOLERANCE:g} of its "
            f"largest element, or {NARROW_TOLERANCE:g} with bf16 or f16 values",
        )
        arg_parser.add_argument(
            "--traceback",
            action="store_true",
            help="Show where in ranvier an error of the input was found",
        )

    def setup_pipeline(self) -> None:
        try:
            super().setup_pipeline()
        except ValueError as error:
            raise ArgumentError(f"--passes '{self.args.passes}': {error}") from error

    def run(self) -> None:
        if self.args.weights is not None or self.args.input_file is not None:
            from ranvier.dialects.weights import STORE

            STORE.directory = Path(self.args.weights or Path(self.args.input_file).parent)
        super().run()

    def apply_passes(self, prog: ModuleOp) -> None:
        if not self.args.verify_execution:
            super().apply_passes(prog)
            return
        check = ExecutionCheck()
        verify = self.pipeline.callback

        def callback(done: ModulePass | None, module: ModuleOp, next: ModulePass | None) -> None:
            if verify is not None:
                verify(done, module, next)
            check.after(done, module)

        dataclasses.replace(self.pipeline, callback=callback).apply(self.ctx, prog)


class ArgumentError(Exception):
    """The command line is wrong."""


class ExecutionCheck:
    """Compares what a module computes before and after each pass, on one set of inputs."""

    def __init__(self) -> None:
        self._inputs: Arrays | None = None
        self._outputs: Arrays = {}

    def after(self, done: ModulePass | None, module: ModuleOp) -> None:
        """Run the module. Raises PassFailedException if the pass changed an output."""
        from ranvier.backend.reference import Executor

        if not is_executable(module):
            return
        executor = Executor(module)
        if self._inputs is None:
            self._inputs = random_inputs(executor.inputs, executor.main.args)
        outputs = executor.run(self._inputs)
        if done is not None:
            compare(done.name, self._outputs, outputs, tolerance_of(module))
        self._outputs = outputs


def is_executable(module: ModuleOp) -> bool:
    """Whether the reference executor runs it: up to the lowering, if all types are known."""
    from ranvier.dialects.nn.types import UNKNOWN

    return not any(
        op.name == "graph.launch" or any(result.type == UNKNOWN for result in op.results)
        for op in module.walk()
    )


def tolerance_of(module: ModuleOp) -> float:
    from ranvier.dialects.nn.types import NARROW_FLOATS, element_of

    for op in module.walk():
        if op.dialect_name() == "nn":
            if any(isinstance(element_of(result), NARROW_FLOATS) for result in op.results):
                return NARROW_TOLERANCE
    return EXACT_TOLERANCE


def random_inputs(names: Sequence[str], arguments: Sequence[Any]) -> Arrays:
    """Normal floats, truth values, and integers that are 0 or 1, which index most tensors."""
    import numpy as np

    from ranvier.dialects.nn.types import dtype_of, element_of, is_float, shape_of

    random = np.random.default_rng(0)
    inputs: dict[str, Any] = {}
    for name, argument in zip(names, arguments, strict=True):
        element, shape = element_of(argument), shape_of(argument)
        floats = is_float(element)
        array = random.standard_normal(shape) if floats else random.integers(0, 2, shape)
        inputs[name] = np.asarray(array).astype(dtype_of(element))
    return inputs


def compare(name: str, before: Arrays, after: Arrays, tolerance: float) -> None:
    """Raises PassFailedException, which names the pass and the output that moved."""
    import numpy as np

    for output, old in before.items():
        new = after.get(output)
        if new is None or new.shape != old.shape or new.dtype != old.dtype:
            raise PassFailedException(f"{name} changed the name or type of output '{output}'")
        expected, actual = old.astype(np.float64), new.astype(np.float64)
        same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
        finite = np.abs(expected[np.isfinite(expected)])
        limit = tolerance * max(1e-6, float(finite.max(initial=0.0)))
        with np.errstate(invalid="ignore"):
            moved = ~same & ~(np.abs(expected - actual) <= limit)
        if moved.any():
            at = tuple(int(i) for i in np.argwhere(moved)[0])
            raise PassFailedException(
                f"{name} changed output '{output}' at {list(at)} from {old[at]} to {new[at]}; "
                f"{int(moved.sum())} of {old.size} elements moved by more than {limit:.3g}"
            )


def message_of(error: BaseException) -> str:
    """What a user reads of an error."""
    report = getattr(error, "report", None)
    if report is not None:
        return str(report())
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return str(error).strip() + "".join(f"\n  in {line}" for line in blamed_ops(error)[:1])


def blamed_ops(error: BaseException) -> list[str]:
    """The ops that xDSL underlines in the module that it attaches to an error."""
    lines = [line for note in getattr(error, "__notes__", ()) for line in note.splitlines()]
    return [
        line.strip()
        for line, marks in pairwise(lines)
        if marks.strip().startswith("^") and set(marks.strip()) <= {"^", "-"}
    ]


def main() -> None:
    """Entry point of `ranvier-opt`."""
    from ranvier.dialects.diagnostics import CodedError

    try:
        RanvierOptMain("ranvier modular optimizer driver").run()
    except BrokenPipeError:
        # The reader has gone, as `head` does; nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (
        ArgSpecParseError,
        ArgumentError,
        CodedError,
        DiagnosticException,
        OSError,
        ParseError,
    ) as error:
        if "--traceback" in sys.argv:
            raise
        sys.stdout.flush()
        print(f"ranvier-opt: {message_of(error)}", file=sys.stderr)
        sys.exit(1)
