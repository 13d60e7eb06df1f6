"""`ranvier list-operators --framework X`: what of a framework runs on the machine, one per line.

The list is derived: each operator's own examples go through import, legalization and placement,
and an operator is listed if one of them needs no host.
"""

from __future__ import annotations

import argparse
from importlib import import_module

from ranvier.dialects.diagnostics import CallerError, Code
from ranvier.tools.arguments import FRAMEWORKS
from ranvier.tools.log import LOG

EXAMPLES = {"ONNX": "ranvier.tools.onnx_operators"}
"""Modules with a function `operators(target)`, by framework."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--framework", choices=FRAMEWORKS, required=True, help="whose operators")
    parser.add_argument("--target", default="inf2", help="inf1 or inf2 (default: inf2)")


def run(arguments: argparse.Namespace) -> int:
    from ranvier.passes.target import load_target

    target = load_target(arguments.target)
    if arguments.framework not in EXAMPLES:
        raise CallerError(
            Code.MODEL_UNSUPPORTED,
            f"models of {arguments.framework} are not readable; readable: {', '.join(EXAMPLES)}",
        )
    LOG.info("compiling the examples of each operator of %s", arguments.framework)
    for name in import_module(EXAMPLES[arguments.framework]).operators(target):
        print(name)
    return 0
