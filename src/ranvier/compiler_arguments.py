"""The compiler's options from arguments of `ranvier compile`, as the bridges get them."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import NoReturn

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.program import Options


class _Parser(argparse.ArgumentParser):
    """Refuses with an error of ours instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise CallerError(Code.OPTION_INVALID, f"{self.prog}: {message}")


def words_of(arguments: Sequence[object] | str | None, option: str = "compiler_args") -> list[str]:
    """Arguments in a list, or in a string as a shell splits it. Raises CallerError."""
    try:
        given = shlex.split(arguments) if isinstance(arguments, str) else arguments or ()
    except ValueError as error:
        raise CallerError(Code.OPTION_INVALID, f"{option}: {error}: {arguments!r}") from error
    return [str(argument) for argument in given]


def options_of(arguments: Sequence[str], option: str = "compiler_args") -> Options:
    """Options from a list of arguments, neuron-cc's among them.

    `option` is what the caller calls the list. Raises CallerError for an argument that the
    compiler does not know.
    """
    from ranvier.tools import compile_command
    from ranvier.tools.compile_flags import apply_undocumented_flags
    from ranvier.tools.log import add_verbose

    parser = _Parser(prog=option, add_help=False, allow_abbrev=False)
    compile_command.add_arguments(parser)
    add_verbose(parser, default="WARN")
    parsed = parser.parse_args(["model", *arguments])
    if stray := [str(each) for each in parsed.models[1:]]:
        raise CallerError(
            Code.OPTION_INVALID, f"{option}: '{stray[0]}' is no option of the compiler, nor a value"
        )
    apply_undocumented_flags(parsed)
    compile_command.check_flags(parsed)
    options = compile_command.options_of(parsed)
    if options.cores == "auto":
        raise CallerError(
            Code.OPTION_INVALID, f"{option}: give --neuroncore-pipeline-cores a number"
        )
    options.pipeline()
    return options
