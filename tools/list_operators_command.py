"""`ranvier list-operators --framework X`: what of a framework runs on the machine, one per line.

The list is found by placing examples of each operator; `support` has how, and keeps the result.
"""

from __future__ import annotations

import argparse

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.tools.arguments import FRAMEWORKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--framework", choices=FRAMEWORKS, required=True, help="whose operators")
    parser.add_argument("--target", default="inf2", help="inf1 or inf2 (default: inf2)")


def run(arguments: argparse.Namespace) -> int:
    from ranvier.tools.support import TARGETS, known, operators_on

    if arguments.target not in TARGETS:
        raise CallerError(
            Code.TARGET_UNKNOWN,
            f"unknown target '{arguments.target}'; operators are known of: {', '.join(TARGETS)}",
        )
    names = operators_on(arguments.framework, arguments.target)
    if names is None:
        raise CallerError(
            Code.MODEL_UNSUPPORTED,
            f"the operators of {arguments.framework} are not listed; listed are those of: "
            f"{', '.join(known()['frameworks'])}",
        )
    for name in names:
        print(name)
    return 0
